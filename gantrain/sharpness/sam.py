"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.bisam import climbed
from gantrain.utils.tensors import add_, norm, preserve

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat
    from gantrain.gradients.context import GradientContext


class Perturbation:
    """The ascent step of a sharpness-aware method.

    ``l2``: ``eps = rho g / ||g||``. ``elementwise``: ``eps = rho p^2 g / || |p| g ||``, ASAM's (Kwon et al., arXiv
    2102.11600). A zero gradient gives no perturbation, one that is not finite an error.
    """

    def __init__(self, rho: float, geometry: str):
        self.rho = rho
        self.geometry = geometry

    @contextmanager
    def applied(self, context: GradientContext, gradient: Gradient) -> Iterator[None]:
        """Perturb the parameters, and restore a saved copy on leaving, also when an exception passes through."""
        with preserve(context.parameters):
            self._add(context, gradient)
            yield

    @torch.no_grad()
    def _add(self, context: GradientContext, gradient: Gradient) -> None:
        reached = [(p, g) for p, g in zip(context.parameters, gradient, strict=True) if g is not None]
        if not reached:
            return
        targets: list[Tensor] = [p for p, _ in reached]
        directions = [g for _, g in reached]
        if self.geometry == "elementwise":
            scaled = list(torch._foreach_mul(targets, directions))
            length = norm(scaled)
            directions = list(torch._foreach_mul(targets, scaled))
        else:
            length = norm(directions)
        context.require_finite("the norm of the gradient that sharpness climbs", length)
        # Until that is looked at, an overflow must not pass for a step of length zero.
        length = torch.where(length == 0, 1.0, length).masked_fill(length.isinf(), torch.nan)
        # In this order, since rho / length overflows where the gradient is tiny.
        add_(targets, list(torch._foreach_div(directions, length)), self.rho)


class SAM(Oracle):
    """SAM: the gradient at the point where the climbed function is about highest within a radius.

    ``eps = rho g / ||g||`` with the gradient ``g`` of what is climbed; the optimizer is given ``grad f(w + eps)`` on
    the same batch. Two gradients a move. Running statistics and spectral-norm vectors follow the first pass. Source:
    Foret et al., arXiv 2010.01412; with ``climb: tanh`` or ``log`` it is BiSAM, arXiv 2407.12993; with
    ``geometry: elementwise`` ASAM, arXiv 2102.11600.

    Args:
        rho: radius of the perturbation, in units of the parameters' norm; 0 gives the plain gradient.
        climb: what the perturbation climbs: the "loss", or BiSAM's lower bound of the 0-1 loss through "tanh" or "log".
        mu: BiSAM's inverse temperature.
        alpha: BiSAM's slope of tanh.
        geometry: "l2", or "elementwise" as in ASAM.
        ascent: whether each process climbs its "local" gradient (m-sharpness, as in the SAM paper; with accumulation
            that of each micro-batch) or all the "global".
        direction: "gradient" of what is climbed; or one of the foils of the SAMPa paper, which save the first gradient:
            the "previous" perturbed gradient (OptSAM; no perturbation in the first move) or a "random" one (RandSAM).
    """

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        climb: Literal["loss", "tanh", "log"] = "loss",
        mu: PositiveFloat = 10.0,
        alpha: PositiveFloat = 0.1,
        geometry: Literal["l2", "elementwise"] = "l2",
        ascent: Literal["local", "global"] = "local",
        direction: Literal["gradient", "previous", "random"] = "gradient",
    ):
        self.climb = climbed(climb, mu, alpha)
        self.perturbation = Perturbation(rho, geometry)
        self.ascent = ascent
        self.direction = direction
        self.previous: Gradient | None = None
        self._whole: Gradient | None = None  # the gradient that all climb together

    def start(self, context: GradientContext) -> None:
        if self.direction == "gradient" and self.ascent == "global":
            (self._whole,) = context.averaged(lambda: [context.gradient(self.climb)])

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        with self.perturbation.applied(context, self._ascent(context)):
            return [context.gradient(auxiliary=self.direction == "gradient")]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        if self.direction == "previous":
            self.previous = list(gradients[0])
        self._whole = None
        return gradients[0]

    def _ascent(self, context: GradientContext) -> Gradient:
        if self.direction == "random":
            return context.random_direction()
        if self.direction == "previous":
            return self.previous or [None] * len(context.parameters)
        return context.gradient(self.climb) if self._whole is None else self._whole

    def state_dict(self) -> dict[str, Any]:
        return {"previous": self.previous}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.previous = state["previous"]
