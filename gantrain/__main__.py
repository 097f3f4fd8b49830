"""``python -m gantrain``, which launchers such as torchrun start."""

from gantrain.cli import main

if __name__ == "__main__":
    main()
