#!/usr/bin/env bash
# Train on all GPUs of this host, or in two processes on its processor. Arguments are passed on to gantrain train:
#     scripts/launch/one_host.sh configs/quickstart.yaml run.name=many
#     PROCESSES=4 scripts/launch/one_host.sh configs/quickstart.yaml --resume
set -euo pipefail

python="${PYTHON:-python}"
# As torch counts them: only those that CUDA_VISIBLE_DEVICES leaves visible.
gpus=$("$python" -c 'import torch; print(torch.cuda.device_count())')

if [ "$gpus" -gt 1 ]; then
    exec "$python" -m accelerate.commands.launch --multi_gpu --num_machines 1 --num_processes "${PROCESSES:-$gpus}" \
        --mixed_precision no --dynamo_backend no -m gantrain train "$@"
elif [ "$gpus" -eq 1 ] && [ -z "${PROCESSES:-}" ]; then
    exec "$python" -m gantrain train "$@"
fi
exec "$python" -m gantrain train --processes "${PROCESSES:-2}" "$@"
