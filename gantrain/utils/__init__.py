"""Tools that every folder may use: lists of tensors, seeds, files that appear whole, nested mappings,
and waits that end."""

__all__ = ["io", "nested", "parent", "seeding", "tensors", "waiting"]
