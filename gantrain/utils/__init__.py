"""Tools that every folder may use: tensors, seeds, whole files, nested mappings, marks of folders, waits that end."""

__all__ = ["io", "marks", "nested", "parent", "seeding", "tensors", "waiting"]
