"""check_metric_names.py SOURCE_DIR: rules and dashboards use no metric and no label that the server does not have (server/metrics/metric_table.cc)."""
import json
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
table = root / "server/metrics/metric_table.cc"
if not table.exists():
    print("SKIPPED: no server/metrics/metric_table.cc to compare with")
    sys.exit(0)
known = set(re.findall(r'"((?:haarflow|process)_[a-z0-9_]+)"', table.read_text()))
recorded = set(re.findall(r"record: (haarflow:[a-z0-9_:]+)", (root / "deploy/prometheus/rules.yml").read_text()))

texts = {path.name: path.read_text() for path in (root / "deploy/prometheus").glob("*.yml")}
for path in (root / "deploy/grafana/dashboards").glob("*.json"):
    texts[path.name] = "\n".join(t["expr"] for p in json.loads(path.read_text())["panels"] for t in p.get("targets", []))
for path in (root / "deploy/kubernetes").rglob("*.yaml"):
    texts[path.name] = path.read_text()

problems = []
for name, text in texts.items():
    text = re.sub(r"#.*", "", text)
    for metric in set(re.findall(r"\b(?:haarflow|process)_[a-z0-9_]+", text)):
        if metric not in known and re.sub(r"_(bucket|sum|count)$", "", metric) not in known:
            problems.append(f"{name}: the server has no metric {metric}")
    for rule in set(re.findall(r"\bhaarflow:[a-z0-9_:]+", text)) - recorded:
        problems.append(f"{name}: no rule records {rule}")
if problems:
    sys.exit("\n".join(sorted(problems)))
print(f"{len(texts)} files, {len(known)} metrics: names agree")
