"""The relaxed approximate proximal point method (RAPP), with extragradient and EG+ as its shortest forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gantrain.outer.base import Mover

if TYPE_CHECKING:
    from gantrain.config.types import Draws, Order, PositiveFloat, PositiveInt
    from gantrain.outer.field import Anchor, Field


class RAPP(Mover):
    """RAPP: a proximal point approximated by inner steps from an anchor, then a relaxed move towards it.

    ``w_0 = z;  w_{t+1} = J(z - gamma F w_t)  for t < tau;  z <- z + lambda (w_tau - z)``

    with the resolvent ``J`` of the players' constraints. With enough inner steps it converges for ``rho > -1/L``
    (cohypomonotonicity), gamma between ``-rho`` and ``1/L``, and ``lambda < 2 (1 + rho / gamma)``: lambda may be near 1
    for ``rho > -1/(2L)``. The buffers of the networks follow the pass at ``w_0`` alone. A step costs tau gradients for
    each player. Source: Stable Nonconvex-Nonconcave Training via Linear Interpolation, arXiv 2310.13459, section 5. The
    published code alternates and takes one inner step too few in its first round; this is the paper's method.

    Args:
        inner_steps: tau, the number of inner steps.
        relaxation: lambda, the share of the way to the approximate proximal point; 1 takes the point itself.
        order: "simultaneous" (as in the paper, and by default): all players are evaluated at one joint point;
            "alternating": each player sees the inner moves of those before it.
        samples: whether each inner step takes a "fresh" batch (the default), or all inner steps of a step take the
            "same" batch.
    """

    steps_from_anchor = True

    def __init__(
        self,
        inner_steps: PositiveInt = 3,
        relaxation: PositiveFloat = 0.9,
        order: Order | None = None,
        samples: Draws | None = None,
    ):
        super().__init__(order, samples)
        self.inner_steps = inner_steps
        self.relaxation = relaxation
        self._anchor: Anchor | None = None

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        anchor = self._anchor = field.snapshot(into=self._anchor)
        for t in range(self.inner_steps):
            field.move(next(draws), self.order, anchor, auxiliary=t > 0)
        field.relax(anchor, self.relaxation)
        return True


class Extragradient(RAPP):
    """Extragradient: ``w = J(z - gamma F z);  z <- J(z - gamma F w)``, which is RAPP with tau = 2 and lambda = 1.

    All players are evaluated at the extrapolated joint point. The optimizer's state advances at both moves, so that
    with Adam this is ExtraAdam. A step costs two gradients for each player. Source: Korpelevich 1976; Gidel et al.,
    arXiv 1802.10551 (ExtraAdam).

    Args:
        order: "simultaneous" (the default): all players are evaluated at one joint point; "alternating": each player
            sees the moves of those before it.
        samples: whether the second evaluation takes a "fresh" batch (the default), or the "same" batch as the first.
    """

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
    ):
        super().__init__(2, 1.0, order, samples)


class ExtragradientPlus(RAPP):
    """EG+: ``w = z - gamma F z;  z <- z - lambda gamma F w``, which is RAPP with tau = 2.

    A step costs two gradients for each player. With constraints use ``ceg_plus``, which corrects the step in another
    way. Source: Diakonikolas, Daskalakis and Jordan 2021.

    Args:
        relaxation: lambda, the share of the second step that is taken; 1 gives extragradient.
        order: "simultaneous" (the default): all players are evaluated at one joint point; "alternating": each player
            sees the moves of those before it.
        samples: whether the second evaluation takes a "fresh" batch (the default), or the "same" batch as the first.
    """

    def __init__(
        self,
        relaxation: PositiveFloat = 0.5,
        order: Order | None = None,
        samples: Draws | None = None,
    ):
        super().__init__(2, relaxation, order, samples)
