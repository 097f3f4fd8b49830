"""Gradient descent ascent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gantrain.outer.base import Mover

if TYPE_CHECKING:
    from gantrain.config.types import Draws, Order, PositiveInt
    from gantrain.outer.field import Field


class GDA(Mover):
    """Gradient descent ascent: ``z <- z - gamma F z``. A step costs one gradient for each player.

    Args:
        order: "simultaneous": all players are evaluated at one joint point; "alternating": each player sees the moves
            of those before it. Simultaneous by default.
        samples: whether each move of a step takes a "fresh" batch (the default), or all moves of a step take the "same"
            batch. With ``critic_steps: 1`` a step has one move.
        critic_steps: the number of moves in a step. All players but the last (in a GAN: the discriminator) make each of
            these moves; the last player (in a GAN: the generator) makes the last move only. Default 1.
    """

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
        critic_steps: PositiveInt = 1,
    ):
        super().__init__(order, samples, critic_steps)

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        for learners, _ in self.moves(field):
            field.move(next(draws), self.order, learners=learners)
        return True
