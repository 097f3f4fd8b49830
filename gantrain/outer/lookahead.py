"""Lookahead: linear interpolation around any outer loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gantrain.outer.base import Outer
from gantrain.outer.gda import GDA
from gantrain.utils.nested import Maybe
from gantrain.utils.tensors import lerp_from_, snapshot

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat, PositiveInt
    from gantrain.outer.field import Anchor, Field


class Lookahead(Outer):
    """Lookahead: ``w_0 = z``, tau steps of the base loop to ``w_tau``, then ``z <- z + lambda (w_tau - z)``.

    The running statistics of batch norm are interpolated together with the parameters; the optimizers keep their state.
    The base may be any loop, also another Lookahead. Source: Zhang et al., arXiv 1907.08610; for games, Chavdarova et
    al., arXiv 2006.14567, and arXiv 2310.13459, section 7. In the published code of the last paper, with extragradient
    as the base, the next half-step overwrites the interpolation; this class follows the paper.

    Args:
        inner_steps: tau, the number of outer steps of the base from one interpolation to the next.
        relaxation: lambda, the share of the way to ``w_tau``; 1 gives the base loop itself.
        base: the loop whose iterates are interpolated; gda by default.

    Examples:
        >>> from gantrain.outer import Extragradient
        >>> loop = Lookahead(inner_steps=5, relaxation=0.5, base=Extragradient())
    """

    def __init__(self, inner_steps: PositiveInt = 5, relaxation: PositiveFloat = 0.5, base: Outer | None = None):
        self.inner_steps = inner_steps
        self.relaxation = relaxation
        self.base = base or GDA()
        self.taken = 0
        self.start: Anchor | None = None

    def require(self, field: Field) -> None:
        self.base.require(field)

    def step(self, field: Field) -> bool:
        interpolated = self._interpolated(field)
        if self.start is None:
            self.start = {name: snapshot(tensors) for name, tensors in interpolated.items()}
        self.taken += self.base.step(field)
        if self.taken < self.inner_steps:
            return False
        for name, tensors in interpolated.items():
            lerp_from_(tensors, self.start[name], self.relaxation)
        self.taken, self.start = 0, None
        return True

    def anchor(self) -> Anchor | None:
        return self.start

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "start": self.start, "base": self.base.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]
        self.start = state["start"]
        self.base.load_state_dict(state["base"])

    def state_form(self, field: Field) -> dict[str, Any]:
        return {"taken": 0, "start": Maybe(self._interpolated(field)), "base": self.base.state_form(field)}

    @staticmethod
    def _interpolated(field: Field) -> Anchor:
        return {learner.name: learner.parameters + learner.player.statistics for learner in field.learners}
