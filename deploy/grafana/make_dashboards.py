#!/usr/bin/env python3
"""Writes the dashboards, dashboards/*.json, from the tables below.

  make_dashboards.py           writes them
  make_dashboards.py --check   fails when they are not what these tables say
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
I = 'instance=~"$instance"'
M = 'instance=~"$instance",model=~"$model"'
R = "[$__rate_interval]"


def quantile(q, metric, labels, by=""):
    return f"histogram_quantile({q}, sum by (le{by}) (rate({metric}_bucket{{{labels}}}{R})))"


# A panel: (title, kind, unit, description, [(expr, legend)], width of 24, options). A row: a title alone.
SERVICE = [
    "Now",
    ("Servers that answer", "stat", "none", "Of all that are scraped.", [('sum(up{job="haarflow"})', "up")], 4, {}),
    ("Devices healthy", "stat", "percentunit", "Below 100 % a server is about to exit with 3.",
     [(f"avg(haarflow_device_healthy{{{I}}})", "healthy")], 4, {"bad_below": 1}),
    ("Streams", "stat", "none", "Admitted and not yet gone.", [(f"sum(haarflow_active_streams{{{I}}})", "streams")], 4, {}),
    ("Configurations", "stat", "cps", "Of Sample streams, all models.",
     [(f"sum(rate(haarflow_configurations_total{{{I}}}{R}))", "configurations")], 4, {}),
    ("Calls that fail by the server's fault", "stat", "percentunit", "INTERNAL, UNKNOWN, UNAVAILABLE, DATA_LOSS; 5 minutes.",
     [(f"max(haarflow:request_errors:ratio_rate5m{{{I}}})", "errors")], 4, {"bad_above": 0.05}),
    ("Draining", "stat", "none", "Servers that take no new calls.", [(f"sum(haarflow_draining{{{I}}})", "draining")], 4, {}),
    "Calls",
    ("Calls by method", "graph", "reqps", "Ended calls.",
     [(f"sum by (method) (rate(haarflow_requests_total{{{I}}}{R}))", "{{method}}")], 8, {}),
    ("Calls by status", "graph", "reqps", "The meaning of each code: server/README.md.",
     [(f"sum by (code) (rate(haarflow_requests_total{{{I}}}{R}))", "{{code}}")], 8, {}),
    ("Duration of calls", "graph", "s", "Streams last as long as they are asked to.",
     [(quantile(0.5, "haarflow_request_duration_seconds", I, ", method"), "{{method}} median"),
      (quantile(0.99, "haarflow_request_duration_seconds", I, ", method"), "{{method}} 99 %")], 8, {}),
    ("Time to the first configuration", "graph", "s", "From the request to the first chunk handed to the transport.",
     [(quantile(q, "haarflow_time_to_first_configuration_seconds", I), f"{100 * q:.0f} %") for q in (0.5, 0.9, 0.99)], 8, {}),
    ("Wait for the device", "graph", "s", "From admission to the first batch with proposals for the stream.",
     [(quantile(q, "haarflow_queue_wait_seconds", I), f"{100 * q:.0f} %") for q in (0.5, 0.9, 0.99)], 8, {}),
    ("Refused at admission", "graph", "reqps", "By the bound that refused: RESOURCE_EXHAUSTED with a time to try again.",
     [(f"sum by (reason) (rate(haarflow_rejected_total{{{I}}}{R}))", "{{reason}}")], 8, {}),
    "Work",
    ("Streams and their bound", "graph", "none", "",
     [(f"sum(haarflow_active_streams{{{I}}})", "streams"), (f"sum(haarflow_max_streams{{{I}}})", "bound")], 8, {}),
    ("Proposals wanted", "graph", "none", "What open streams could be given now.",
     [(f"sum by (instance) (haarflow_queue_depth{{{I}}})", "{{instance}}")], 8, {}),
    ("Device busy", "graph", "percentunit", "Share of the time in which a batch is drawn and delivered.",
     [(f"sum by (instance) (rate(haarflow_batch_seconds_sum{{{I}}}{R}))", "{{instance}}")], 8, {}),
    ("Stream bytes", "graph", "Bps", "Handed to the transport.",
     [(f"sum by (instance) (rate(haarflow_stream_bytes_total{{{I}}}{R}))", "{{instance}}")], 8, {}),
    ("Waiting for slow clients", "graph", "s", "Seconds per second in which full chunks wait to be read.",
     [(f"sum by (instance) (rate(haarflow_stream_stall_seconds_total{{{I}}}{R}))", "{{instance}}")], 8, {}),
    ("Cancelled calls", "graph", "reqps", "By the client, its deadline, or the connection.",
     [(f"sum by (instance) (rate(haarflow_cancelled_total{{{I}}}{R}))", "{{instance}}")], 8, {}),
    "Process",
    ("Memory", "graph", "bytes", "Resident; what budgets count; and what is used of GPUs, by others too.",
     [(f"sum by (instance) (process_resident_memory_bytes{{{I}}})", "{{instance}} resident"),
      (f"sum by (instance, kind) (haarflow_memory_bytes{{{I}}}) or sum by (instance, kind) (label_replace("
       f'haarflow_gpu_memory_bytes{{{I},kind="used"}}, "kind", "used of $1", "device", "(.*)"))', "{{instance}} {{kind}}")], 8, {}),
    ("CPU", "graph", "none", "Cores in use.",
     [(f"sum by (instance) (rate(process_cpu_seconds_total{{{I}}}{R}))", "{{instance}}")], 8, {}),
    ("Open files", "graph", "none", "", [(f"sum by (instance) (process_open_fds{{{I}}})", "{{instance}}")], 4, {}),
    ("Dropped log lines", "graph", "cps", "Whoever reads stderr is too slow.",
     [(f"sum by (instance) (rate(haarflow_log_dropped_total{{{I}}}{R}))", "{{instance}}")], 4, {}),
    ("Running", "table", "s", "Build, numerics class and age of each server.",
     [(f"(time() - process_start_time_seconds{{{I}}}) * on (instance) group_left (version, device, numerics) "
       f"haarflow_build_info{{{I}}}", "")], 24, {}),
]

MODELS = [
    "Exactness",
    ("Acceptance", "graph", "percentunit", "Of Metropolis chains: accepted over proposed. Lower only means longer autocorrelation: the chain stays exact.",
     [(f"sum by (model) (rate(haarflow_accepted_total{{{M}}}{R})) / (sum by (model) (rate(haarflow_chain_proposals_total{{{M}}}{R})) > 0)",
       "{{model}}")], 12, {"max": 1}),
    ("ESS / n", "graph", "percentunit", "Of the last weights, at the target the version was made for.",
     [(f"haarflow_ess_ratio{{{M}}}", "{{model}} version {{version}}")], 12, {"max": 1}),
    ("Acceptance over 15 minutes, all replicas", "stat", "percentunit", "",
     [('haarflow:acceptance:ratio_rate15m{model=~"$model"}', "{{model}}")], 24, {"bad_below": 0.1}),
    "Throughput",
    ("Configurations", "graph", "cps", "Closed chain states, or proposals with weight.",
     [(f"sum by (model) (rate(haarflow_configurations_total{{{M}}}{R}))", "{{model}}")], 8, {}),
    ("Proposals", "graph", "cps", "Chains, measurements and partition functions.",
     [(f"sum by (model) (rate(haarflow_proposals_total{{{M}}}{R}))", "{{model}}")], 8, {}),
    ("Batch size", "graph", "none", "Mean number of proposals.",
     [(f"sum by (model) (rate(haarflow_batch_size_sum{{{M}}}{R})) / (sum by (model) (rate(haarflow_batch_size_count{{{M}}}{R})) > 0)",
       "{{model}}")], 8, {}),
    ("Batch duration", "graph", "s", "Median and 99 %; about 50 ms is aimed at.",
     [(quantile(0.5, "haarflow_batch_seconds", M, ", model"), "{{model}} median"),
      (quantile(0.99, "haarflow_batch_seconds", M, ", model"), "{{model}} 99 %")], 12, {}),
    ("Device time by model", "graph", "percentunit", "",
     [(f"sum by (model) (rate(haarflow_batch_seconds_sum{{{M}}}{R}))", "{{model}}")], 12, {}),
    "Versions",
    ("Models by state", "graph", "none", "", [(f"sum by (state) (haarflow_models{{{I}}})", "{{state}}")], 8, {}),
    ("What happened to versions", "graph", "none", "In 15 minutes.",
     [(f"sum by (outcome) (increase(haarflow_model_swap_total{{{I}}}[15m]))", "{{outcome}}")], 8, {}),
    ("Time to take a version", "graph", "s", "From the decision to load to its service.",
     [(f"histogram_quantile(0.9, sum by (le) (haarflow_model_swap_seconds_bucket{{{I}}}))", "90 %")], 8, {}),
    ("Memory of models", "graph", "bytes", "As budgets count it.",
     [(f'sum by (instance) (haarflow_memory_bytes{{{I},kind="models"}})', "{{instance}}")], 8, {}),
    ("Age of models", "graph", "s", "Since the card of the served version was made.",
     [(f"max by (model) (haarflow_model_age_seconds{{{M}}})", "{{model}}")], 8, {}),
    ("Versions per model over all replicas", "graph", "none", "More than one for longer than a poll: a replica is stuck.",
     [('haarflow:versions_served:count{model=~"$model"}', "{{model}}")], 8, {}),
    ("Served", "table", "none", "", [(f"haarflow_model_info{{{M}}}", "")], 24, {}),
]

TRAINING = [
    "Jobs",
    ("Waiting", "stat", "none", "", [(f'sum(haarflow_jobs{{{I},state="PENDING"}})', "pending")], 6, {}),
    ("Held by trainers", "stat", "none", "", [(f'sum(haarflow_jobs{{{I},state=~"LEASED|RUNNING"}})', "held")], 6, {}),
    ("Longest without a stored change", "stat", "s", "Of jobs that have not ended.",
     [(f"max(haarflow_job_unchanged_seconds{{{I}}}) or vector(0)", "unchanged")], 6, {"bad_above": 3600}),
    ("Leases that ran out, 1 h", "stat", "none", "Trainers that died or lost the server.",
     [(f"sum(increase(haarflow_job_lease_expired_total{{{I}}}[1h]))", "expired")], 6, {}),
    ("Jobs by state", "graph", "none", "", [(f"sum by (state) (haarflow_jobs{{{I}}})", "{{state}}")], 12, {}),
    ("Longest time without a stored change", "graph", "s", "",
     [(f"max by (state) (haarflow_job_unchanged_seconds{{{I}}})", "{{state}}")], 12, {}),
    "Results",
    ("Published by jobs", "graph", "none", "In an hour: champion, or candidate where the gate did not pass.",
     [(f"sum by (outcome) (increase(haarflow_job_published_total{{{I}}}[1h]))", "{{outcome}}")], 8, {}),
    ("Trainers' calls", "graph", "reqps", "",
     [(f'sum by (method) (rate(haarflow_requests_total{{{I},method=~"LeaseJob|Heartbeat|FetchCheckpoint|UploadCheckpoint|PublishVersion|ReleaseJob|FailJob"}}{R}))',
       "{{method}}")], 8, {}),
    ("Space beside the store", "graph", "bytes", "",
     [(f"min by (instance) (haarflow_store_free_bytes{{{I}}})", "{{instance}}")], 8, {}),
]

DASHBOARDS = [
    ("haarflow-service", "haarflow: service", SERVICE, False),
    ("haarflow-models", "haarflow: models and exactness", MODELS, True),
    ("haarflow-training", "haarflow: training", TRAINING, False),
]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
KINDS = {"graph": ("timeseries", 8), "stat": ("stat", 4), "table": ("table", 8)}


def thresholds(options):
    if "bad_above" in options:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": options["bad_above"]}]
    elif "bad_below" in options:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": options["bad_below"]}]
    else:
        steps = [{"color": "blue", "value": None}]
    return {"mode": "absolute", "steps": steps}


def panel(number, x, y, entry):
    title, kind, unit, description, queries, width, options = entry
    grafana_type, height = KINDS[kind]
    targets = [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
               for i, (expr, legend) in enumerate(queries)]
    defaults = {"unit": unit, "thresholds": thresholds(options), "min": 0}
    if "max" in options:
        defaults["max"] = options["max"]
    result = {"id": number, "title": title, "type": grafana_type, "description": description, "datasource": DATASOURCE,
              "gridPos": {"x": x, "y": y, "w": width, "h": height}, "targets": targets,
              "fieldConfig": {"defaults": defaults, "overrides": []}}
    if kind == "graph":
        defaults["custom"] = {"fillOpacity": 10, "lineWidth": 2, "showPoints": "never"}
        result["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    elif kind == "stat":
        result["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    else:
        for target in targets:
            target.update(instant=True, format="table")
        del defaults["min"]
        result["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True, "__name__": True, "job": True}}}]
    return result


def layout(entries):
    panels, x, y, height = [], 0, 0, 0
    for entry in entries:
        number = len(panels) + 1
        if isinstance(entry, str):
            y, x = y + height, 0
            panels.append({"id": number, "type": "row", "title": entry, "collapsed": False, "panels": [],
                           "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
            y, height = y + 1, 0
            continue
        width = entry[5]
        if x + width > 24:
            x, y, height = 0, y + height, 0
        panels.append(panel(number, x, y, entry))
        x, height = x + width, max(height, panels[-1]["gridPos"]["h"])
    return panels


def query_variable(name, query):
    return {"name": name, "type": "query", "datasource": DATASOURCE, "query": {"query": query, "refId": name}, "refresh": 2,
            "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}, "sort": 1}


def dashboard(uid, title, entries, by_model):
    variables = [{"name": "datasource", "type": "datasource", "query": "prometheus",
                  "current": {"text": "Prometheus", "value": "haarflow-prometheus"}},
                 query_variable("instance", "label_values(haarflow_build_info, instance)")]
    if by_model:
        variables.append(query_variable("model", "label_values(haarflow_model_info, model)"))
    links = [{"title": other_title, "type": "link", "url": f"/d/{other}", "keepTime": True}
             for other, other_title, _, _ in DASHBOARDS if other != uid]
    return {"uid": uid, "title": title, "tags": ["haarflow"], "schemaVersion": 37, "version": 1, "editable": False,
            "timezone": "utc", "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "graphTooltip": 1, "links": links,
            "templating": {"list": variables}, "panels": layout(entries)}


def main():
    stale = []
    for uid, title, entries, by_model in DASHBOARDS:
        path = HERE / "dashboards" / f"{uid}.json"
        text = json.dumps(dashboard(uid, title, entries, by_model), indent=1) + "\n"
        if sys.argv[1:] == ["--check"]:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"not what make_dashboards.py writes: {', '.join(stale)}; run it")


main()
