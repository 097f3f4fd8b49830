#!/usr/bin/env bash
# The 13 optimizers of the RAPP paper's table on CIFAR-10 as JPEG files, at an equal number of gradients. Wants a GPU.
#
#   DATA=data/cifar10-jpeg-train.tar.xz SEEDS=3 GRADIENTS=100000 bash scripts/bench/cifar10.sh [KEY=VALUE ...]
#
# First a classifier is trained on the same archive, whose features judge the samples (CLASSIFIER_STEPS; its values are no
# FIDs). The table goes to results/cifar10.txt, the curves to results/cifar10.png, the last grid of each method's first
# seed to results/cifar10/. The same command goes on where it was stopped. KEY=VALUE holds for all 13, for example
# run.precision=bf16 run.channels_last=true run.compile=true. METHODS chooses some: METHODS="gda rapp adam".
set -euo pipefail
cd "$(dirname "$0")/../.."
DATA=${DATA:-data/cifar10-jpeg-train.tar.xz}
SEEDS=${SEEDS:-3}
GRADIENTS=${GRADIENTS:-100000}
CLASSIFIER_STEPS=${CLASSIFIER_STEPS:-17600}
RUNS=${RUNS:-checkpoints/cifar10}
RESULTS=${RESULTS:-scripts/bench/results}
METHODS=${METHODS:-gda eg eg_plus la_gda la_eg la_eg_plus rapp adam extra_adam extra_adam_plus la_adam la_extra_adam la_extra_adam_plus}

gantrain train configs/sampa/cifar10_files.yaml --resume run.name=cifar10_features data.path="$DATA" \
    run.steps="$CLASSIFIER_STEPS" game.classifier.scheduler.T_max="$CLASSIFIER_STEPS"

configs=()
for method in $METHODS; do
    configs+=("configs/rapp/files/$method.yaml")
done
mkdir -p "$RESULTS/cifar10"
python scripts/bench/gan_quality.py "${configs[@]}" --seeds "$SEEDS" --gradients "$GRADIENTS" --workers 1 \
    --folder "$RUNS" --picture "$RESULTS/cifar10.png" run.device=auto run.threads=null data.path="$DATA" \
    evaluate.features=checkpoints/cifar10_features evaluate.samples=10000 "samples={every: 1000000000, count: 64}" \
    "$@" | tee "$RESULTS/cifar10.txt" || [ $? -eq 1 ]  # 1: a run diverged, which the table says
for method in $METHODS; do
    name="rapp_${method}_files"
    grid=$(ls "$RUNS/${name/rapp_rapp/rapp},seed=0/samples"/step_*.png | tail -n 1)
    [ -z "$grid" ] || cp "$grid" "$RESULTS/cifar10/$method.png"
done
