"""Lists of tensors that are copied, restored and interpolated in place.

A parameter keeps its storage for life. Only its optimizer and the functions of this file write to it. Of a sharded
tensor each process writes its own shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, TypeVar

import torch
from torch import Tensor

from gantrain.utils.shards import is_shard, joint_norm, joint_sum, local

Tree = TypeVar("Tree")


def snapshot(tensors: Sequence[Tensor], into: list[Tensor] | None = None) -> list[Tensor]:
    """Copies of ``tensors``, detached from the graph, made by one operation for each data type.

    Args:
        tensors: the tensors.
        into: an earlier snapshot that nobody needs any more; its memory is used again if it fits. None allocates.
    """
    if into is None or [_form(t) for t in into] != [_form(t) for t in tensors]:
        into = [torch.empty_like(t) for t in tensors]
    copy_(into, tensors)
    return into


@torch.no_grad()
def copy_(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Write the values of ``sources`` into ``targets``."""
    dtypes = {t.dtype for t in targets}
    if len(dtypes) > 1:  # torch would copy tensor by tensor
        for dtype in dtypes:
            chosen = [t.dtype == dtype for t in targets]
            copy_(list(compress(targets, chosen)), list(compress(sources, chosen)))
    elif targets:
        torch._foreach_copy_(local(targets), local(sources))


@contextmanager
def preserve(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Restore the values of ``tensors`` at the end of the block, also when it ends with an exception."""
    saved = snapshot(tensors)
    try:
        yield
    finally:
        copy_(tensors, saved)


@torch.no_grad()
def lerp_from_(targets: Sequence[Tensor], anchor: Sequence[Tensor], relaxation: float) -> None:
    """Set the targets ``w`` to ``z + relaxation * (w - z)`` with the anchor ``z``; a relaxation of 1 is exact."""
    if targets:
        torch._foreach_lerp_(local(targets), local(anchor), 1.0 - relaxation)


@torch.no_grad()
def add_(targets: Sequence[Tensor], directions: Sequence[Tensor], scale: float | Tensor = 1.0) -> None:
    """Add ``scale * directions`` to ``targets``; a scale that lies on a GPU may stay there, as a 0-d tensor."""
    if not targets:
        return
    if isinstance(scale, Tensor):
        torch._foreach_add_(local(targets), torch._foreach_mul(local(directions), scale))
    else:
        torch._foreach_add_(local(targets), local(directions), alpha=scale)


def set_gradient(parameters: Sequence[Tensor], gradient: Sequence[Tensor | None]) -> None:
    """Set ``.grad`` of each parameter to its entry of ``gradient``."""
    for p, g in zip(parameters, gradient, strict=True):
        p.grad = g


def copied_gradient(gradient: Sequence[Tensor | None]) -> list[Tensor | None]:
    """A copy of a gradient. What is kept of one that an optimizer follows must be a copy, since some write into it."""
    copies = iter(snapshot([g for g in gradient if g is not None]))
    return [None if g is None else next(copies) for g in gradient]


def tree_to(
    tree: Tree, device: torch.device | None = None, memory_format: torch.memory_format = torch.preserve_format
) -> Tree:
    """A copy of nested mappings, lists and tuples with all tensors on ``device``, 4-d ones in ``memory_format``.

    Shards stay as they are: they lie where they belong.
    """

    def moved(t: Tensor) -> Tensor:
        if is_shard(t):
            return t
        return t.to(device, memory_format=memory_format if t.dim() == 4 else torch.preserve_format)

    return map_tensors(tree, moved)


def map_tensors(tree: Tree, function: Callable[[Tensor], Any]) -> Tree:
    """A copy of nested mappings, lists and tuples in which ``function(t)`` takes the place of each tensor ``t``."""
    mapped: Any = tree
    if isinstance(tree, Tensor):
        mapped = function(tree)
    elif isinstance(tree, Mapping):
        mapped = {key: map_tensors(value, function) for key, value in tree.items()}
    elif isinstance(tree, list):
        mapped = [map_tensors(value, function) for value in tree]
    elif isinstance(tree, tuple):
        mapped = tuple(map_tensors(value, function) for value in tree)
    return mapped


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of ``tensors`` taken as one vector, as a 0-d tensor; zero for an empty list."""
    if not tensors:
        return torch.zeros(())
    return joint_norm(torch._foreach_norm(local(tensors)), tensors)


def dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """The inner product of two lists of tensors, each taken as one real vector, as a 0-d tensor."""
    pairs = zip(in_real_numbers(local(left)), in_real_numbers(local(right)), strict=True)
    return joint_sum([(a * b).sum() for a, b in pairs], left)


def in_real_numbers(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, with complex ones as pairs of real numbers in the same memory."""
    return [torch.view_as_real(t) if t.is_complex() else t for t in tensors]


def _form(t: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]:
    return t.shape, t.stride(), t.dtype, t.device
