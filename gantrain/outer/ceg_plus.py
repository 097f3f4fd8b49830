"""Constrained EG+."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from gantrain.errors import UserError
from gantrain.outer.loop import Mover
from gantrain.params import add_, copy_, dot

if TYPE_CHECKING:
    from gantrain.field import Field
    from gantrain.types import PositiveFloat


class CEGPlus(Mover):
    """CEG+: EG+ for constrained and regularised games.

    With ``H = id - gamma F``: ``w = J(H z);  d = H w - H z;  z <- z + lambda alpha d``, all players simultaneously.
    Without constraints ``d = -gamma F w``, which is EG+. The points ``w`` lie in the constraint set; ``z`` need not.
    Over an optimizer other than SGD, ``H v`` is ``v`` plus the optimizer's step from the anchor ``z`` along ``F v``.
    Costs two gradients for each player. Source: Pethick et al., Escaping limit cycles: global convergence for
    constrained nonconvex-nonconcave minimax problems, ICLR 2022.

    Args:
        relaxation: lambda.
        adaptive: False: alpha = 1. True: ``alpha = sigma / gamma + <w - z, d> / ||d||^2`` with
            ``sigma = -0.99 gamma / 2``, just inside the range of the paper's theorem; lambda is then in (0, 2),
            usually 1.
        samples: whether the second evaluation takes a "fresh" batch (the default) or the "same".

    Raises:
        UserError: an alternating order is asked for.
    """

    def __init__(
        self,
        relaxation: PositiveFloat = 0.5,
        adaptive: bool = False,
        samples: Literal["fresh", "same"] | None = None,
    ):
        super().__init__("simultaneous", samples)
        self.relaxation = relaxation
        self.adaptive = adaptive

    def step(self, field: Field) -> bool:
        if field.order != self.order:
            raise UserError("outer: ceg_plus moves all players simultaneously; leave order away")
        draws = self.draws(field)
        z = field.snapshot()
        field.move(next(draws), self.order, z, resolve=False)
        hz = field.snapshot()
        field.resolve(field.learners)
        w = field.snapshot()
        field.move(next(draws), self.order, z, auxiliary=True, resolve=False)

        # The parameters are now z - gamma F w, so that H w = w + (parameters - z).
        parameters = [p for learner in field.learners for p in learner.parameters]
        z, hz, w = ([t for part in point.values() for t in part] for point in (z, hz, w))
        with torch.no_grad():
            moved = torch._foreach_sub(w, z)
            d = torch._foreach_sub(torch._foreach_add(parameters, moved), hz)
        scale = self.relaxation
        if self.adaptive:
            length = dot(d, d)
            scale = scale * torch.where(length > 0, dot(moved, d) / length - 0.495, 0.0)
        copy_(parameters, z)
        add_(parameters, d, scale)
        return True
