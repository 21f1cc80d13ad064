# Shared by the deployment tests. Source it from bash with `set -euo pipefail`.
source_dir=${HAARFLOW_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}
build_dir=${HAARFLOW_BUILD_DIR:-$source_dir/build/release}
bin=${HAARFLOW_BIN_DIR:-$build_dir/bin}
work=$(mktemp -d "${TMPDIR:-/tmp}/haarflow-deploy.XXXXXX")
pids=()
at_end=()

cleanup() {
  local status=$? command pid
  set +e
  for command in "${at_end[@]}"; do eval "$command"; done
  for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
  wait 2>/dev/null
  [ $status -eq 0 ] || [ $status -eq 77 ] || show_logs
  rm -rf "$work"
}
trap cleanup EXIT
show_logs() {
  local log
  for log in "$work"/*.log "$work"/*/*.log; do
    [ -s "$log" ] && { echo "--- $log"; tail -n 30 "$log"; } >&2
  done
}

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
skip() { printf 'SKIPPED: %s\n' "$*"; exit 77; }
long_only() { [ -n "${HAARFLOW_LONG:-}" ] || skip "long tier: deploy/test.sh --long, or HAARFLOW_LONG=1"; }
need() {
  local tool
  for tool in "$@"; do command -v "$tool" >/dev/null || skip "$tool is not installed (deploy/setup.sh --deploy)"; done
}
# run COMMAND...: shows it, runs it: a transcript.
run() { printf '$ %s\n' "$*"; "$@"; }
# until_true SECONDS WHAT COMMAND...
until_true() {
  local seconds=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt "$end" ] || fail "$what: not within $seconds s"
    sleep 0.2
  done
}
# member FILE NAME: a string of a JSON object on one line.
member() { sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$1"; }

# start_server NAME [FLAG...]: a server on free loopback ports; its addresses are in $work/NAME.json, its log in $work/NAME.log. The
# caller's PATH says which one.
start_server() {
  local name=$1
  shift
  haarflow-server --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --device cpu:1 --endpoint-file "$work/$name.json" "$@" >"$work/$name.log" 2>&1 &
  server_pid=$!
  pids+=("$server_pid")
  until_true 60 "server $name" test -e "$work/$name.json"
}
# stop PID: by SIGTERM; a drained server exits with 0.
stop() {
  kill -TERM "$1"
  wait "$1" || fail "process $1 did not end cleanly"
}
PATH=$bin:$PATH:$source_dir/.deps/prometheus/usr/bin
