"""Interpolation: between latent vectors on a sphere, and between the classes that a generator is told."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from gantrain.config.user_code import UserCode, name_of
from gantrain.errors import UserError
from gantrain.models.truncation import Truncated

# Vectors whose angle is as near to 0 or π span no plane.
_STRAIGHT = 1e-7
# The functions by which networks look up what belongs to labels, and the place of the labels among the arguments.
_LOOKUPS: dict[Any, int] = {
    functional.embedding: 0,
    functional.one_hot: 0,
    torch.embedding: 1,
    torch.index_select: 2,
    torch.Tensor.index_select: 2,
    torch.Tensor.__getitem__: 1,
}


def slerp(first: Tensor, last: Tensor, t: float | Tensor) -> Tensor:
    """Spherical linear interpolation: ``(sin((1 - t) θ) first + sin(t θ) last) / sin θ``, θ being the angle between.

    A straight line between normal vectors of many dimensions passes through vectors that are shorter than nearly all
    that a generator was trained on; the arc does not. The ends are exactly ``first`` (t = 0) and ``last`` (t = 1).
    Parallel vectors, and those of which one is 0, are interpolated on the straight line. Between opposite vectors the
    arc leads over the coordinate axis that is nearest to perpendicular, the first of several; in one dimension it is
    the straight line. Sources: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985; for generators,
    White, Sampling generative networks, arXiv 1609.04468.

    Args:
        first: vectors ``(..., d)``.
        last: vectors ``(..., d)``.
        t: numbers from 0 to 1 that broadcast with the vectors, as ``weight`` of ``torch.lerp`` does.

    Examples:
        >>> slerp(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]), torch.tensor([[0.0], [0.5], [1.0]]))
        tensor([[2.0000, 0.0000],
                [1.4142, 1.4142],
                [0.0000, 2.0000]])
    """
    t = torch.as_tensor(t, dtype=torch.float64, device=first.device)
    a, b = torch.broadcast_tensors(first.double(), last.double())
    of_a, of_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    u, v = a / of_a, b / of_b
    # More exact than the arc cosine of the inner product where vectors are nearly parallel.
    angle = 2 * torch.atan2((u - v).norm(dim=-1, keepdim=True), (u + v).norm(dim=-1, keepdim=True))
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    line = torch.lerp(a, b, t.expand(torch.broadcast_shapes(t.shape, a.shape)))
    over = (torch.cos(math.pi * t) * u + torch.sin(math.pi * t) * _perpendicular(u)) * torch.lerp(of_a, of_b, t)
    opposite = (angle > math.pi - _STRAIGHT) & (a.shape[-1] > 1)
    flat = (of_a == 0) | (of_b == 0) | (angle < _STRAIGHT) | (angle > math.pi - _STRAIGHT)
    found = torch.where(opposite, over, torch.where(flat, line, arc)).to(first.dtype)
    return torch.where(t == 0, first, torch.where(t == 1, last, found))


def _perpendicular(u: Tensor) -> Tensor:
    """Unit vectors ``(..., d)`` perpendicular to unit vectors, towards the axis that is nearest to perpendicular."""
    axis = functional.one_hot(u.abs().argmin(dim=-1), u.shape[-1]).to(u.dtype)
    p = axis - (axis * u).sum(dim=-1, keepdim=True) * u
    return p / p.norm(dim=-1, keepdim=True)


class BetweenClasses(nn.Module):
    """A conditional generator at a point between two classes: whatever it looks up by the label is interpolated.

    Embeddings, scales and shifts of normalisation and one-hot vectors of the two classes are interpolated linearly, in
    a network of any kind, which needs to know nothing of it. Lookups are recognised by the labels: by
    ``nn.Embedding``, ``embedding``, ``one_hot``, ``index_select`` or ``table[labels]``.

    Args:
        network: the generator, called as ``network(z, labels)``.
        t: the place between the classes: 0 for the first, 1 for the second.
    """

    def __init__(self, network: nn.Module, t: float):
        super().__init__()
        self.network = network
        self.t = t

    def forward(self, z: Tensor, classes: Tensor) -> Tensor:
        """The samples of ``z``, ``(n, latent_dim)``, between the two classes in each row of ``classes``, ``(n, 2)``.

        Raises:
            UserError: the network looks nothing up by the labels.
        """
        first, second = (labels.contiguous() for labels in classes.unbind(1))
        mode = _Mixture(first, second, self.t)
        with mode, UserCode("model", self.network):
            samples: Tensor = self.network(z, first)
        if not mode.mixed and not torch.equal(first, second):
            network = self.network.network if isinstance(self.network, Truncated) else self.network
            raise UserError(
                f"interpolate: {name_of(network)} looks up no embedding of the class, so that there is nothing between "
                "two classes; stay in one class"
            )
        return samples


class _Mixture(TorchFunctionMode):
    """Interpolates the results of lookups by the labels ``first`` between these and ``second``.

    Attributes:
        mixed: whether there was such a lookup.
    """

    def __init__(self, first: Tensor, second: Tensor, t: float):
        super().__init__()
        self.first, self.second, self.t = first, second, t
        self.mixed = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        place = _LOOKUPS.get(func)
        if place is None:
            return func(*args, **kwargs)
        others = [self._other(value) if i == place else value for i, value in enumerate(args)]
        named = {name: self._other(value) for name, value in kwargs.items()}
        found = func(*args, **kwargs)
        pairs = [*zip(args, others, strict=True), *((kwargs[name], named[name]) for name in kwargs)]
        if all(given is other for given, other in pairs):
            return found
        self.mixed = True
        first, second = (x if x.is_floating_point() else x.float() for x in (found, func(*others, **named)))
        return torch.lerp(first, second, self.t)

    def _other(self, value: Any) -> Any:
        """The second labels in place of the first, also within a tuple of indices; any other value as it is."""
        if isinstance(value, tuple):
            replaced = tuple(map(self._other, value))
            return value if all(a is b for a, b in zip(value, replaced, strict=True)) else replaced
        if not isinstance(value, Tensor) or value.is_floating_point() or value.dtype == torch.bool:
            return value
        same = value.numel() == self.first.numel() and torch.equal(value.flatten(), self.first.to(value.dtype))
        return self.second.to(value.dtype).view(value.shape) if same else value
