"""The Dirac-GAN: the smallest GAN there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gantrain.games.toy.game import ToyGame

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat


class DiracGAN(ToyGame):
    """The data are the point 0, the generator's sample is the point ``x``, and the discriminator is ``D(v) = y v``.

    With the Wasserstein loss the discriminator ascends ``D(0) - D(x)`` and the generator ascends ``D(x)``:
    ``F = (-y, x)``, a rotation. With the non-saturating loss both directions are weighted by
    ``s(t) = 1 / (1 + e^-t)``: ``F = (-y s(-x y), x s(x y))``. Near the solution this is still a rotation, and gradient
    steps of a fixed size do not converge. R1 adds ``(r1 / 2) D'(0)^2 = (r1 / 2) y^2`` to the discriminator's loss, and
    then they converge.

    The field of the Wasserstein loss is monotone with ``rho = 0`` and ``L = (r1 + sqrt(r1^2 + 4)) / 2`` everywhere. The
    field of the non-saturating loss has ``<F z, z> >= 0`` (weak Minty with ``rho = 0``), and on the square of half side
    1.5 ``L`` = 1.136 without R1 and 1.716 with ``r1 = 1``. Source: Mescheder, Geiger and Nowozin, Which training
    methods for GANs do actually converge?, ICML 2018.

    Args:
        loss: the loss of both players: "wasserstein" or "non_saturating".
        r1: the weight of the gradient penalty on the data.
        start: the point at which the generator ``x`` and the discriminator ``y`` begin.
    """

    def __init__(
        self,
        loss: Literal["wasserstein", "non_saturating"] = "non_saturating",
        r1: NonNegativeFloat = 0.0,
        start: tuple[float, float] = (1.0, 0.0),
    ):
        self.loss = loss
        self.r1 = r1
        super().__init__(start)

    def field(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        weights = (torch.sigmoid(-x * y), torch.sigmoid(x * y)) if self.loss == "non_saturating" else (1.0, 1.0)
        return -y * weights[0], x * weights[1] + self.r1 * y
