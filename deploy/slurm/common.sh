# Shared by the batch scripts: where everything is. Source it. Each may be set in the environment of sbatch, or in $HAARFLOW_RUN/site.sh
# (modules, paths), which is read if it exists.
#   HAARFLOW_RUN     directory that all nodes see, of this user alone: endpoints, token, certificate ($HOME/haarflow)
#   HAARFLOW_NAME    name of this server within it (server)
#   HAARFLOW_STORE   model store (the bundled models, where they are installed)
#   HAARFLOW_BIN     directory of the programs, when they are not in the PATH
umask 077
export HAARFLOW_RUN=${HAARFLOW_RUN:-$HOME/haarflow}
export HAARFLOW_NAME=${HAARFLOW_NAME:-server}
mkdir -p "$HAARFLOW_RUN"
[ "$(stat -c %a "$HAARFLOW_RUN")" = 700 ] || { echo "$HAARFLOW_RUN must be mode 700: it holds a token" >&2; exit 2; }
[ ! -e "$HAARFLOW_RUN/site.sh" ] || . "$HAARFLOW_RUN/site.sh"
[ -z "${HAARFLOW_BIN:-}" ] || PATH=$HAARFLOW_BIN:$PATH
command -v haarflow >/dev/null || { echo "haarflow is not in the PATH: set HAARFLOW_BIN, or load its module in $HAARFLOW_RUN/site.sh" >&2; exit 2; }
# A site's proxy is not for its own nodes.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY

endpoint="$HAARFLOW_RUN/$HAARFLOW_NAME.json"
certificate="$HAARFLOW_RUN/$HAARFLOW_NAME.pem"
# How clients and trainers of this server call. The file is read again whenever a stream is resumed: another node, another port.
connection=(--server "file:$endpoint" --tls-ca "$certificate" --token-file "$HAARFLOW_RUN/token")

say() { printf '%s %s\n' "$(date -u +%FT%TZ)" "$*"; }
# wait_for PID: its exit code. A trap that runs meanwhile ends `wait` early.
wait_for() {
  local code
  while :; do
    code=0
    wait "$1" || code=$?
    kill -0 "$1" 2>/dev/null || return $code
  done
}
# Once more in the queue: the same job, the same files.
requeue() { say "requeue"; scontrol requeue "$SLURM_JOB_ID"; }
