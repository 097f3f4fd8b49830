#!/usr/bin/env bash
# Train on two hosts, or more. Start it on each with the host's number and the same arguments of gantrain train:
#     FIRST=10.0.0.1 scripts/launch/two_hosts.sh 0 configs/quickstart.yaml     # on host 0, whose address that is
#     FIRST=10.0.0.1 scripts/launch/two_hosts.sh 1 configs/quickstart.yaml     # on the other
# The run's folder lies on host 0; the others need the config and the data, but no file system in common. Ctrl-C on one
# host stops both with a checkpoint. With --resume for both, the run goes on, be it on as many hosts or not.
#
# FIRST      address of host 0, which the others must reach at PORT and at any other port
# PORT       29500
# HOSTS      how many hosts, 2
# PROCESSES  on each host: as many as it has GPUs, or 1
set -euo pipefail

if [ $# -lt 2 ] || [ -z "${FIRST:-}" ]; then
    echo "usage: FIRST=ADDRESS $0 HOST CONFIG [ARGUMENT]..." >&2
    exit 2
fi
host="$1"
shift
# Seconds that a stopped host is given to write the checkpoint.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-120}"
python="${PYTHON:-python}"
# As torch counts them: only those that CUDA_VISIBLE_DEVICES leaves visible.
gpus=$("$python" -c 'import torch; print(torch.cuda.device_count())')

# The hosts have fixed numbers, so that the first process, which writes the run, is always on host 0.
exec "$python" -m torch.distributed.run \
    --nnodes "${HOSTS:-2}" --node_rank "$host" --master_addr "$FIRST" --master_port "${PORT:-29500}" \
    --nproc_per_node "${PROCESSES:-$((gpus > 0 ? gpus : 1))}" -m gantrain train "$@"
