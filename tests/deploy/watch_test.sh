#!/usr/bin/env bash
# A real Prometheus scrapes a real server under load; every query of every dashboard returns data, every recording rule records, and an
# alert fires when the server is killed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long_only
need prometheus promtool python3

say "server, trainer, Prometheus"
cp -r "$source_dir/deploy/models" "$work/models"
start_server server --store "$work/models" --jobs "$work/jobs" --max-streams 4 --poll-seconds 1
server=$server_pid
HAARFLOW_SERVER=$(member "$work/server.json" address)
export HAARFLOW_SERVER
haarflow-trainer work --threads 1 --scratch "$work" >"$work/trainer.log" 2>&1 &
pids+=($!)
cp -r "$source_dir/deploy/prometheus" "$work/prometheus"
printf -- '- targets: [%s]\n' "$(member "$work/server.json" metrics)" >"$work/prometheus/targets/local.yml"
# As shipped, but faster: a test has no fifteen seconds.
sed -i 's/_interval: 15s/_interval: 1s/' "$work/prometheus/prometheus.yml"
sed -i 's/for: 2m/for: 3s/' "$work/prometheus/alerts.yml"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$work/prometheus/prometheus.yml" --storage.tsdb.path="$work/data" --web.listen-address="127.0.0.1:$port" \
  >"$work/prometheus.log" 2>&1 &
pids+=($!)
url=http://127.0.0.1:$port
ready() { python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1])' "$url/-/ready"; }
until_true 30 "Prometheus" ready

say "load: both modes, measurements, partition functions, refusals, cancellations, a job"
cd "$work"
load() {
  set +e
  local n=0
  while :; do
    n=$((n + 1))
    haarflow --no-progress sample u1-l8-b2 -n 5000 --seed $n -o a.npy --force
    haarflow --no-progress sample phi4-l8-tutorial -n 200 --mode reweighted --seed $n -o b.npy --force
    haarflow --no-progress measure u1-l8-b2 plaquette -n 2000
    haarflow --no-progress logz phi4-l6-e1 -n 512
    haarflow --no-progress sample nobody -n 1 --observables plaquette || true
    # Six at once where four are admitted; then they are killed.
    local many=() i
    for i in 1 2 3 4 5 6; do
      haarflow --no-progress sample u1-l16-b2 -n 100000000 --observables plaquette >/dev/null &
      many+=($!)
    done
    sleep 1
    kill -KILL "${many[@]}" 2>/dev/null
    wait "${many[@]}" 2>/dev/null
    echo "round $n"
  done
}
haarflow retune phi4-l6-e1 --set lambda=6.9 --ess 0.5 --budget 5
haarflow retune phi4-l6-e1 --set lambda=6.8 --ess 0.5 --budget 60
load >load.log 2>&1 &
load_pid=$!
pids+=("$load_pid")
until_true 300 "three rounds" grep -q '^round 3$' load.log
until_true 120 "a published job" sh -c "haarflow jobs | grep -q SUCCEEDED"

say "every panel"
python3 "$source_dir/tests/deploy/check_panels.py" "$url" "$source_dir"/deploy/prometheus/alerts.yml "$source_dir"/deploy/grafana/dashboards/*.json || {
  [ -e "$source_dir/server/metrics/metric_table.cc" ] && fail "panels without data"
  echo "the server of this tree does not have all metrics yet"
}

say "every recording rule"
for rule in $(sed -n 's/^ *- record: //p' "$source_dir/deploy/prometheus/rules.yml"); do
  printf '%-55s %s\n' "$rule" "$(promtool query instant "$url" "$rule" | head -n 1)"
done

say "the server is killed: an alert fires"
kill -KILL "$load_pid" 2>/dev/null || true
kill -KILL "$server"
firing() { promtool query instant "$url" 'ALERTS{alertname="HaarflowDown",alertstate="firing"}' | grep -q HaarflowDown; }
until_true 30 "HaarflowDown" firing
promtool query instant "$url" 'ALERTS{alertstate="firing"}'
echo "done"
