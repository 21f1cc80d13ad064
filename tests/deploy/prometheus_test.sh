#!/usr/bin/env bash
# The configuration, the rules and the alerts, by promtool; every alert has a test and a section of the runbook.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need promtool
here="$source_dir/deploy/prometheus"
promtool check config "$here/prometheus.yml"
cp "$here"/*.yml "$source_dir/tests/deploy/alerts_test.yml" "$work/"
cd "$work"
promtool test rules alerts_test.yml
for alert in $(sed -n 's/^ *- alert: //p' "$here/alerts.yml"); do
  grep -q "name: $alert\$" alerts_test.yml || fail "alert $alert has no test in alerts_test.yml"
  grep -q "^### $alert\$" "$source_dir/deploy/operations.md" || fail "alert $alert has no section in deploy/operations.md"
done
for section in $(sed -n 's/^### \(Haarflow[A-Za-z]*\)$/\1/p' "$source_dir/deploy/operations.md"); do
  grep -q -- "- alert: $section\$" "$here/alerts.yml" || fail "deploy/operations.md explains $section, which is no alert"
done
# Rules and dashboards speak of metrics that the server has.
python3 "$source_dir/tests/deploy/check_metric_names.py" "$source_dir"
