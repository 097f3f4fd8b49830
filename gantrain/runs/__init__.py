"""What a run leaves in its folder: config, checkpoints, metrics and events; written, found and opened again."""

__all__ = ["checkpoint", "folder", "monitor", "restore", "saved"]
