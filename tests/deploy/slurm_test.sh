#!/usr/bin/env bash
# The batch scripts of deploy/slurm on a real cluster of two nodes on this machine: slurmctld, two slurmd and munged of Debian on loopback,
# started and ended here.
# Submit the server, find its endpoint, draw; cancel; the time limit comes near: drain, requeue, another port; the chain that was under way ends as
# the unbroken one, bit for bit; a job of the job table is trained; a model is trained by MPI on both nodes, with
# a rank that is killed and a time limit on the way.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
long_only
need slurmctld slurmd munged sbatch openssl cmp
[ "$(id -u)" -eq 0 ] || skip "slurmd wants root"

say "a cluster of two nodes"
chmod 755 "$work"
nodes=(one two)
mkdir "$work/munge" "$work/state" "${nodes[@]/#/$work/tmp.}"
dd if=/dev/urandom of="$work/munge/key" bs=128 count=1 status=none
chmod 400 "$work/munge/key"
munged --force --foreground --socket="$work/munge/socket" --key-file="$work/munge/key" --log-file="$work/munge/munged.log" \
  --pid-file="$work/munge/pid" --seed-file="$work/munge/seed" >"$work/munged.log" 2>&1 &
pids+=($!)
host=$(hostname -s)
read -r controller_port first_port second_port < <(python3 -c '
import socket
s = [socket.socket() for _ in range(3)]
for x in s: x.bind(("127.0.0.1", 0))
print(*(x.getsockname()[1] for x in s))')
# cred_expire: a requeued job waits for old credentials to die, 120 s by default.
cat >"$work/slurm.conf" <<CONF
ClusterName=haarflow
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$controller_port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool.%n
TmpFS=$work/tmp.%n
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.%n.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.%n.log
KillWait=30
ReturnToService=2
NodeName=one NodeHostname=$host NodeAddr=127.0.0.1 Port=$first_port CPUs=8 State=UNKNOWN
NodeName=two NodeHostname=$host NodeAddr=127.0.0.1 Port=$second_port CPUs=8 State=UNKNOWN
PartitionName=main Nodes=one,two Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
until_true 10 "munged" test -S "$work/munge/socket"
slurmctld -D >"$work/slurmctld.out.log" 2>&1 &
pids+=($!)
for node in "${nodes[@]}"; do
  slurmd -D -N "$node" >"$work/slurmd.$node.out.log" 2>&1 &
  pids+=($!)
done
at_end+=("scancel --quiet --user=root" "sleep 2")
idle() { [ "$(sinfo -h -o %T)" = idle ]; }
until_true 60 "the nodes" idle
run sinfo

export USER=root HAARFLOW_RUN=$work/run HAARFLOW_BIN=$bin HAARFLOW_STORE=$work/models HAARFLOW_JOBS=$work/jobs
export HAARFLOW_SLURM=$source_dir/deploy/slurm
cp -r "$source_dir/deploy/models" "$work/models"
mkdir -m 700 "$work/run"
cd "$work"
state_is() { [ "$(squeue -h -j "$1" -o %T 2>/dev/null)" = "$2" ]; }
gone() { [ -z "$(squeue -h -j "$1" -o %T 2>/dev/null)" ]; }
# submit [FLAG...] SCRIPT [ARGUMENT...]: its job id in $job.
submit() {
  run sbatch "$@" | tee submitted.txt
  job=$(sed -n 's/^Submitted batch job //p' submitted.txt)
}
client=(haarflow --no-progress --server "file:$HAARFLOW_RUN/server.json" --tls-ca "$HAARFLOW_RUN/server.pem" --token-file "$HAARFLOW_RUN/token")

# The server's time limit comes near.
server_moves() {
  local before
  before=$(cat run/server.json)
  run scancel --batch --signal=USR1 "$server"
  until_true 90 "the server has another endpoint" sh -c "[ -e run/server.json ] && [ '$before' != \"\$(cat run/server.json)\" ]"
  run cat "$HAARFLOW_RUN/server.json"
}

say "submit a server, find its endpoint, draw"
submit --time=30 "$HAARFLOW_SLURM/server.sbatch"
server=$job
until_true 60 "endpoint" test -e "$HAARFLOW_RUN/server.json"
run cat "$HAARFLOW_RUN/server.json"
stat -c '%a %n' run run/token run/tokens | sed "s|^|  |"
[ "$(stat -c %a run/token)" = 600 ] || fail "the token is not the user's alone"
run "${client[@]}" healthcheck
"${client[@]}" --token-file /dev/null models >/dev/null 2>&1 && fail "without the token" || true
run "${client[@]}" sample u1-l8-b2 -n 60000 --seed 7 -o unbroken.npy --observables plaquette

say "the same chain as a job; the server's time limit comes near meanwhile"
submit --time=10 "$HAARFLOW_SLURM/client.sbatch" u1-l8-b2 60000 7 broken.npy --observables plaquette
chain=$job
until_true 60 "the chain has begun" test -s broken.npy.part
server_moves
run squeue -o '%.6i %.16j %.9T %.10M'
run scontrol show job "$server" | grep -E 'JobState|Restarts'
until_true 180 "the chain" gone "$chain"
cat haarflow-sample.*.out
cmp unbroken.npy broken.npy || fail "the resumed chain is another one"
cmp unbroken.table.npy broken.table.npy || fail "its weights are others"
echo "unbroken.npy and broken.npy are the same bytes"

say "a client that is requeued goes on with its file"
submit --time=10 "$HAARFLOW_SLURM/client.sbatch" u1-l8-b2 400000 8 long.h5
chain=$job
until_true 60 "the chain has begun" test -s long.h5.part
run scancel --batch --signal=USR1 "$chain"
until_true 60 "requeued" sh -c "scontrol show job $chain | grep -q Restarts=1"
until_true 240 "the chain" gone "$chain"
tail -n 15 "haarflow-sample.$chain.out"
grep -q '^reliable' "haarflow-sample.$chain.out" || fail "the requeued client did not end"
[ -e long.h5 ] || fail "no file"

say "a trainer follows its server to another port, and takes a job"
submit --time=20 --cpus-per-task=1 "$HAARFLOW_SLURM/trainer.sbatch"
trainer=$job
until_true 60 "a trainer" grep -q "waiting for jobs" "haarflow-trainer.$trainer.out"
server_moves
run "${client[@]}" retune phi4-l6-e1 --set lambda=6.9 --ess 0.5 --budget 20 --watch | tail -n 12

say "the trainer's time limit comes near: it gives the job back, is requeued, and goes on from its state"
job_state() { "${client[@]}" job "$retuning" | sed -n 's/^.*\(PENDING\|LEASED\|RUNNING\|SUCCEEDED\|FAILED\).*/\1/p' | head -n 1; }
in_state() { job_state | grep -qE "$1"; }
run "${client[@]}" retune phi4-l16 --set lambda=5.2 --ess 0.9 --budget 300 | tee retune.txt
retuning=$(sed -n 's/^job *//p' retune.txt)
until_true 60 "the job runs" in_state RUNNING
sleep 3 # of 14 at least
run scancel --batch --signal=USR1 "$trainer"
until_true 60 "requeued" sh -c "scontrol show job $trainer | grep -q Restarts=1"
until_true 420 "the job" in_state 'SUCCEEDED|FAILED'
"${client[@]}" job "$retuning"
in_state SUCCEEDED || fail "the re-tuning did not succeed"
"${client[@]}" job "$retuning" | grep -q '^attempts  *2' || fail "the job was not given back once"
run scancel "$trainer"
until_true 60 "the trainer" gone "$trainer"
cat haarflow-trainer.*.out

if srun --mpi=list 2>&1 | grep -q pmix && [ -e "$build_dir/lib/libhaarflow_mpi.so" ]; then
  say "one model by two nodes: a rank is killed, the time limit comes near, and the model is that of one process"
  sed -e 's/^name: .*/name: "ranks"/' -e 's/\bsteps: 2500/steps: 1200/' "$source_dir/deploy/specs/phi4-l6-e1.txtpb" >ranks.txtpb
  mkdir alone together
  run haarflow-trainer train ranks.txtpb --store alone --threads 1 | tee alone.txt
  HAARFLOW_STORE=$work/together submit --time=20 --nodes=2 --cpus-per-task=1 "$HAARFLOW_SLURM/train.sbatch" "$PWD/ranks.txtpb" \
    --save-seconds 1
  training=$job
  saved() { [ -s together/.training-ranks.safetensors ]; }
  until_true 120 "a state" saved
  # Of this job, and no other process of that name.
  rank_one() { for p in $(pgrep -x haarflow-traine); do tr '\0' '\n' <"/proc/$p/environ" | grep -cxE "SLURM_PROCID=1|SLURM_CONF=$SLURM_CONF" | grep -qx 2 && echo "$p"; done; true; }
  run kill -KILL "$(rank_one | head -n 1)"
  until_true 60 "the attempt is lost" grep -q "the attempt was lost" "haarflow-train.$training.out"
  until_true 60 "the second attempt" grep -q "resuming after step" "haarflow-train.$training.out"
  run scancel --batch --signal=USR1 "$training"
  until_true 60 "requeued" sh -c "scontrol show job $training | grep -q Restarts=1"
  until_true 300 "the training" gone "$training"
  cat "haarflow-train.$training.out"
  digest() { grep -o 'sha256:[0-9a-f]*' "$1" | tail -n 1; }
  [ -n "$(digest alone.txt)" ] && [ "$(digest alone.txt)" = "$(digest "haarflow-train.$training.out")" ] || fail "the model is another one"
  echo "the same model as of one process: $(digest alone.txt)"

  say "a trainer of two nodes takes a job"
  HAARFLOW_TOGETHER=1 submit --time=20 --nodes=2 --cpus-per-task=1 "$HAARFLOW_SLURM/trainer.sbatch"
  trainer=$job
  run "${client[@]}" retune phi4-l6-e1 --set lambda=6.8 --ess 0.5 --budget 20 --watch | tail -n 12
  run scancel "$trainer"
  until_true 60 "the trainer" gone "$trainer"
  cat "haarflow-trainer.$trainer.out"
else
  echo "no PMIx in this Slurm, or built without MPI: no training on several ranks"
fi

say "scancel: the server drains, its endpoint disappears"
run scancel "$server"
until_true 60 "the server" gone "$server"
cat haarflow-server.*.out | grep -v '^model '
[ ! -e "$HAARFLOW_RUN/server.json" ] || fail "the endpoint file is left"
grep -q 'ended with 0' haarflow-server.*.out || fail "the server did not drain"
echo "done"
