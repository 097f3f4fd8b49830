"""Tools that every folder may use: tensors, seeds, files, nested mappings, marks, output, waits, statistics."""

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
    "tensor_files",
    "tensors",
    "waiting",
]
