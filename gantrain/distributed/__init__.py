"""Starting, joining and synchronising many processes. ``environment`` and ``launch`` do not import torch."""

__all__ = ["environment", "launch", "processes", "rendezvous", "sync_batch_norm"]
