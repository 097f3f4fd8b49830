"""Readers of samples: folders, archives and databases of images, and tables of text."""

__all__ = ["containers", "file_samples", "images", "layout", "tables"]
