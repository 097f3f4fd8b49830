"""Anchored extragradient methods, which pull each step towards the point where the run began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gantrain.errors import UserError
from gantrain.outer.base import Mover, require_no_state, require_simultaneous
from gantrain.outer.learner import step_sizes
from gantrain.utils.nested import Maybe

if TYPE_CHECKING:
    from gantrain.config.types import Draws, Float
    from gantrain.outer.field import Anchor, Field


class AnchoredExtragradient(Mover):
    """EAG: extragradient from a point that is pulled towards the starting point ``z_0``, by less in each step.

    ``a = z_k + (z_0 - z_k) / (k + 2);  w = J(a - gamma F z_k);  z_{k+1} = J(a - gamma F w)``, all players
    simultaneously. For a monotone field and ``gamma = 1/(8L)`` without constraints, ``||F z_k||^2 <= 260 L^2 ||z_0 -
    z*||^2 / (k + 1)^2``: this falls as 1/k^2, where that of extragradient falls as 1/k. On games with noise the pull
    adds up the noise of all steps. A step costs two gradients for each player. The optimizers must have no state (SGD
    without momentum). Source: Yoon and Ryu, arXiv 2102.07922 (EAG-C).

    Args:
        samples: whether the second evaluation takes a "fresh" batch (the default), or the "same" batch as the first.

    Raises:
        UserError: the order of the field is alternating, or an optimizer has state.
    """

    steps_from_anchor = True
    # The share of the way to the starting point in step k is 1 / (k + _FIRST).
    _NAME, _FIRST = "anchored_extragradient", 2

    def __init__(self, samples: Draws | None = None):
        super().__init__("simultaneous", samples)
        self.taken = 0
        self.start: Anchor | None = None
        self._anchor: Anchor | None = None

    def require(self, field: Field) -> None:
        require_simultaneous(field, self._NAME)
        require_no_state(field, f"{self._NAME} steps from other points than those it came to")

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        if self.start is None:
            self.start = field.snapshot()
        pull = 1 / (self.taken + self._FIRST)
        anchor = self._anchor = field.snapshot(into=self._anchor)
        for name, tensors in anchor.items():
            torch._foreach_lerp_(tensors, self.start[name], pull)
        field.evaluate(next(draws), field.learners, anchor)
        anchor = self._extrapolate(field, anchor, 1 - pull)
        field.move(next(draws), self.order, anchor, auxiliary=True)
        self.taken += 1
        return True

    def _extrapolate(self, field: Field, anchor: Anchor, rest: float) -> Anchor:
        """Move to ``w`` along ``.grad``, and return the point from which the second move steps.

        Args:
            field: the field.
            anchor: the pulled point.
            rest: one minus the share of the pull.
        """
        field.advance(field.learners, anchor)
        return anchor

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "start": self.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = state["taken"]
        self.start = state["start"]

    def state_form(self, field: Field) -> dict[str, Any]:
        return {"taken": 0, "start": Maybe({each.name: each.parameters for each in field.learners})}


class FastExtragradient(AnchoredExtragradient):
    """FEG: anchored extragradient for cohypomonotone games.

    ``b = 1 / (k + 1);  a = z_k + b (z_0 - z_k) - (1 - b) 2 rho F z_k;  w = J(a - (1 - b) gamma F z_k);
    z_{k+1} = J(a - gamma F w)``, all players simultaneously. For a field with cohypomonotonicity ``rho > -1/(2L)`` and
    ``gamma = 1/L`` without constraints, ``||F z_k||^2 <= 4 ||z_0 - z*||^2 / ((1/L + 2 rho)^2 k^2)``. A step costs two
    gradients for each player. The optimizers must have no state (SGD without momentum). Source: Lee and Kim, arXiv
    2106.02326.

    Args:
        comonotonicity: rho itself, not times L; negative for a game that is not monotone. The default 0 is for
            monotone games.
        samples: whether the second evaluation takes a "fresh" batch (the default), or the "same" batch as the first.

    Raises:
        UserError: the order of the field is alternating, an optimizer has state, or ``comonotonicity`` is not above
            minus half of a learning rate.
    """

    _NAME, _FIRST = "fast_extragradient", 1

    def __init__(self, comonotonicity: Float = 0.0, samples: Draws | None = None):
        super().__init__(samples)
        self.comonotonicity = comonotonicity

    def require(self, field: Field) -> None:
        super().require(field)
        require_comonotonicity(self.comonotonicity, 0.5, field)

    def _extrapolate(self, field: Field, anchor: Anchor, rest: float) -> Anchor:
        if self.comonotonicity != 0:
            with step_sizes(field.learners, lambda lr: rest * 2 * self.comonotonicity if lr else 0.0):
                field.advance(field.learners, anchor, resolve=False)
            anchor = field.snapshot(into=anchor)
        with step_sizes(field.learners, lambda lr: rest * lr):
            field.advance(field.learners, anchor)
        return anchor


def require_comonotonicity(comonotonicity: float, share: float, field: Field) -> None:
    """Refuse a key ``comonotonicity`` that is not above ``-share`` times each learning rate.

    A learning rate that begins with a warm-up counts with what it rises to. A player whose learning rate is 0 stays
    where it is, with any key.

    Raises:
        UserError: the learning rate of a player is too small for the key.
    """
    for learner in field.learners:
        for group in learner.optimizer.param_groups:
            lr = float(group.get("initial_lr", group["lr"]))
            if lr and not comonotonicity > -share * lr:
                raise UserError(
                    f"outer: comonotonicity: expected more than {-share:g} times the learning rate of player "
                    f"{learner.name}, which is {lr:g}, got {comonotonicity:g}; raise the learning rate or the key"
                )
