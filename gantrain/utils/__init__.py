"""Tools that every folder may use: tensors, seeds, whole files, nested mappings, marks, output, waits that end."""

__all__ = [
    "abandon",
    "declared",
    "io",
    "marks",
    "nested",
    "output",
    "parent",
    "seeding",
    "system_files",
    "tensors",
    "waiting",
]
