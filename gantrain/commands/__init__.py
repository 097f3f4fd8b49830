"""The commands of the command line, a file each; a command is imported once its arguments have been checked."""

__all__ = ["compare", "diagnose", "evaluate", "map", "new", "sample", "solve", "sweep", "train"]
