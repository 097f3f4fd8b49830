"""Readers of samples: folders, archives and databases of images, and tables of text."""

__all__ = [
    "arrow",
    "containers",
    "databases",
    "file_samples",
    "images",
    "layout",
    "magic",
    "selection",
    "tables",
]
