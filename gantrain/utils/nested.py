"""Nested mappings and lists: as flat ones, and what stands for one that may be missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Maybe:
    """In the description of a tree, stands for a tree like its value, or for None."""

    value: Any


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted paths, such as ``game.penalties.0.name``.

    A list counts as nested if it holds a mapping or a list; other lists, and empty mappings, are leaves.

    Args:
        tree: nested mappings and lists.
        prefix: the beginning of all paths, with a dot at its end.
    """
    nested = isinstance(tree, list | tuple) and any(isinstance(value, Mapping | list | tuple) for value in tree)
    if not nested and not (isinstance(tree, Mapping) and tree):
        return {prefix[:-1]: tree}
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    return {path: leaf for key, value in items for path, leaf in flatten(value, f"{prefix}{key}.").items()}
