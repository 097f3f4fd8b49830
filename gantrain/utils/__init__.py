"""Tools that every folder may use: tensors, seeds, files that appear whole, nested mappings, marks of folders."""

__all__ = ["io", "marks", "nested", "seeding", "tensors"]
