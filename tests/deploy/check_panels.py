"""check_panels.py PROMETHEUS_URL DASHBOARD.json...: every query of every panel returns data through Prometheus' API."""
import json
import math
import sys
import urllib.parse
import urllib.request

VARIABLES = {"$__rate_interval": "20s", "$instance": ".*", "$model": ".*"}


def query(url, expr):
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def main():
    url, bad, total, uids = sys.argv[1], 0, 0, set()
    for path in sys.argv[2:]:
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
