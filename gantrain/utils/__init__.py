"""Tools that every folder may use: lists of tensors, seeds, files that appear whole, nested mappings, output."""

__all__ = ["abandon", "io", "nested", "output", "seeding", "tensors"]
