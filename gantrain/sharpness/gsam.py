"""GSAM: SAM that also narrows the gap between the loss and the perturbed loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gantrain.games.base import Gradient
from gantrain.sharpness.arithmetic import combine_, share
from gantrain.sharpness.both_points import BothPoints

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat


class GSAM(BothPoints):
    """GSAM: SAM's gradient, without a part of the plain gradient that does not change the perturbed loss.

    ``g_p - alpha (g - <g, g_p> g_p / ||g_p||^2)`` with the gradient ``g`` at the current point and the gradient
    ``g_p = grad f(w + rho g / ||g||)`` on the same batch. The bracket is the component of ``g`` that is orthogonal to
    ``g_p``: a step against it lowers the surrogate gap ``f(w + eps) - f(w)`` and leaves ``f(w + eps)`` as it is, to
    first order. In the paper rho follows the learning rate: give it a schedule of the same shape. A move costs two
    gradients. Running statistics and spectral-norm vectors follow the first pass. Source: Zhuang et al., Surrogate gap
    minimization improves sharpness-aware training, ICLR 2022, arXiv 2203.08065, algorithm 1.

    Args:
        rho: the radius of the perturbation, in units of the parameters' norm; 0 gives the plain gradient.
        alpha: the weight of the orthogonal component; 0 gives SAM.
        geometry: the shape of the perturbation: "l2", or "elementwise" as in ASAM.
        ascent: whether each process climbs its own gradient ("local"; with accumulation the gradient of each
            micro-batch), or all climb the mean of all gradients ("global"). The gradients are decomposed after they
            have been averaged.
    """

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        alpha: NonNegativeFloat = 0.2,
        geometry: Literal["l2", "elementwise"] = "l2",
        ascent: Literal["local", "global"] = "local",
    ):
        super().__init__(rho, geometry, ascent)
        self.alpha = alpha

    def joined(self, plain: Gradient, perturbed: Gradient) -> Gradient:
        if self.rho == 0:
            return perturbed  # which is the plain gradient, without the rounding of the decomposition
        return combine_(1 + self.alpha * share(plain, perturbed), perturbed, -self.alpha, plain)
