#!/usr/bin/env bash
# Several servers on one store behind the client's round robin: calls take turns, a chain that loses its server goes on at another one with the
# same bits. Long tier: throughput of 1, 2 and 4 servers, --device cpu:1 each, eight clients.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$work"
store="$work/models"
mkdir "$store"
for model in u1-l8-b2 u1-l16-b2 phi4-l8-lambda; do cp -r "$source_dir/deploy/models/$model" "$store/"; done

# samplers N: N servers, their addresses as one name in $all.
samplers() {
  local i addresses=()
  servers=()
  for i in $(seq "$1"); do
    start_server "s$1-$i" --store "$store" --role sampler
    servers+=("$server_pid")
    addresses+=("$(member "s$1-$i.json" address)")
  done
  all="ipv4:$(IFS=,; echo "${addresses[*]}")"
}
# counter FILE NAME: the sum of a metric of the server of that endpoint file.
counter() {
  python3 - "$(member "$1" metrics)" "$2" <<'PY'
import sys, urllib.request
text = urllib.request.urlopen(f"http://{sys.argv[1]}/metrics").read().decode()
print(int(sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(sys.argv[2]))))
PY
}

say "two replicas: calls take turns"
samplers 2
# One process with one connection that calls nine times. (Commands of one call begin at a random replica anyway.)
haarflow --no-progress --server "$all" --json thermo phi4-l8-lambda --scan lambda=4:8:9 -n 512 >/dev/null
for i in 1 2; do
  n=$(counter "s2-$i.json" haarflow_requests_total)
  echo "replica $i: $n calls"
  [ "$n" -ge 4 ] || fail "replica $i had $n calls: no turns"
done

say "a chain goes on at the other replica when its own is drained"
haarflow --no-progress --server "$all" sample phi4-l8-lambda -n 15000 --seed 9 -o unbroken.npy
haarflow --no-progress --server "$all" sample phi4-l8-lambda -n 15000 --seed 9 -o moved.npy >moved.log 2>&1 &
client=$!
pids+=("$client")
until_true 30 "the chain has begun" test -s moved.npy.part
serving=
for i in 1 2; do [ "$(counter "s2-$i.json" haarflow_active_streams)" -eq 0 ] || serving=$i; done
[ -n "$serving" ] || fail "the chain was too short to be interrupted"
stop "${servers[$((serving - 1))]}"
wait "$client" || { cat moved.log; fail "the chain did not survive its server"; }
cat moved.log
grep -q 'going on from step' moved.log || fail "the chain was not interrupted"
cmp unbroken.npy moved.npy || fail "another chain"
cmp unbroken.table.npy moved.table.npy || fail "other weights"
echo "unbroken.npy and moved.npy are the same bytes; replica $serving was stopped on the way"
stop "${servers[$((2 - serving))]}"

[ -n "${HAARFLOW_LONG:-}" ] || { echo "throughput: long tier"; exit 0; }
say "throughput: eight clients, u1-l16-b2, fields included; $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
one=
for replicas in 1 2 4; do
  samplers $replicas
  clients=()
  begin=$(date +%s.%N)
  for seed in 1 2 3 4 5 6 7 8; do
    haarflow --no-progress --server "$all" sample u1-l16-b2 -n 15000 --seed $seed -o "t$seed.npy" --force >"client$seed.log" 2>&1 &
    clients+=($!)
  done
  for client in "${clients[@]}"; do wait "$client" || fail "a client"; done
  end=$(date +%s.%N)
  shares=
  for i in $(seq $replicas); do shares+=" $(counter "s$replicas-$i.json" haarflow_configurations_total)"; done
  rate=$(python3 -c "print(round(8 * 15000 / ($end - $begin)))")
  one=${one:-$rate}
  python3 -c "print(f'{$replicas} replicas: {$rate:6d} configurations/s, {$rate / $one:.2f} of one; by replica:$shares')"
  for server in "${servers[@]}"; do stop "$server"; done
done
