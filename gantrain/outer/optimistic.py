"""Optimistic extragradient, also called past extragradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gantrain.config.types import Order
from gantrain.outer.base import Mover
from gantrain.utils.nested import Maybe
from gantrain.utils.tensors import set_gradient

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.outer.field import Anchor, Field


class Optimistic(Mover):
    """Optimistic (past) extragradient, which extrapolates along the gradient of the step before.

    ``w_t = J(z_t - gamma F w_{t-1});  z_{t+1} = J(z_t - gamma F w_t)``, beginning with ``w_0 = z_0``.

    A step costs one gradient for each player. The optimizer's state advances at both moves, as in extragradient.
    Source: Popov 1980; Gidel et al., arXiv 1802.10551 (extrapolation from the past).

    Args:
        order: "simultaneous" (the default): all players are evaluated at the extrapolated joint point;
            "alternating": each player sees the moves of those before it.
    """

    steps_from_anchor = True

    def __init__(self, order: Order | None = None):
        super().__init__(order)
        self.past: dict[str, list[Tensor | None]] | None = None
        self._anchor: Anchor | None = None

    def step(self, field: Field) -> bool:
        anchor = self._anchor = field.snapshot(into=self._anchor)
        if self.past is not None:
            for learner in field.learners:
                set_gradient(learner.parameters, self.past[learner.name])
            self.past = None  # so that its memory is free while the next one is computed
            field.advance(field.learners)
        field.move(field.draw(), self.order, anchor)
        self.past = {learner.name: [p.grad for p in learner.parameters] for learner in field.learners}
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"past": self.past}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.past = state["past"]

    def state_form(self, field: Field) -> dict[str, Any]:
        return {"past": Maybe({each.name: [Maybe(p) for p in each.parameters] for each in field.learners})}
