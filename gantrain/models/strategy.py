"""Strategies of players that have no network: the parameters are the strategy, or become it without any input."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import Float

# So far may the sum of a mixed strategy be from 1: more than rounding, and less than what is meant otherwise.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class StrategySpec(DataSpec):
    """The description of a strategy, which :meth:`gantrain.Game.spec_for_network` returns for a player.

    Args:
        shape: the shape of the strategy, such as ``(3,)``; ``(0,)`` leaves it to the key ``start``.
        simplex: whether the strategy is mixed: each of its rows (its last dimension) holds numbers of at least 0 that
            sum to 1. Default false.
    """

    simplex: bool = False


class Strategy(nn.Module):
    """A player's strategy: a tensor that depends on nothing but the parameters.

    A strategy of your own is constructed with a :class:`StrategySpec` as its first argument; its other arguments are
    the keys of ``game.PLAYER.model``.
    """

    @abstractmethod
    def forward(self) -> Tensor:
        """The strategy, in the shape of the spec; gradients flow to the parameters."""


class Vector(Strategy):
    """The parameter itself is the strategy.

    Nothing keeps a mixed strategy mixed but the optimizer ``mirror``, or ``constraint: simplex``.

    Args:
        spec: the description of the strategy.
        start: the strategy at the beginning: its numbers, or one number for all of them. null (the default) draws them
            from the run's seed: a mixed strategy uniformly, any other from the standard normal distribution.

    Attributes:
        value: the strategy.
        mixed: whether the strategy must be mixed.

    Raises:
        UserError: ``start`` does not have the shape of the strategy, or is no mixed strategy where one is expected.
    """

    def __init__(self, spec: DataSpec, start: Float | Sequence[Float] | Sequence[Sequence[Float]] | None = None):
        super().__init__()
        self.value = nn.Parameter(_start(spec, start))
        self.mixed = bool(getattr(spec, "simplex", False))

    def forward(self) -> Tensor:
        return self.value


class Softmax(Strategy):
    """A mixed strategy ``x = softmax(logits)``: any optimizer keeps it mixed.

    Args:
        spec: the description of the strategy.
        start: the strategy, not its logits, at the beginning: numbers above 0 that sum to 1. null (the default) draws
            it from the run's seed, and is the same strategy that ``vector`` draws.

    Attributes:
        logits: the logits, whose mean is 0 at the beginning.

    Raises:
        UserError: ``start`` does not have the shape of the strategy, or is no mixed strategy with numbers above 0.
    """

    def __init__(self, spec: DataSpec, start: Float | Sequence[Float] | Sequence[Sequence[Float]] | None = None):
        super().__init__()
        strategy = _start(StrategySpec(spec.shape, simplex=True), start)
        if not bool((strategy > 0).all()):
            raise UserError("start: expected numbers above 0, which softmax can reach; use model: vector for others")
        logits = strategy.log()
        self.logits = nn.Parameter(logits - logits.mean(-1, keepdim=True))

    def forward(self) -> Tensor:
        return self.logits.softmax(-1)


def is_mixed(strategy: Tensor) -> bool:
    """Whether each row of a strategy holds numbers of at least 0 that sum to 1, up to rounding."""
    return bool((strategy >= -TOLERANCE).all()) and bool(((strategy.sum(-1) - 1).abs() <= TOLERANCE).all())


def _start(spec: DataSpec, start: float | Sequence[float] | Sequence[Sequence[float]] | None) -> Tensor:
    """The strategy at the beginning; without a ``start`` it is drawn from the generator that the run has seeded."""
    mixed = getattr(spec, "simplex", False)
    shape = tuple(spec.shape)
    if start is None:
        if spec.empty:
            raise UserError(
                "start: is missing, and the game does not say how many numbers the strategy has; give them, or let the "
                "game's spec_for_network return a gantrain.models.StrategySpec"
            )
        drawn = torch.empty(shape).exponential_() if mixed else torch.randn(shape)
        return drawn / drawn.sum(-1, keepdim=True) if mixed else drawn
    try:
        value = torch.tensor(start, dtype=torch.float32)
    except (ValueError, TypeError):
        raise UserError("start: expected rows of equal length") from None
    if spec.empty:
        value = value.reshape(1) if value.ndim == 0 else value
    elif value.ndim == 0:
        value = value.expand(shape).clone()
    elif tuple(value.shape) != shape:
        raise UserError(f"start: expected numbers of shape {shape}, got {tuple(value.shape)}")
    if mixed and not is_mixed(value):
        raise UserError(
            "start: expected a mixed strategy, numbers of at least 0 that sum to 1, got "
            f"{', '.join(f'{v:g}' for v in value.flatten()[:8].tolist())}"
        )
    return value
