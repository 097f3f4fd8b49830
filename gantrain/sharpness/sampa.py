"""SAM whose two gradients do not wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from gantrain.params import copy_, snapshot
from gantrain.sharpness.climb import climbed
from gantrain.sharpness.oracle import Gradient, Oracle
from gantrain.sharpness.sam import Perturbation

if TYPE_CHECKING:
    from gantrain.field import Here
    from gantrain.types import Fraction, NonNegativeFloat, PositiveFloat


class SAMPa(Oracle):
    """SAMPa: SAM's perturbation is taken from the gradient at a predicted point, so that both can be computed at once.

    ``x~_t = x_t + rho grad f(y_t; xi_t) / ||.||``; ``y_{t+1}`` is where the player's optimizer would go from ``x_t``
    along ``grad f(y_t; xi_t)``, its momentum and weight decay included and its state unchanged; the optimizer is given
    ``(1 - mix) grad f(x~_t; xi_t) + mix grad f(y_{t+1}; xi_{t+1})``; ``y_0 = x_0``. Running statistics and
    spectral-norm vectors follow the pass at ``y_{t+1}``. Two gradients a move, and one more in the first. Source:
    Sharpness-Aware Minimization Parallelized, arXiv 2410.10683; the published code with mix = 0 falls back to
    SGD, this does not.

    Args:
        rho: radius of the perturbation, in units of the parameters' norm.
        mix: weight of the gradient at the predicted point (the paper's lambda); the paper recommends 0.2.
        climb: what the perturbation climbs: the "loss", or BiSAM's lower bound of the 0-1 loss through "tanh" or "log".
        mu: BiSAM's inverse temperature.
        alpha: BiSAM's slope of tanh.
        geometry: "l2", or "elementwise" as in ASAM.
        ascent: whether each process climbs its "local" gradient or all the "global".
    """

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        mix: Fraction = 0.2,
        climb: Literal["loss", "tanh", "log"] = "loss",
        mu: PositiveFloat = 10.0,
        alpha: PositiveFloat = 0.1,
        geometry: Literal["l2", "elementwise"] = "l2",
        ascent: Literal["local", "global"] = "local",
    ):
        self.mix = mix
        self.targets = [climbed("loss", mu, alpha)] + ([] if climb == "loss" else [climbed(climb, mu, alpha)])
        self.perturbation = Perturbation(rho, geometry)
        self.ascent = ascent
        self.slope: Gradient | None = None  # grad f at y_t, averaged over the processes
        self.direction: Gradient | None = None  # the gradient at y_t of what is climbed

    def evaluate(self, here: Here) -> list[Gradient]:
        if self.slope is None:
            gradients = self._gradients(here, ahead=0)
            self._keep([here.averaged(g) for g in gradients], gradients[-1])
        with self.perturbation.applied(here.parameters, self.direction):
            perturbed = here.gradient(auxiliary=True)
        with predicted(here, self.slope):
            gradients = self._gradients(here, ahead=1)
        self.direction = gradients[-1]
        return [perturbed, *gradients]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        perturbed, *at_prediction = gradients
        self._keep(at_prediction, self.direction)
        return [
            None if a is None or b is None else torch.lerp(a, b, self.mix)
            for a, b in zip(perturbed, self.slope, strict=True)
        ]

    def _gradients(self, here: Here, ahead: int) -> list[Gradient]:
        gradients = here.gradient(*self.targets, ahead=ahead)
        return gradients if len(self.targets) > 1 else [gradients]

    def _keep(self, averaged: list[Gradient], local: Gradient) -> None:
        self.slope = averaged[0]
        self.direction = averaged[-1] if self.ascent == "global" else local

    def state_dict(self) -> dict[str, Any]:
        return {"slope": self.slope, "direction": self.direction}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.slope = state["slope"]
        self.direction = state["direction"]


@contextmanager
def predicted(here: Here, gradient: Gradient) -> Iterator[None]:
    """The parameters where the optimizer would go along ``gradient``; parameters and optimizer state are restored."""
    saved = snapshot(here.parameters)
    kept = {p: _cloned(here.optimizer.state[p]) for p in here.parameters if p in here.optimizer.state}
    try:
        if here.origin is not None:
            copy_(here.parameters, here.origin)
        for p, g in zip(here.parameters, gradient, strict=True):
            p.grad = g
        here.optimizer.step()
        yield
    finally:
        copy_(here.parameters, saved)
        _restore_state(here, kept)


def _cloned(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in state.items()}


def _restore_state(here: Here, kept: dict) -> None:
    for p in here.parameters:
        if p in kept:
            here.optimizer.state[p].clear()
            here.optimizer.state[p].update(kept[p])
        else:
            here.optimizer.state.pop(p, None)
