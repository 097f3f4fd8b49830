"""The directions in which SAM perturbs the parameters."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from gantrain.config.user_code import name_of
from gantrain.errors import UserError
from gantrain.games.base import Gradient, Player
from gantrain.sharpness.arithmetic import combination
from gantrain.utils.tensors import copied_gradient

if TYPE_CHECKING:
    from gantrain.gradients.context import GradientContext

Name = Literal["gradient", "previous", "random", "momentum", "smoothed", "friendly"]
# Where torch's optimizers keep their momentum: SGD, RMSprop and Muon, and Adam's family.
_MOMENTA = ("momentum_buffer", "exp_avg")


class Direction(ABC):  # noqa: B024 - the gradient itself is one
    """The direction of a perturbation; this one is the gradient of the climbed function.

    A direction keeps nothing itself. What it needs of the evaluations before, ``past``, the oracle carries for it.

    Attributes:
        climbs: whether the direction takes the gradient of the climbed function at the current point.
        remembers: whether that gradient, averaged over micro-batches and processes, enters the next ``past``.
    """

    climbs: bool = True
    remembers: bool = False

    def require(self, player: Player, optimizer: Optimizer) -> None:  # noqa: B027 - most directions need nothing
        """Refuse an optimizer that does not keep what the direction takes from it.

        Raises:
            UserError: the message names the player.
        """

    def instead(self, context: GradientContext) -> Gradient:
        """The vector that takes the place of the gradient where :attr:`climbs` is false."""
        return [None] * len(context.parameters)

    def of(self, slope: Gradient, past: Gradient | None) -> Gradient:
        """The direction, of any length.

        Args:
            slope: the gradient of the climbed function, or what takes its place.
            past: what :meth:`next_past` returned at the evaluation before; None at the first one.
        """
        return slope

    def next_past(self, slope: Gradient, perturbed: Gradient, past: Gradient | None) -> Gradient | None:
        """What the next evaluation needs of this one.

        Args:
            slope: the averaged gradient of the climbed function, if the direction remembers it.
            perturbed: the averaged gradient at the perturbed point.
            past: what the evaluation before has left.
        """
        return None


class Slope(Direction):
    """The gradient of the climbed function: SAM."""


class Previous(Direction):
    """The perturbed gradient of the evaluation before: OptSAM. At first there is no perturbation."""

    climbs = False

    def of(self, slope: Gradient, past: Gradient | None) -> Gradient:
        return slope if past is None else past

    def next_past(self, slope: Gradient, perturbed: Gradient, past: Gradient | None) -> Gradient:
        return copied_gradient(perturbed)  # the optimizer follows this gradient


class Random(Direction):
    """Standard normal numbers: RandSAM."""

    climbs = False

    def instead(self, context: GradientContext) -> Gradient:
        return context.random_direction()


class Momentum(Direction):
    """``-v`` for the optimizer's momentum ``v``, as the last step left it: MSAM. At first there is no perturbation."""

    climbs = False

    def require(self, player: Player, optimizer: Optimizer) -> None:
        if not all(group.get("momentum") or "betas" in group for group in optimizer.param_groups):
            raise _no_momentum(player.name, optimizer)

    def instead(self, context: GradientContext) -> Gradient:
        return [_negative_momentum(context.player.name, context.optimizer, p) for p in context.parameters]


class Smoothed(Direction):
    """``d_t = (1 - theta) d_{t-1} + theta g_t`` with ``d_0 = g_0``: VaSSO.

    Args:
        theta: the weight of the present gradient.
    """

    remembers = True

    def __init__(self, theta: float):
        self.theta = theta

    def of(self, slope: Gradient, past: Gradient | None) -> Gradient:
        return slope if past is None else combination(1 - self.theta, past, self.theta, slope)

    def next_past(self, slope: Gradient, perturbed: Gradient, past: Gradient | None) -> Gradient:
        return list(self.of(slope, past))


class Friendly(Direction):
    """``d_t = g_t - sigma m_t`` with ``m_t = decay m_{t-1} + (1 - decay) g_t`` and ``m_{-1} = 0``: F-SAM.

    Args:
        sigma: the share of the average that is taken away.
        decay: the share of the average that is kept at each evaluation.
    """

    remembers = True

    def __init__(self, sigma: float, decay: float):
        self.sigma = sigma
        self.decay = decay

    def of(self, slope: Gradient, past: Gradient | None) -> Gradient:
        return combination(1.0, slope, -self.sigma, self._average(slope, past))

    def next_past(self, slope: Gradient, perturbed: Gradient, past: Gradient | None) -> Gradient:
        return self._average(slope, past)

    def _average(self, slope: Gradient, past: Gradient | None) -> Gradient:
        return combination(self.decay, past or [None] * len(slope), 1 - self.decay, slope)


def make_direction(name: Name, theta: float, sigma: float = 1.0, decay: float = 0.9) -> Direction:
    """The direction of a name, with its present numbers."""
    if name == "smoothed":
        return Smoothed(theta)
    if name == "friendly":
        return Friendly(sigma, decay)
    return {"gradient": Slope, "previous": Previous, "random": Random, "momentum": Momentum}[name]()


def _negative_momentum(player: str, optimizer: Optimizer, parameter: Tensor) -> Tensor | None:
    state = optimizer.state.get(parameter, {})
    found = next((state[key] for key in _MOMENTA if isinstance(state.get(key), Tensor)), None)
    if state and found is None:
        raise _no_momentum(player, optimizer)
    return None if found is None else torch.neg(found)


def _no_momentum(player: str, optimizer: Optimizer) -> UserError:
    return UserError(
        f"game.{player}.sharpness.direction: momentum takes the optimizer's momentum, and {name_of(optimizer)} keeps "
        "none; use sgd with momentum above 0, or adam or one of its kind"
    )
