"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.bisam import climbed
from gantrain.utils.nested import Maybe
from gantrain.utils.tensors import add_, norm, preserve

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat
    from gantrain.gradients.context import GradientContext


class Perturbation:
    """The ascent step of a sharpness-aware method.

    The geometry "l2" gives ``eps = rho g / ||g||``. The geometry "elementwise", which is ASAM's (Kwon et al., arXiv
    2102.11600), gives ``eps = rho p^2 g / || |p| g ||`` for the parameters ``p``. A gradient of zero gives no
    perturbation.

    Args:
        rho: the radius.
        geometry: "l2" or "elementwise".

    Raises:
        UserError: while the perturbation is applied, the norm of the gradient is not finite.
    """

    def __init__(self, rho: float, geometry: str):
        self.rho = rho
        self.geometry = geometry

    @contextmanager
    def applied(self, context: GradientContext, gradient: Gradient) -> Iterator[None]:
        """Perturb the parameters inside the context, and restore them at its end, also after an exception."""
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
        # On a GPU the check comes later. Until then an infinite length must give NaN, not a step of length zero.
        length = torch.where(length == 0, 1.0, length).masked_fill(length.isinf(), torch.nan)
        # The gradient is divided first, because rho / length overflows if the gradient is tiny.
        add_(targets, list(torch._foreach_div(directions, length)), self.rho)


class SAM(Oracle):
    """SAM: the gradient at a perturbed point, where the climbed function is approximately highest within a radius.

    ``eps = rho g / ||g||`` with the gradient ``g`` of the climbed function; the optimizer is given ``grad f(w + eps)``
    on the same batch. A move costs two gradients. Running statistics and spectral-norm vectors follow the first pass.
    Source: Foret et al., arXiv 2010.01412. With ``climb: tanh`` or ``climb: log`` the method is BiSAM, arXiv
    2407.12993; with ``geometry: elementwise`` it is ASAM, arXiv 2102.11600.

    Args:
        rho: the radius of the perturbation, in units of the parameters' norm; 0 gives the plain gradient.
        climb: the function that the perturbation climbs: the "loss", or BiSAM's lower bound of the 0-1 loss with
            "tanh" or "log".
        mu: the inverse temperature of BiSAM's soft maximum over the classes.
        alpha: the slope at 0 of BiSAM's tanh; "log" does not use it.
        geometry: the shape of the perturbation: "l2", or "elementwise" as in ASAM.
        ascent: whether each process climbs its own gradient ("local": m-sharpness as in the SAM paper; with
            accumulation the gradient of each micro-batch), or all climb the mean of all gradients ("global").
        direction: the direction of the perturbation: the "gradient" of the climbed function, or one of two
            baselines of the SAMPa paper that save this gradient: the "previous" perturbed gradient (OptSAM; the first
            move has no perturbation), or a "random" direction (RandSAM).
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
        self.rho, self.climb, self.mu, self.alpha, self.geometry = rho, climb, mu, alpha, geometry
        self.target = climbed(climb, mu, alpha)
        self.perturbation = Perturbation(rho, geometry)
        self.ascent = ascent
        self.direction = direction
        self.previous: Gradient | None = None
        self._whole: Gradient | None = None  # the global gradient, during an evaluation with ascent "global"

    def start(self, context: GradientContext) -> None:
        if self.direction == "gradient" and self.ascent == "global":
            (self._whole,) = context.averaged(lambda: [context.gradient(self.target)])

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
        return context.gradient(self.target) if self._whole is None else self._whole

    def state_dict(self) -> dict[str, Any]:
        return {"previous": self.previous}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.previous = state["previous"]

    def state_form(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        return {"previous": Maybe([Maybe(p) for p in parameters])}
