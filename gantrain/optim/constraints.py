"""Resolvents ``J = (id + gamma A)^-1``: the projection onto a set, or the proximal operator of a regulariser.

A resolvent is applied in place after each move, to all parameters of a player taken as one vector ``v``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.utils.shards import shard_like, whole
from gantrain.utils.tensors import copy_, norm

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat


class Resolvent(ABC):
    """``J = (id + gamma A)^-1`` of a maximally monotone operator ``A``.

    A constraint of your own defines :meth:`apply_`; a config names it with ``game.PLAYER.constraint: {target:
    "my_constraints:Mine", …}``, and the arguments of its constructor are its keys.
    """

    @abstractmethod
    def apply_(self, parameters: Sequence[Tensor], step_size: float) -> None:
        """Replace the parameters by their image, in place; this is called after each move of the player.

        Args:
            parameters: the trainable parameters of the player.
            step_size: gamma, the player's learning rate.
        """


class Box(Resolvent):
    """Projection onto ``{v : low <= v_i <= high}``.

    Args:
        low: the smallest value that an entry may have.
        high: the largest value that an entry may have.

    Raises:
        UserError: ``low > high``.
    """

    def __init__(self, low: float = -1.0, high: float = 1.0):
        self.low = low
        self.high = high
        self._require_numbers()

    @torch.no_grad()
    def apply_(self, parameters: Sequence[Tensor], step_size: float) -> None:
        self._require_numbers()
        torch._foreach_clamp_min_(list(parameters), self.low)
        torch._foreach_clamp_max_(list(parameters), self.high)

    def _require_numbers(self) -> None:
        # Both may follow schedules.
        if self.low > self.high:
            raise UserError(f"box: low ({self.low:g}) must not exceed high ({self.high:g})")


class L2Ball(Resolvent):
    """Projection onto ``{v : ||v||_2 <= radius}``.

    Args:
        radius: the radius of the ball, which is centred at the origin.
    """

    def __init__(self, radius: PositiveFloat = 1.0):
        self.radius = radius

    @torch.no_grad()
    def apply_(self, parameters: Sequence[Tensor], step_size: float) -> None:
        scale = (self.radius / norm(parameters)).clamp(max=1.0)
        torch._foreach_mul_(list(parameters), scale)


class Simplex(Resolvent):
    """Projection onto ``{v : v_i >= 0, sum_i v_i = total}``.

    The sorting algorithm of Held, Wolfe and Crowder (1974): ``max(v - theta, 0)`` with the threshold theta for which
    the entries sum to ``total``.

    Args:
        total: the sum of the entries.
    """

    def __init__(self, total: PositiveFloat = 1.0):
        self.total = total

    @torch.no_grad()
    def apply_(self, parameters: Sequence[Tensor], step_size: float) -> None:
        v = torch.cat([whole(p).reshape(-1) for p in parameters])
        descending = v.sort(descending=True).values
        excess = descending.cumsum(0) - self.total
        count = torch.arange(1, len(v) + 1, device=v.device, dtype=v.dtype)
        # Not excess[last], for which the program would wait for the device to tell it the number.
        # The first counts always, also where rounding or NaN hides that it is larger.
        last = (descending * count > excess)[1:].sum(0, keepdim=True)
        projected = (v - excess.gather(0, last) / count.gather(0, last)).clamp_(min=0.0)
        parts = projected.split([p.numel() for p in parameters])
        copy_(parameters, [shard_like(part.view(p.shape), p) for p, part in zip(parameters, parts, strict=True)])


class L1(Resolvent):
    """Proximal operator of ``weight * ||v||_1``: soft-thresholding by ``step_size * weight``.

    Args:
        weight: the factor of the norm.
    """

    def __init__(self, weight: NonNegativeFloat = 1e-3):
        self.weight = weight

    @torch.no_grad()
    def apply_(self, parameters: Sequence[Tensor], step_size: float) -> None:
        threshold = step_size * self.weight
        sizes = torch._foreach_abs(list(parameters))
        torch._foreach_sub_(sizes, threshold)
        torch._foreach_clamp_min_(sizes, 0.0)
        copy_(parameters, torch._foreach_mul(torch._foreach_sign(list(parameters)), sizes))
