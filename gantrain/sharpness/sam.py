"""Sharpness-aware minimisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gantrain.games.base import Gradient, Objective
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.bisam import climbed
from gantrain.utils.nested import Maybe
from gantrain.utils.tensors import add_, norm, preserve, set_gradient

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat
    from gantrain.gradients.context import GradientContext


class Perturbation:
    """The ascent step of a sharpness-aware method.

    The geometry "l2" gives ``eps = rho g / ||g||``. The geometry "elementwise", which is ASAM's (Kwon et al., arXiv
    2102.11600), gives ``eps = rho p^2 g / || |p| g ||`` for the parameters ``p``. A gradient of zero gives no
    perturbation.

    Args:
        rho: the radius; as a 0-d tensor it may lie on a GPU.
        geometry: "l2" or "elementwise".

    Raises:
        UserError: while the perturbation is applied, the norm of the gradient is not finite.
    """

    def __init__(self, rho: float | Tensor, geometry: str):
        self.rho = rho
        self.geometry = geometry

    @contextmanager
    def applied(self, context: GradientContext, gradient: Gradient) -> Iterator[None]:
        """Perturb the parameters inside the context, and restore them at its end, also after an exception.

        Neither the gradient nor its direction is kept in memory inside the context.
        """
        set_gradient(context.parameters, [None] * len(context.parameters))  # they hold the gradient that is climbed
        reached = [(p, g) for p, g in zip(context.parameters, gradient, strict=True) if g is not None]
        targets: list[Tensor] = [p for p, _ in reached]
        slopes = [g for _, g in reached]
        del gradient, reached
        directions = self._directions(context, targets, slopes)
        del slopes
        with preserve(context.parameters):
            add_(targets, directions, self.rho)
            del directions
            yield

    @torch.no_grad()
    def _directions(self, context: GradientContext, targets: list[Tensor], slopes: list[Tensor]) -> Sequence[Tensor]:
        """The perturbation of ``targets`` divided by rho, in new memory."""
        if not targets:
            return []
        scaled = torch._foreach_mul(targets, slopes) if self.geometry == "elementwise" else None
        length = norm(slopes if scaled is None else scaled)
        context.require_finite("the norm of the gradient that sharpness climbs", length)
        # On a GPU the check comes later. Until then an infinite length must give NaN, not a step of length zero.
        length = torch.where(length == 0, 1.0, length).masked_fill(length.isinf(), torch.nan)
        # The gradient is divided first, because rho / length overflows if the gradient is tiny.
        if scaled is None:
            return torch._foreach_div(slopes, length)
        torch._foreach_mul_(scaled, targets)
        torch._foreach_div_(scaled, length)
        return scaled


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
        self.ascent = ascent
        self.direction = direction
        # With direction "previous" the last perturbed gradient; with ascent "global", during an evaluation, the mean of
        # all gradients.
        self._given: Gradient | None = None

    @property
    def target(self) -> Callable[[Objective], Tensor]:
        """The function of the objective that the perturbation climbs."""
        return climbed(self.climb, self.mu, self.alpha)

    @property
    def perturbation(self) -> Perturbation:
        """The ascent step with the present radius."""
        return Perturbation(self.rho, self.geometry)

    def start(self, context: GradientContext) -> None:
        if self.direction == "gradient" and self.ascent == "global":
            (self._given,) = context.averaged(lambda: [context.gradient(self.target)])

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        with self.perturbation.applied(context, self._ascent(context)):
            return [context.gradient(auxiliary=self.direction == "gradient")]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        if self.direction == "previous":
            self._given = list(gradients[0])
        return gradients[0]

    def _ascent(self, context: GradientContext) -> Gradient:
        if self.direction == "random":
            return context.random_direction()
        if self.direction == "gradient" and self.ascent == "local":
            return context.gradient(self.target)
        given = self._given or [None] * len(context.parameters)
        if context.last_micro_batch:
            self._given = None  # so that its memory is free for the gradient at the perturbed point
        return given

    def state_dict(self) -> dict[str, Any]:
        return {"previous": self._given if self.direction == "previous" else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._given = state["previous"]

    def state_form(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        return {"previous": Maybe([Maybe(p) for p in parameters])}
