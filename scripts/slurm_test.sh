#!/bin/bash
# Sweeps through a real SLURM of one node: a job at a time per core, a requeue by signal, a preemption, a time-out.
# As root, with Debian's slurm-wlm (apt-get install slurm-wlm); nothing outside a temporary folder is written.
# Usage: scripts/slurm_test.sh [python]
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
python=$(realpath -s "${1:-$repository/.venv/bin/python}")
folder=$(mktemp -d)
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf MATRYOSHKA_CACHE=$folder/cache HF_HUB_OFFLINE=1 PYTHONPATH=$repository

start_slurm() {
    mkdir -p "$folder"/{munge,state,spool}
    chmod 700 "$folder/munge"
    head -c 1024 /dev/urandom > "$folder/munge/key"
    chmod 600 "$folder/munge/key"
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge.socket" --pid-file="$folder/munge/pid" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# Nothing that needs systemd or cgroups, so that a container will do.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
$(slurmd -C | head -n 1) NodeAddr=127.0.0.1
PartitionName=main Nodes=$host Default=YES PriorityTier=1
PartitionName=urgent Nodes=$host PriorityTier=2 PreemptMode=OFF
CONF
    slurmctld
    slurmd
    for _ in $(seq 30); do
        sinfo --noheader --format=%t | grep -q idle && return
        sleep 1
    done
    cat "$folder"/*.log
    exit 1
}

stop_slurm() {
    scancel --user=root 2> /dev/null || true
    for _ in $(seq 30); do
        [ -z "$(squeue --noheader 2> /dev/null)" ] && break
        sleep 1
    done
    pids=$(cat "$folder"/{slurmd.pid,slurmctld.pid,munge/pid} 2> /dev/null || true)
    kill $pids || true
    sleep 2
    kill -KILL $pids 2> /dev/null || true  # munged may miss a signal
    rm -rf "$folder"
}
trap stop_slurm EXIT

# A sweep of a tiny encoder on a few of the embedded pairs; the first word names it.
sweep() {
    local name=$1
    shift
    nice "$python" "$repository/train.py" -m hydra/launcher=slurm hydra.launcher.gpus_per_node=null \
        hydra.launcher.cpus_per_task=1 hydra.launcher.mem_gb=2 hydra.sweep.dir="$folder/$name" \
        data=pairs data.train="$folder/train.jsonl" data.evaluation="$folder/evaluation.jsonl" encoder=pretrained \
        encoder.model="$folder/tiny" pooling=saved "dims=[32,16]" batch_size=4 trainer.precision=32-true \
        logger=none export=none "$@" > "$folder/$name.log" 2>&1
}

# Wait for a job of a sweep to train: its first row of metrics.
training() {
    for _ in $(seq 60); do
        compgen -G "$folder/$1/*/metrics.jsonl" > /dev/null && return
        sleep 1
    done
    cat "$folder/$1.log"
    exit 1
}

job_id() {
    squeue --noheader --partition=main --format=%A
}

# What a sweep's jobs came to, and how often SLURM began each.
report() {
    "$python" - "$folder/$1" <<'PYTHON'
import json, re, sys
from pathlib import Path
for status in sorted(Path(sys.argv[1]).glob("*/status.json")):
    said = json.loads(status.read_text())
    rows = [json.loads(row) for row in (status.parent / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    print(f"  {said['state']}: {'in order' if steps == sorted(steps) else 'out of order'}, {said['seconds']:.0f} s"
          f" {said['error']}".rstrip())
for log in sorted(Path(sys.argv[1]).glob(".submitit/*/*_log.out")):
    text = log.read_text()
    print(f"  job {log.name.split('_0_log')[0]}: begun {text.count('Starting with')} times,"
          f" requeued by {'submitit' if 'Requeued job' in text else 'SLURM or nobody'}")
PYTHON
}

expect() {  # name, number of jobs, state, times begun
    report "$1" | tee "$folder/report"
    [ "$(grep -c "^  $3: in order" "$folder/report")" = "$2" ] && [ "$(grep -c "begun $4 times" "$folder/report")" = "$2" ] && return
    echo "expected $2 jobs $3, begun $4 times"
    cat "$folder/$1.log"
    exit 1
}

start_slurm
echo "$(sinfo --version), one node, $(nproc) cores"
"$python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path
from matryoshka.embedded.german_help import FOLDER
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_encoder
folder = Path(sys.argv[1])
SentenceTransformersFolder().save(tiny_encoder(), folder / "tiny")
for name in ("train.jsonl", "evaluation.jsonl"):
    (folder / name).write_text("".join((FOLDER / name).read_text().splitlines(keepends=True)[:12]))
PYTHON

echo "two jobs:"
sweep two optimizer.lr=1e-3,1e-2 trainer.max_epochs=1
expect two 2 done 1

echo "a job whose end is announced (scancel --signal=USR2):"
sweep signal seed=1 trainer.max_epochs=60 & wait_for=$!
training signal
scancel --signal=USR2 "$(job_id)"
wait $wait_for
expect signal 1 done 2

echo "a job preempted for one of another partition:"
sweep preempted seed=1 trainer.max_epochs=60 & wait_for=$!
training preempted
sbatch --quiet --partition=urgent --exclusive --output=/dev/null --wrap "sleep 3"
wait $wait_for
expect preempted 1 done 2

echo "a job longer than its time, a minute:"
! sweep late seed=1 trainer.max_epochs=100000 hydra.launcher.timeout_min=1 hydra.launcher.signal_delay_s=30
expect late 1 failed 1
