"""A penalty on the norm of the gradient, without second derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gantrain.games.base import Gradient
from gantrain.sharpness.arithmetic import combine_
from gantrain.sharpness.both_points import BothPoints

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat


class GradientNorm(BothPoints):
    """The gradient of ``f(w) + alpha rho ||grad f(w)||``, with a difference in the place of the second derivatives.

    ``(1 - alpha) g + alpha grad f(w + rho g / ||g||)`` with the gradient ``g`` at the current point, on the same batch.
    The paper writes ``r`` for rho, and ``lambda = alpha r`` for the weight of the norm. With alpha = 1 the method is
    SAM. A move costs two gradients. Running statistics and spectral-norm vectors follow the first pass. Source: Zhao et
    al., Penalizing gradient norm for efficiently improving generalization in deep learning, ICML 2022, arXiv
    2202.03599, algorithm 1.

    Args:
        rho: the length of the step over which the difference is taken, in units of the parameters' norm; 0 gives the
            plain gradient.
        alpha: the weight of the norm, divided by rho; 0 gives the plain gradient. The authors use 0.8.
        geometry: the shape of the step: "l2", or "elementwise" as in ASAM, which penalises ``|| |w| grad f(w) ||``.
        ascent: whether each process climbs its own gradient ("local"; with accumulation the gradient of each
            micro-batch), or all climb the mean of all gradients ("global").
    """

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        alpha: NonNegativeFloat = 0.8,
        geometry: Literal["l2", "elementwise"] = "l2",
        ascent: Literal["local", "global"] = "local",
    ):
        super().__init__(rho, geometry, ascent)
        self.alpha = alpha

    def joined(self, plain: Gradient, perturbed: Gradient) -> Gradient:
        if self.rho == 0:
            return perturbed  # which is the plain gradient, without the rounding of a sum
        return combine_(self.alpha, perturbed, 1 - self.alpha, plain)
