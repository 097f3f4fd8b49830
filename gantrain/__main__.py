"""``python -m gantrain``."""

from gantrain.cli import main

main()
