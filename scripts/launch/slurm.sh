#!/usr/bin/env bash
#SBATCH --job-name=gantrain
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the time is up, gantrain writes a checkpoint and stops.
#SBATCH --signal=TERM@120
#
# Train on the nodes of a Slurm job. Arguments are passed on to gantrain train:
#     sbatch scripts/launch/slurm.sh configs/quickstart.yaml
#     sbatch --nodes=1 --gpus-per-node=1 scripts/launch/slurm.sh configs/quickstart.yaml run.name=one
# A job that is submitted again, or requeued after a preemption, goes on where the run stopped.
#
# PROCESSES  on each node: as many as it has GPUs, or 1
# PORT       from the job's number, so that two jobs may share a node
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port="${PORT:-$((20000 + SLURM_JOB_ID % 10000))}"
processes="${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}"
# Seconds that stopped processes are given to write the checkpoint.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-110}"

# One torchrun on each node; its number there is SLURM_NODEID, that of the first being 0.
# shellcheck disable=SC2016
exec srun --kill-on-bad-exit=0 bash -c 'exec "${PYTHON:-python}" -m torch.distributed.run --node_rank "$SLURM_NODEID" "$@"' - \
    --nnodes "$SLURM_NNODES" --master_addr "$first" --master_port "$port" --nproc_per_node "$processes" \
    -m gantrain train --resume "$@"
