"""What the commands of the command line do, a file each; they are imported once their arguments are checked."""

__all__ = ["compare", "diagnose", "evaluate", "map", "sample", "solve", "sweep", "train"]
