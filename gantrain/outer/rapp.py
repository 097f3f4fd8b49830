"""The relaxed approximate proximal point method, and extragradient and EG+ as its shortest forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gantrain.outer.base import Mover

if TYPE_CHECKING:
    from gantrain.config.types import Draws, Order, PositiveFloat, PositiveInt
    from gantrain.outer.field import Field


class RAPP(Mover):
    """RAPP: a proximal point approximated by inner steps from an anchor, then a relaxed move towards it.

    ``w_0 = z;  w_{t+1} = J(z - gamma F w_t)  for t < tau;  z <- z + lambda (w_tau - z)``

    with the resolvent ``J`` of the players' constraints. It converges for ``rho > -1/(2L)`` (cohypomonotonicity) with
    gamma below ``1/L``. The buffers of the networks follow the pass at ``w_0`` alone. Costs tau gradients for each
    player. Source: Stable Nonconvex-Nonconcave Training via Linear Interpolation, arXiv 2310.13459, section 5. The
    published code alternates and takes one inner step too few in its first round; this is the paper's method.

    Args:
        inner_steps: tau.
        relaxation: lambda; 1 takes the approximate proximal point itself.
        order: "simultaneous" (the paper, and the default): all players are evaluated at one joint point;
            "alternating": each player sees the inner moves of those before it.
        samples: whether each inner step takes a "fresh" batch (the default), or all of a step the "same".
    """

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

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        anchor = field.snapshot()
        for t in range(self.inner_steps):
            field.move(next(draws), self.order, anchor, auxiliary=t > 0)
        field.relax(anchor, self.relaxation)
        return True


class Extragradient(RAPP):
    """Extragradient: ``w = J(z - gamma F z);  z <- J(z - gamma F w)``, which is RAPP with tau = 2 and lambda = 1.

    Both players are evaluated at the extrapolated joint point, and the optimizer's one state advances at both moves,
    so that over Adam this is ExtraAdam. Source: Korpelevich 1976; Gidel et al., arXiv 1802.10551 (ExtraAdam). Costs
    two gradients for each player.

    Args:
        order: "simultaneous" (the default) or "alternating".
        samples: whether the second evaluation takes a "fresh" batch (the default) or the "same".
    """

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
    ):
        super().__init__(2, 1.0, order, samples)


class ExtragradientPlus(RAPP):
    """EG+: ``w = z - gamma F z;  z <- z - lambda gamma F w``, which is RAPP with tau = 2.

    Source: Diakonikolas, Daskalakis and Jordan 2021. With constraints use ``ceg_plus``, whose correction differs.

    Args:
        relaxation: lambda.
        order: "simultaneous" (the default) or "alternating".
        samples: whether the second evaluation takes a "fresh" batch (the default) or the "same".
    """

    def __init__(
        self,
        relaxation: PositiveFloat = 0.5,
        order: Order | None = None,
        samples: Draws | None = None,
    ):
        super().__init__(2, relaxation, order, samples)
