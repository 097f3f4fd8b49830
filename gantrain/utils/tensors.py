"""Lists of tensors copied, restored and interpolated in place: the one way in which strategies are moved by hand.

A parameter keeps its storage for life; nothing else in the package writes to one except its optimizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def snapshot(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Detached copies of ``tensors``."""
    return [t.detach().clone() for t in tensors]


@torch.no_grad()
def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Write ``sources`` into ``targets``."""
    if targets:
        torch._foreach_copy_(targets, sources)


@contextmanager
def preserve(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Write the values of ``tensors`` on entry back on leaving, also when an exception passes through."""
    saved = snapshot(tensors)
    try:
        yield
    finally:
        copy_(tensors, saved)


@torch.no_grad()
def lerp_from_(targets: Sequence[Tensor], anchor: Sequence[Tensor], relaxation: float) -> None:
    """Set ``w`` to ``z + relaxation * (w - z)`` for targets ``w`` and anchor ``z``; exact for a relaxation of 1."""
    if targets:
        torch._foreach_lerp_(targets, anchor, 1.0 - relaxation)


@torch.no_grad()
def add_(targets: Sequence[Tensor], directions: Sequence[Tensor], scale: float | Tensor = 1.0) -> None:
    """Add ``scale * directions`` to ``targets``; the scale may be a 0-d tensor, so that nothing waits for a device."""
    if isinstance(scale, Tensor):
        torch._foreach_add_(targets, torch._foreach_mul(directions, scale))
    elif targets:
        torch._foreach_add_(targets, directions, alpha=scale)


def tree_to(
    tree: Any, device: torch.device | None = None, memory_format: torch.memory_format = torch.preserve_format
) -> Any:
    """A nested dict, list or tuple with its tensors on ``device``, those of four dimensions in ``memory_format``."""
    if isinstance(tree, Tensor):
        return tree.to(device, memory_format=memory_format if tree.dim() == 4 else torch.preserve_format)
    if isinstance(tree, dict):
        return {key: tree_to(value, device, memory_format) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(tree_to(value, device, memory_format) for value in tree)
    return tree


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all entries of ``tensors`` taken as one vector, a 0-d tensor; zero for an empty list."""
    if not tensors:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Inner product of two lists of tensors, each taken as one vector; a 0-d tensor."""
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()
