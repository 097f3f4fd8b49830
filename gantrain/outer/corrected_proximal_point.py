"""The proximal point method whose approximation is corrected by a projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gantrain.outer.anchored import require_comonotonicity
from gantrain.outer.base import Mover, require_no_state, require_simultaneous
from gantrain.utils.tensors import add_, dot

if TYPE_CHECKING:
    from gantrain.config.types import Draws, Float, PositiveFloat, PositiveInt
    from gantrain.outer.field import Anchor, Field


class CorrectedProximalPoint(Mover):
    """A proximal point approximated by inner steps, then a projection that corrects the error of the approximation.

    ``w_0 = z;  w_{t+1} = J(z - gamma F w_t)  for t < tau;  z <- z - lambda alpha v``, where ``v`` is ``F w_tau`` (with
    a constraint, plus the normal that the last ``J`` found) and ``alpha = max(0, <v, z - w_tau> / ||v||^2 + rho)``. A
    game whose solutions satisfy the weak Minty inequality with rho has all of them in the half-space ``{u: <v, w_tau -
    u> >= rho ||v||^2}``, and ``z - alpha v`` is the projection of z onto it, however inexact ``w_tau`` is. So no step
    leads away from a solution for lambda in (0, 2). With ``rho > -gamma`` and ``gamma < 1/L`` it converges if tau is
    large enough, which is ``rho > -1/L``; tau = 1 is adaptive EG+. The points ``w`` lie in the constraint set, while
    the iterates ``z`` may lie outside. All players move simultaneously; different learning rates count as a metric. A
    step costs tau + 1 gradients for each player. The optimizers must have no state (SGD without momentum). Source:
    Solodov and Svaiter, A hybrid projection-proximal point algorithm, 1999, for rho = 0. Pethick et al., ICLR 2025,
    take this projection for the weak Minty inequality, and choose the number of inner steps by a rule that was not at
    hand.

    Args:
        inner_steps: tau, the number of inner steps.
        relaxation: lambda, in (0, 2); 1 is the projection itself.
        comonotonicity: rho itself, not times L; negative for a game that is not monotone. The default 0 is for
            games with a solution that satisfies the Minty inequality, such as monotone ones.
        samples: whether each evaluation takes a "fresh" batch (the default), or all of a step take the "same" batch.

    Raises:
        UserError: the order of the field is alternating, an optimizer has state, or ``comonotonicity`` is not above
            minus a learning rate.
    """

    steps_from_anchor = True

    def __init__(
        self,
        inner_steps: PositiveInt = 3,
        relaxation: PositiveFloat = 1.0,
        comonotonicity: Float = 0.0,
        samples: Draws | None = None,
    ):
        super().__init__("simultaneous", samples)
        self.inner_steps = inner_steps
        self.relaxation = relaxation
        self.comonotonicity = comonotonicity
        self._anchor: Anchor | None = None

    def require(self, field: Field) -> None:
        require_simultaneous(field, "corrected_proximal_point")
        require_no_state(field, "corrected_proximal_point takes several steps from one point")
        require_comonotonicity(self.comonotonicity, 1.0, field)

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        z = self._anchor = field.snapshot(into=self._anchor)
        for t in range(self.inner_steps):
            field.move(next(draws), self.order, z, auxiliary=t > 0, resolve=t < self.inner_steps - 1)
        before = field.snapshot()  # the last inner step, before its resolvent
        field.resolve(field.learners)
        w = field.snapshot()
        field.evaluate(next(draws), field.learners, z, auxiliary=True)
        field.advance(field.learners, z, resolve=False)
        gamma_v, gap = before, w  # in the memory of the copies
        with torch.no_grad():
            for learner in field.learners:
                name, moved = learner.name, list[Tensor](learner.parameters)
                torch._foreach_sub_(gamma_v[name], w[name])
                torch._foreach_add_(gamma_v[name], z[name])
                torch._foreach_sub_(gamma_v[name], moved)
                torch._foreach_sub_(gap[name], z[name])
            alpha = self._alpha(field, gamma_v, gap)
        field.restore(z)
        for learner in field.learners:
            torch._foreach_mul_(gamma_v[learner.name], -self.relaxation * alpha)
            add_(learner.parameters, gamma_v[learner.name])
        return True

    def _alpha(self, field: Field, gamma_v: Anchor, gap: Anchor) -> Tensor:
        """``alpha / gamma``, 0-d, from ``gamma v`` and ``w - z``, in the metric of the learning rates."""
        along, length, euclidean = torch.zeros(3)
        for learner in field.learners:
            rates, vs, ws = learner.step_sizes, gamma_v[learner.name], gap[learner.name]
            for gamma in dict.fromkeys(rate for rate in rates if rate):  # what has a learning rate of 0 stays
                v, w = ([t for t, rate in zip(part, rates, strict=True) if rate == gamma] for part in (vs, ws))
                squared = dot(v, v)
                along = along - dot(v, w) / gamma
                length = length + squared / gamma
                euclidean = euclidean + squared / gamma**2
        alpha = (along + self.comonotonicity * euclidean) / length
        return torch.where(length > 0, alpha.clamp(min=0), 0.0)
