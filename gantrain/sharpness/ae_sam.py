"""AE-SAM: SAM in the steps in which the gradient is long, and the plain gradient in the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.sharpness.arithmetic import length
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.perturbation import Perturbation

if TYPE_CHECKING:
    from gantrain.config.types import Float, FractionBelowOne, NonNegativeFloat
    from gantrain.gradients.context import GradientContext


class AESAM(Oracle):
    """AE-SAM: SAM's gradient where the plain gradient is long, and the plain gradient elsewhere.

    The gradient ``g`` of the whole batch is long if ``||g||^2 >= mean + threshold sqrt(variance)``. The averages are
    those of ``||g||^2`` so far: ``mean <- decay mean + (1 - decay) ||g||^2``, then ``variance <- decay variance +
    (1 - decay) (||g||^2 - mean)^2``. Both begin at 0, and are moved by the first gradient of each training step, before
    it is compared. A long gradient is climbed, ``grad f(w + rho g / ||g||)``, so that a move costs two gradients, and
    any other move one. All processes climb the mean of all gradients, and decide alike.

    In the paper the threshold goes linearly from 1 to -1 over the training, and about half of the moves climb:
    ``threshold: {schedule: linear, from: 1, to: -1, kimg: ...}``. As the costs of a step depend on the data, a run
    with a budget of gradients does not know its number of steps in advance. Running statistics and spectral-norm
    vectors follow the first pass. Source: Jiang et al., An adaptive policy to employ sharpness-aware minimization, ICLR
    2023, arXiv 2304.14647.

    Args:
        rho: the radius of the perturbation, in units of the parameters' norm; 0 gives the plain gradient.
        threshold: the number of standard deviations above the mean from which a gradient is long (the paper's c); it
            may be negative, and the lower it is, the more moves climb.
        decay: the weight of the averages so far (the paper's delta).
        geometry: the shape of the perturbation: "l2", or "elementwise" as in ASAM.
    """

    data_dependent = True

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        threshold: Float = 0.0,
        decay: FractionBelowOne = 0.9,
        geometry: Literal["l2", "elementwise"] = "l2",
    ):
        self.rho, self.threshold, self.decay, self.geometry = rho, threshold, decay, geometry
        self.mean = self.variance = 0.0  # of the squared norm of the plain gradient
        self._moved_in: int | None = None  # the training step that moved them last
        # During an evaluation: the mean of all gradients, whether it is climbed, and the new averages.
        self._plain: Gradient | None = None
        self._climbs = False
        self._moved: tuple[float, float, int] | None = None

    def start(self, context: GradientContext) -> None:
        (plain,) = context.averaged(lambda: [context.gradient()])
        norm = length(plain)
        context.require_finite("the norm of the gradient that sharpness climbs", norm)
        agreed = context.agreed(norm)
        square = agreed * agreed
        mean, variance, self._moved = self.mean, self.variance, None
        if context.step != self._moved_in:
            mean = self.decay * mean + (1 - self.decay) * square
            variance = self.decay * variance + (1 - self.decay) * (square - mean) * (square - mean)
            self._moved = mean, variance, context.step
        self._climbs = square >= mean + self.threshold * math.sqrt(variance)
        self._plain = plain

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        if not self._climbs:
            return [[None] * len(context.parameters)]  # the mean of all gradients is known
        with Perturbation(self.rho, self.geometry).applied(context, self._given_up(context)):
            return [context.gradient(auxiliary=True)]

    def combine(self, gradients: list[Gradient]) -> Gradient:
        if self._moved is not None:
            self.mean, self.variance, self._moved_in = self._moved
        plain, self._plain = self._plain, None
        return gradients[0] if plain is None else plain

    def _given_up(self, context: GradientContext) -> Gradient:
        """The gradient that is climbed. The last micro-batch frees its memory for the gradient at the perturbed point.

        It exists once :meth:`start` has run."""
        plain = self._plain
        assert plain is not None
        if context.last_micro_batch:
            self._plain = None
        return plain

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "variance": self.variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean, self.variance = state["mean"], state["variance"]
        self._moved_in = None

    def state_form(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        return self.state_dict()
