"""What every folder may use: tensors in lists, seeds, files written whole."""

__all__ = ["io", "seeding", "tensors"]
