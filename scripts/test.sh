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
ruff check .
python -m pytest "${arguments[@]}"
