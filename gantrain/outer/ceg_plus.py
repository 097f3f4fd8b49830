"""Constrained EG+."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.outer.base import Mover, require_no_state, require_simultaneous
from gantrain.outer.learner import step_sizes
from gantrain.utils.tensors import add_, dot, norm, set_gradient

if TYPE_CHECKING:
    from gantrain.config.types import Draws, PositiveFloat
    from gantrain.outer.field import Anchor, Field

# The constants nu and tau of the line search, and the number of times that it may halve the step size.
_NU, _TAU, _HALVINGS = 0.99, 0.5, 40


class CEGPlus(Mover):
    """CEG+: EG+ for constrained and regularised games.

    With ``H = id - gamma F``: ``w = J(H z);  d = H w - H z;  z <- z + lambda alpha d``, all players simultaneously.
    Without constraints ``d = -gamma F w``, which is EG+. The points ``w`` lie in the constraint set, while the iterates
    ``z`` may lie outside. With an optimizer other than SGD, ``H v`` is ``v`` plus the optimizer's step from the anchor
    ``z`` along ``F v``. A step costs two gradients for each player. Source: Pethick et al., Escaping limit cycles:
    global convergence for constrained nonconvex-nonconcave minimax problems, ICLR 2022.

    Args:
        relaxation: lambda, the factor of the correction.
        adaptive: whether alpha is adaptive. False (the default) gives alpha = 1. True gives
            ``alpha = sigma / gamma + <w - z, d> / ||d||^2`` with ``sigma = -0.99 gamma / 2``, just inside the range of
            the paper's theorem; lambda then lies in (0, 2), and is usually 1.
        curvature: whether each step searches for its own step size, with an adaptive alpha. Default false. The search
            begins with the optimizers' step size, and halves gamma while ``gamma ||F w - F z|| > 0.99 ||w - z||``, at
            the cost of one more gradient for each halving. All gradients of a step are taken on the same batch, and the
            optimizer must have no state (SGD without momentum). The paper begins with ``0.99 / ||JF(z)||``, which takes
            second derivatives.
        samples: whether the second evaluation takes a "fresh" batch (the default), or the "same" batch as the first.

    Raises:
        UserError: the order of the field is alternating; or ``curvature`` is true, and the samples are fresh or an
            optimizer has state.
    """

    steps_from_anchor = True

    def __init__(
        self,
        relaxation: PositiveFloat = 0.5,
        adaptive: bool = False,
        curvature: bool = False,
        samples: Draws | None = None,
    ):
        if curvature and samples == "fresh":
            raise UserError("outer: ceg_plus with curvature compares gradients of one batch; leave samples out")
        super().__init__("simultaneous", "same" if curvature else samples)
        self.relaxation = relaxation
        self.adaptive = adaptive or curvature
        self.curvature = curvature

    def require(self, field: Field) -> None:
        require_simultaneous(field, "ceg_plus")
        if self.curvature:
            require_no_state(field, "ceg_plus with curvature tries several step sizes from one point")

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        z = field.snapshot()
        field.evaluate(next(draws), field.learners)
        draw, scale = next(draws), 1.0
        # Kept for further step sizes only; the memory is that of a copy of the parameters.
        slope = [p.grad for p in _parameters(field)] if self.curvature else []
        forward, d = self._forward_backward(field, z, draw, scale)
        for _ in range(_HALVINGS if self.curvature else 0):
            if norm(torch._foreach_sub(forward, d)) <= _NU * norm(forward):
                break
            scale *= _TAU
            del forward, d
            set_gradient(_parameters(field), slope)
            forward, d = self._forward_backward(field, z, draw, scale)

        relaxation = self.relaxation
        if self.adaptive:
            length = dot(d, d)
            alpha = torch.where(length > 0, dot(forward, d) / length - 0.495, 0.0)
            torch._foreach_mul_(d, relaxation * alpha)
            relaxation = 1.0
        field.restore(z)
        add_(_parameters(field), d, relaxation)
        return True

    @staticmethod
    def _forward_backward(field: Field, z: Anchor, draw: int, scale: float) -> tuple[list[Tensor], list[Tensor]]:
        """``w - z`` and ``d``, at ``scale`` times the optimizers' step sizes. ``.grad`` must hold ``F z``."""
        parameters = _parameters(field)
        with step_sizes(field.learners, lambda lr: lr * scale):
            field.advance(field.learners, z, resolve=False)
            hz = _flat(field.snapshot())
            field.resolve(field.learners)
            field.evaluate(draw, field.learners, z, auxiliary=True)
            w = _flat(field.snapshot())
            field.advance(field.learners, z, resolve=False)
        # The parameters are now z - gamma F w, so that H w = w + (parameters - z). All is computed in the memory of the
        # copies; the parameters go back to z anyway.
        with torch.no_grad():
            torch._foreach_sub_(w, _flat(z))
            torch._foreach_add_(parameters, w)
            torch._foreach_neg_(hz)
            torch._foreach_add_(hz, parameters)
        return w, hz


def _flat(point: Anchor) -> list[Tensor]:
    return [t for part in point.values() for t in part]


def _parameters(field: Field) -> list[Tensor]:
    return [p for learner in field.learners for p in learner.parameters]
