#!/usr/bin/env bash
# Install gantrain with what its developers use, check style and types, and run the tests.
# --all runs the longer trials too; other arguments go to pytest: scripts/test.sh tests/outer -n 1
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_gantrain "[dev]"

arguments=()
for argument in "$@"; do
    if [ "$argument" = "--all" ]; then arguments+=(-m ""); else arguments+=("$argument"); fi
done
# The networks of the tests are small, and several processes share the machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Each worker, and each process that tests start, would otherwise compile the package and the tests anew.
unset PYTHONDONTWRITEBYTECODE
# Twice as many as there are cores, for many tests wait for processes of their own. A -n among the arguments goes over it.
workers=$(python -c 'import os; print(min(2 * len(os.sched_getaffinity(0)), 8))')

ruff check .
ruff format --check .
mypy
python -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder "${arguments[@]}"
