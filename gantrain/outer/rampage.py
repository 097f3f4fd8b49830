"""Extragradient with a random extrapolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gantrain.outer.base import Mover, require_simultaneous
from gantrain.utils.seeding import generator
from gantrain.utils.tensors import add_

if TYPE_CHECKING:
    from torch import Tensor

    from gantrain.config.types import Draws, PositiveFloat
    from gantrain.outer.field import Anchor, Field


class RAMPAGE(Mover):
    """RAMPAGE: extragradient that extrapolates by a random factor between 0 and 2, whose mean is 1.

    ``w = J(z - 2 u gamma F z);  z <- z + lambda (J(z - gamma F w) - z)`` with ``u`` uniform in [0, 1], the same for all
    players, which move simultaneously. ``F w`` is on average the mean of F on the segment from ``z`` to ``z - 2 gamma F
    z``, of which extragradient evaluates the middle; the two differ where the field is curved. RAMPAGE+
    (``antithetic``) takes the mean of F at ``u`` and at ``1 - u``: on a linear field it is extragradient itself. A step
    costs two gradients for each player, that of RAMPAGE+ three. ``u`` is a function of the run's seed and of the number
    of the batch. Source: Luo et al., arXiv 2603.22155. Its text was not at hand: the segment is the one whose bias
    (``-gamma^2 F''[F, F] / 6`` of extragradient) and variances (``gamma^2 ||F' F||^2 / 3`` of RAMPAGE, ``gamma^4
    ||F''[F, F]||^2 / 45`` of RAMPAGE+) are those that it states; lambda is that of EG+.

    Args:
        antithetic: whether the mean is taken over ``u`` and ``1 - u``, which is RAMPAGE+. Default false.
        relaxation: lambda, the share of the second step that is taken. The default 1 is the method as published; a
            smaller one makes the range of nonmonotone games larger, as in EG+.
        samples: whether each evaluation takes a "fresh" batch (the default), or all of a step take the "same" batch.

    Raises:
        UserError: the order of the field is alternating.
    """

    steps_from_anchor = True

    def __init__(
        self,
        antithetic: bool = False,
        relaxation: PositiveFloat = 1.0,
        samples: Draws | None = None,
    ):
        super().__init__("simultaneous", samples)
        self.antithetic = antithetic
        self.relaxation = relaxation
        self._anchor: Anchor | None = None

    def require(self, field: Field) -> None:
        require_simultaneous(field, "rampage")

    def step(self, field: Field) -> bool:
        draws = self.draws(field)
        draw = next(draws)
        u = torch.rand((), generator=generator(field.evaluator.seed, "midpoint", draw), dtype=torch.float64).item()
        anchor = self._anchor = field.snapshot(into=self._anchor)
        field.evaluate(draw, field.learners, anchor)
        field.advance(field.learners, anchor, resolve=False)
        extrapolated = field.snapshot() if self.antithetic else None
        self._evaluate(field, anchor, 2 * u, next(draws))
        if extrapolated is not None:
            first = [p.grad for learner in field.learners for p in learner.parameters]
            field.restore(extrapolated)
            del extrapolated
            self._evaluate(field, anchor, 2 * (1 - u), next(draws))
            _average(field, first)
        field.advance(field.learners, anchor)
        field.relax(anchor, self.relaxation)
        return True

    @staticmethod
    def _evaluate(field: Field, anchor: Anchor, factor: float, draw: int) -> None:
        """Take the gradients at ``factor`` times the extrapolation, at whose end the players are."""
        field.relax(anchor, factor)
        field.resolve(field.learners)
        field.evaluate(draw, field.learners, anchor, auxiliary=True)


def _average(field: Field, first: list[Tensor | None]) -> None:
    """Set ``.grad`` to the mean of itself and ``first``; what has no gradient in both gets none."""
    for p, g in zip((p for learner in field.learners for p in learner.parameters), first, strict=True):
        if p.grad is None:
            p.grad = None if g is None else g / 2
        else:
            p.grad /= 2
            if g is not None:
                add_([p.grad], [g], 0.5)
