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

    With n critic steps, ``w_{t+1} = (c_n, g')`` comes from ``w_t = (c, g)``, where g is the last player and c are all
    others, by n moves of c and one of g, and the critics' gradients in a step are n tau:

    ``c_1 = J(z_c - gamma F_c(c, g));  c_{i+1} = J(c_i - gamma F_c(c_i, g));  g' = J(z_g - gamma F_g(c_{n-1}, g))``

    with ``c_0 = c``; in alternation g' sees ``c_n``. No theorem is known for n > 1. In the published code of RAPP every
    move of a critic goes back to z, so that more of them lead no further; here they step on, as in the published code
    of extragradient.

    Args:
        inner_steps: tau, the number of inner steps.
        relaxation: lambda, the share of the way to the approximate proximal point; 1 takes the point itself.
        order: "simultaneous" (as in the paper, and by default): all players are evaluated at one joint point;
            "alternating": each player sees the inner moves of those before it.
        samples: whether each inner step takes a "fresh" batch (the default), or all inner steps of a step take the
            "same" batch. With critic steps, each move does.
        critic_steps: the number of moves in an inner step. All players but the last (in a GAN: the discriminator) make
            each of these moves, the first from z and the others from where they are; the last player (in a GAN: the
            generator) makes the last move only. Default 1.
    """

    steps_from_anchor = True

    def __init__(
        self,
        inner_steps: PositiveInt = 3,
        relaxation: PositiveFloat = 0.9,
        order: Order | None = None,
        samples: Draws | None = None,
        critic_steps: PositiveInt = 1,
    ):
        super().__init__(order, samples, critic_steps)
        self.inner_steps = inner_steps
        self.relaxation = relaxation
        self._anchor: Anchor | None = None

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        anchor = self._anchor = field.snapshot(into=self._anchor)
        for t in range(self.inner_steps):
            for learners, start in self.moves(field, anchor):
                field.move(next(draws), self.order, start, auxiliary=t > 0, learners=learners)
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
        samples: whether each move of a step takes a "fresh" batch (the default), or all moves of a step take the "same"
            batch. With ``critic_steps: 1`` a step has two moves.
        critic_steps: the number of moves in the extrapolation, and again in the update. All players but the last (in a
            GAN: the discriminator) make each of these moves, the first from z and the others from where they are; the
            last player (in a GAN: the generator) makes the last move only, as in :class:`RAPP`. Default 1.
    """

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
        critic_steps: PositiveInt = 1,
    ):
        super().__init__(2, 1.0, order, samples, critic_steps)


class ExtragradientPlus(RAPP):
    """EG+: ``w = z - gamma F z;  z <- z - lambda gamma F w``, which is RAPP with tau = 2.

    A step costs two gradients for each player. With constraints use ``ceg_plus``, which corrects the step in another
    way. Source: Diakonikolas, Daskalakis and Jordan 2021.

    Args:
        relaxation: lambda, the share of the second step that is taken; 1 gives extragradient.
        order: "simultaneous" (the default): all players are evaluated at one joint point; "alternating": each player
            sees the moves of those before it.
        samples: whether each move of a step takes a "fresh" batch (the default), or all moves of a step take the "same"
            batch. With ``critic_steps: 1`` a step has two moves.
        critic_steps: the number of moves in the extrapolation, and again in the update. All players but the last (in a
            GAN: the discriminator) make each of these moves, the first from z and the others from where they are; the
            last player (in a GAN: the generator) makes the last move only, as in :class:`RAPP`. Default 1.
    """

    def __init__(
        self,
        relaxation: PositiveFloat = 0.5,
        order: Order | None = None,
        samples: Draws | None = None,
        critic_steps: PositiveInt = 1,
    ):
        super().__init__(2, relaxation, order, samples, critic_steps)
