"""Arithmetic of gradients, in which None stands for zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.utils.tensors import add_, dot, norm


@torch.no_grad()
def combination(a: float, left: Gradient, b: float | Tensor, right: Gradient) -> Gradient:
    """``a left + b right`` in new memory, with None where both are None; ``b`` may be a 0-d tensor."""
    lefts, rights = _filled(left, right), _filled(right, left)
    sums = list(torch._foreach_mul(lefts, a)) if lefts else []
    add_(sums, rights, b)
    found = iter(sums)
    return [None if one is None and other is None else next(found) for one, other in zip(left, right, strict=True)]


@torch.no_grad()
def scaled(gradient: Gradient, factor: Tensor) -> Gradient:
    """``factor`` times the gradient, for a 0-d tensor, in new memory."""
    found = iter(torch._foreach_mul([g for g in gradient if g is not None], factor))
    return [None if g is None else next(found) for g in gradient]


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


def orthogonal(vector: Gradient, to: Gradient) -> Gradient:
    """The component of a vector orthogonal to another one, scaled to the length 1.

    What is shorter than the square root of the machine precision times the vector is the rounding error of a vector
    without such a component, and gives zeros.
    """
    square = product(to, to)
    along = torch.where(square > 0, product(vector, to) / square, 0.0)
    component = combination(1.0, vector, -along, to)
    size, least = length(component), length(vector) * torch.finfo(along.dtype).eps ** 0.5
    return scaled(component, torch.where(size > least, 1 / size, 0.0))


def _filled(gradient: Gradient, other: Gradient) -> Sequence[Tensor]:
    """The tensors of a gradient, with zeros where only the other one has a tensor."""
    pairs = zip(gradient, other, strict=True)
    return [g if g is not None else torch.zeros_like(o) for g, o in pairs if not (g is None and o is None)]  # type: ignore[arg-type]
