"""Tools that every folder may use: tensors, seeds, whole files, nested mappings, marks, output, waits that end, statistics."""

__all__ = [
    "abandon",
    "declared",
    "io",
    "marks",
    "nested",
    "output",
    "parent",
    "seeding",
    "statistics",
    "system_files",
    "tensors",
    "waiting",
]
