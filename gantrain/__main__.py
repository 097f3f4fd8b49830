"""Runs the command line for ``python -m gantrain``."""

from gantrain.cli import main

main()
