"""check_panels.py PROMETHEUS_URL RULES.yml... DASHBOARD.json...: every query of every panel returns data through Prometheus' API, and every
state that a rule asks for is one that the server exports (an alert on a misspelt label would never fire)."""
import json
import math
import re
import sys
import urllib.parse
import urllib.request

VARIABLES = {"$__rate_interval": "20s", "$instance": ".*", "$model": ".*"}


def query(url, expr):
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def check_states(url, path):
    bad = 0
    for metric, states in sorted(set(re.findall(r'(haarflow_\w+)\{state=~?"([A-Za-z|]+)"\}', open(path).read()))):
        for state in states.split("|"):
            found = query(url, f'count(last_over_time({metric}{{state="{state}"}}[1h]))')
            # Jobs that last for seconds may never be seen in this state; their count is there anyway.
            if not found and metric != "haarflow_job_unchanged_seconds":
                bad += 1
                print(f"  EMPTY {path}: {metric} has no state {state}")
    return bad


def main():
    url, bad, total, uids = sys.argv[1], 0, 0, set()
    for path in sys.argv[2:]:
        if path.endswith(".yml"):
            bad += check_states(url, path)
            continue
        dashboard = json.load(open(path))
        if dashboard["uid"] in uids:
            sys.exit(f"{path}: uid {dashboard['uid']} is taken")
        uids.add(dashboard["uid"])
        print(f"{dashboard['title']} (uid {dashboard['uid']})")
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expr = target["expr"]
                for name, value in VARIABLES.items():
                    expr = expr.replace(name, value)
                total += 1
                series = query(url, expr)
                values = [float(s["value"][1]) for s in series]
                finite = [v for v in values if math.isfinite(v)]
                if finite:
                    print(f"  ok    {panel['title']}: {len(series)} series, {min(finite):.6g} .. {max(finite):.6g}")
                else:
                    bad += 1
                    print(f"  EMPTY {panel['title']}: {expr}")
    print(f"{total - bad} of {total} queries return data")
    sys.exit(1 if bad else 0)


main()
