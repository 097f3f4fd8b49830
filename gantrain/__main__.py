"""Runs the command line for ``python -m gantrain``."""

import os
import sys

if __name__ == "__main__":
    # With -m Python looks for modules in the working directory first, and a json.py may lie there. The command line
    # looks there last, for targets.
    try:
        here = os.getcwd()
    except FileNotFoundError:  # the command line says so
        here = ""
    if sys.path[0] in ("", here) and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]

    from gantrain.cli import main

    main()
