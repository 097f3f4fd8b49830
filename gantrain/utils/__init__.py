"""Helpers that every folder may use: lists of tensors, seeds, and files that are written whole."""

__all__ = ["io", "seeding", "tensors"]
