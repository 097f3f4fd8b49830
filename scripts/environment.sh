# Sourced by the other scripts: install EXTRA ("" or "[dev]") into the active virtual environment, or into .venv.
install_gantrain() {
    local python="${PYTHON:-python3}" extra="$1"
    if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
        if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "gantrain: needs Python 3.10 or newer, and '$python' is not; name one with PYTHON=/path/to/python3" >&2
            exit 2
        fi
        if [ ! -x .venv/bin/pip ] && ! "$python" -m venv --clear .venv; then
            echo "gantrain: '$python -m venv' failed; on Debian and Ubuntu install python3-venv first" >&2
            exit 2
        fi
        # shellcheck disable=SC1091
        source .venv/bin/activate
    fi
    echo "installing gantrain$extra and what it needs; the first time, torch takes a few minutes"
    python -m pip install --quiet --disable-pip-version-check --editable ".$extra"
}
