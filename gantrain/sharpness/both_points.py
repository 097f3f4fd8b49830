"""Oracles that join the gradient at the current point and the gradient at the perturbed point."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from gantrain.games.base import Gradient
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.perturbation import Perturbation

if TYPE_CHECKING:
    from gantrain.gradients.context import GradientContext


class BothPoints(Oracle):
    """An oracle whose gradient is a function of ``g = grad f(w)`` and ``g_p = grad f(w + eps)``, on the same batch.

    ``eps`` is SAM's perturbation. Both gradients are averaged over the micro-batches and the processes before they are
    joined.

    Args:
        rho: the radius of the perturbation.
        geometry: "l2" or "elementwise"; see :class:`~gantrain.sharpness.perturbation.Perturbation`.
        ascent: whether each process climbs its own gradient ("local"), or all climb the mean ("global").
    """

    def __init__(self, rho: float, geometry: Literal["l2", "elementwise"], ascent: Literal["local", "global"]):
        self.rho, self.geometry, self.ascent = rho, geometry, ascent
        self._plain: Gradient | None = None  # with ascent "global", during an evaluation

    @property
    def local_ascent(self) -> bool:  # type: ignore[override]
        return self.ascent == "local"

    @abstractmethod
    def joined(self, plain: Gradient, perturbed: Gradient) -> Gradient:
        """The gradient for the optimizer; it may be in the memory of ``perturbed``.

        Args:
            plain: ``g``.
            perturbed: ``g_p``.
        """

    def start(self, context: GradientContext) -> None:
        if self.ascent == "global":
            (self._plain,) = context.averaged(lambda: [context.gradient()])

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        plain = context.gradient() if self._plain is None else self._plain
        with Perturbation(self.rho, self.geometry).applied(context, plain):
            perturbed = context.gradient(auxiliary=True)
        return [perturbed] if self._plain is not None else [perturbed, plain]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        plain = gradients[1] if self._plain is None else self._plain
        self._plain = None
        return self.joined(plain, gradients[0])
