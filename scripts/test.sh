#!/usr/bin/env bash
# Install gantrain with its test extra and run the suite. --all runs the longer trials too; other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_gantrain "[test]"

arguments=()
for argument in "$@"; do
    if [ "$argument" = "--all" ]; then arguments+=(-m ""); else arguments+=("$argument"); fi
done
# The networks of the tests are small, and several processes share the machine.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
ruff check .
# Three, for many tests wait for processes of their own.
python -m pytest -n 3 --dist loadfile "${arguments[@]}"
