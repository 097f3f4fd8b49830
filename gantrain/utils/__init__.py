"""Tools that every folder may use: lists of tensors, seeds, files that appear whole, nested mappings."""

__all__ = ["io", "nested", "seeding", "tensors"]
