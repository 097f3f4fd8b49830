#!/usr/bin/env bash
# Install gantrain and train a GAN on handwritten digits; a second call goes on where the first stopped.
# Arguments are passed on to gantrain train: scripts/quickstart.sh run.name=wide game.generator.model.width=64
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_gantrain ""

name=quickstart
for argument in "$@"; do
    case "$argument" in run.name=*) name="${argument#run.name=}" ;; esac
done
gantrain train configs/quickstart.yaml --resume "$@"

newest=$(ls "checkpoints/$name/samples/"step_*.png | tail -n 1)
prefix=""
if [ -d .venv ] && [ "${VIRTUAL_ENV:-}" = "$PWD/.venv" ]; then
    prefix=".venv/bin/"
fi
cat <<END

generated digits:    $newest
their history:       checkpoints/$name/samples/over_time.png
losses and samples:  ${prefix}tensorboard --logdir checkpoints    (then open http://localhost:6006)
END
