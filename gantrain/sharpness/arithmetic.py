"""Arithmetic of gradients, in which None stands for zero."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.utils.tensors import add_, dot, norm


@torch.no_grad()
def combination(a: float, left: Gradient, b: float, right: Gradient) -> Gradient:
    """``a left + b right`` in new memory, with None where both are None."""
    lefts, rights = _filled(left, right), _filled(right, left)
    sums = list(torch._foreach_mul(lefts, a)) if lefts else []
    add_(sums, rights, b)
    return _laid_out(sums, left, right)


@torch.no_grad()
def combine_(a: float | Tensor, left: Gradient, b: float, right: Gradient) -> Gradient:
    """``a left + b right``, in the memory of ``left``; ``a`` may be a 0-d tensor."""
    sums, rights = _filled(left, right), _filled(right, left)
    if sums:
        torch._foreach_mul_(sums, a)
    add_(sums, rights, b)
    return _laid_out(sums, left, right)


@torch.no_grad()
def add_multiple(left: Gradient, factor: Tensor, right: Gradient) -> Gradient:
    """``left + factor right``, in the memory of ``left``, for a 0-d tensor ``factor``."""
    sums, rights = _filled(left, right), _filled(right, left)
    for total, r in zip(sums, rights, strict=True):
        total.addcmul_(r, factor.to(r.dtype))
    return _laid_out(sums, left, right)


@torch.no_grad()
def orthogonal_unit(left: Gradient, right: Gradient) -> Gradient:
    """The component of ``left - right`` orthogonal to ``right``, scaled to the length 1.

    A component shorter than the square root of the machine precision times ``left - right`` is taken for its rounding
    error, and gives zeros.
    """
    component = combination(1.0, left, -1.0, right)
    size = length(component)
    component = add_multiple(component, -share(component, right), right)
    rest, least = length(component), size * torch.finfo(size.dtype).eps ** 0.5
    factor = torch.where(rest > least, 1 / rest, 0.0)
    return [None if g is None else g.mul_(factor.to(g.dtype)) for g in component]


def share(left: Gradient, right: Gradient) -> Tensor:
    """``<left, right> / ||right||^2``, as a 0-d tensor; 0 if ``right`` is zero."""
    square = product(right, right)
    return torch.where(square > 0, product(left, right) / square, 0.0)


def length(gradient: Gradient) -> Tensor:
    """The Euclidean norm, as a 0-d tensor."""
    return norm([g for g in gradient if g is not None])


def product(left: Gradient, right: Gradient) -> Tensor:
    """The inner product, as a 0-d tensor."""
    lefts, rights = _filled(left, right), _filled(right, left)
    return dot(lefts, rights) if lefts else torch.zeros(())


def cosine(left: Gradient, right: Gradient) -> Tensor:
    """The cosine of the angle between two gradients, as a 0-d tensor; 0 if one of them is zero."""
    lengths = length(left) * length(right)
    return torch.where(lengths > 0, product(left, right) / lengths, 0.0)


def _filled(gradient: Gradient, other: Gradient) -> list[Tensor]:
    """The tensors of a gradient, with zeros where only the other one has a tensor."""
    pairs = zip(gradient, other, strict=True)
    return [g if g is not None else torch.zeros_like(o) for g, o in pairs if not (g is None and o is None)]  # type: ignore[arg-type]


def _laid_out(sums: Iterable[Tensor], left: Gradient, right: Gradient) -> Gradient:
    """The results for the tensors of :func:`_filled`, with None where both gradients have none."""
    found = iter(sums)
    return [None if one is None and other is None else next(found) for one, other in zip(left, right, strict=True)]
