#!/usr/bin/env bash
# Build the documentation into site/, where site/index.html opens in a browser without a server. Warnings are errors.
# scripts/docs.sh serve shows it at http://127.0.0.1:8000 instead, and builds it again whenever a page changes.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_gantrain "[docs]"

# Material for MkDocs would print at each build what it thinks of the next MkDocs.
export NO_MKDOCS_2_WARNING=1
if [ "${1:-build}" = build ]; then
    # With --quiet, MkDocs would not count the warnings either, and --strict would let them pass.
    python -m mkdocs build --strict
    echo "open site/index.html in a browser"
else
    python -m mkdocs "$@"
fi
