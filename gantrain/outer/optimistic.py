"""Optimistic extragradient, also called past extragradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gantrain.config.types import Draws, Order, PositiveInt
from gantrain.outer.base import Mover
from gantrain.utils.nested import Maybe
from gantrain.utils.tensors import copied_gradient, set_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.outer.field import Anchor, Field


class Optimistic(Mover):
    """Optimistic (past) extragradient, which extrapolates along the gradient of the step before.

    ``w_t = J(z_t - gamma F w_{t-1});  z_{t+1} = J(z_t - gamma F w_t)``, beginning with ``w_0 = z_0``.

    A step costs one gradient for each player. The optimizer's state advances at both moves, as in extragradient.
    Source: Popov 1980; Gidel et al., arXiv 1802.10551 (extrapolation from the past).

    With n critic steps the players but the last extrapolate along each of their n gradients of the step before, which
    are kept, and then update as in :class:`~gantrain.outer.RAPP`: n moves, the first of which goes from ``z_t`` along
    the gradient at ``w_t`` and the others on from there. A step costs n gradients of these players.

    Args:
        order: "simultaneous" (the default): all players are evaluated at the extrapolated joint point;
            "alternating": each player sees the moves of those before it.
        samples: whether each move of a step takes a "fresh" batch (the default), or all moves of a step take the "same"
            batch. With ``critic_steps: 1`` a step draws one batch.
        critic_steps: the number of moves in the extrapolation, and again in the update. All players but the last (in a
            GAN: the discriminator) make each of these moves; the last player (in a GAN: the generator) makes the last
            move only. Default 1.
    """

    steps_from_anchor = True

    def __init__(
        self,
        order: Order | None = None,
        samples: Draws | None = None,
        critic_steps: PositiveInt = 1,
    ):
        super().__init__(order, samples, critic_steps)
        # The gradients of the last step by player, those of one move after those of the other.
        self.past: dict[str, list[Tensor | None]] | None = None
        self._anchor: Anchor | None = None

    def step(self, field: Field) -> bool:
        anchor = self._anchor = field.snapshot(into=self._anchor)
        past, self.past = self.past, None
        if past is not None:
            for learners, _ in self.moves(field):
                for learner in learners:
                    gradients, n = past[learner.name], len(learner.parameters)
                    set_gradient(learner.parameters, gradients[:n])
                    del gradients[:n]  # so that their memory is free while the next ones are computed
                field.advance(learners)
        found: dict[str, list[Tensor | None]] = {learner.name: [] for learner in field.learners}
        draws = self.draws(field)
        for learners, start in self.moves(field, anchor):
            draw = next(draws)
            for turn in field.turns(self.order, learners):
                field.evaluate(draw, turn, start)
                for learner in turn:
                    found[learner.name] += copied_gradient([p.grad for p in learner.parameters])
                field.advance(turn, start)
        self.past = found
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"past": self.past}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.past = state["past"]

    def state_form(self, field: Field) -> dict[str, Any]:
        moves = [learner for learners, _ in self.moves(field) for learner in learners]
        return {"past": Maybe({each.name: [Maybe(p) for p in each.parameters] * moves.count(each) for each in moves})}
