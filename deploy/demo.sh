#!/usr/bin/env bash
# The main job, from a clean clone: sets up, builds, serves the bundled models, draws 10,000 exact U(1) configurations on 16 x 16 at
# beta = 2 and compares them with the exact solution. A second run reuses everything.
#   deploy/demo.sh [--cuda]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
for arg in "$@"; do
  case $arg in
    --cuda) export HAARFLOW_WITH_CUDA=1 ;;
    *) die "unknown option $arg; usage: deploy/demo.sh [--cuda]" ;;
  esac
done

set_up
timed "Build" build_targets haarflow-server haarflow haarflow-trainer

out="$root/out"
mkdir -p "$out"
work=$(mktemp -d)
server_pid=
stop_server() {
  [ -n "$server_pid" ] || return 0
  kill -TERM "$server_pid" 2>/dev/null || true
  wait "$server_pid" || die "the server did not stop cleanly"
  server_pid=
}
trap 'stop_server; rm -rf "$work"' EXIT

device=cpu
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1 && [ -e "$build/lib/libhaarflow_cuda.so" ]; then device=cuda:0; fi
say "Server on $device"
"$build/bin/haarflow-server" --store "$root/deploy/models" --listen 127.0.0.1:0 --endpoint-file "$work/endpoint.json" \
  --device "$device" 2>"$work/server.log" &
server_pid=$!
for _ in $(seq 600); do
  [ -e "$work/endpoint.json" ] && break
  kill -0 "$server_pid" 2>/dev/null || { cat "$work/server.log" >&2; server_pid=; die "the server ended at once"; }
  sleep 0.1
done
[ -e "$work/endpoint.json" ] || { cat "$work/server.log" >&2; die "the server did not come up within 60 s"; }
HAARFLOW_SERVER=$("$deps/venv/bin/python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$work/endpoint.json")
export HAARFLOW_SERVER

haarflow="$build/bin/haarflow"
say "haarflow models"
"$haarflow" models
say "haarflow sample u1-l16-b2 -n 10000 -o out/u1-l16-b2.h5"
"$haarflow" sample u1-l16-b2 -n 10000 -o "$out/u1-l16-b2.h5" --seed 1 --observables plaquette,charge_squared,wilson_loop_2x2 --force
say "haarflow logz u1-l16-b2"
"$haarflow" logz u1-l16-b2 -n 65536 --seed 2
say "haarflow thermo phi4-l8-tutorial"
"$haarflow" thermo phi4-l8-tutorial -n 16384 --seed 3

say "Stopping the server"
stop_server
echo "done: out/u1-l16-b2.h5"
