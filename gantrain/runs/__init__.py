"""The folder of a run: its config, checkpoints, metrics and events are written there and read again."""

__all__ = ["checkpoint", "folder", "monitor", "restore", "saved"]
