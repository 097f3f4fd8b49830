"""ESAM: SAM that perturbs some of the weights, and descends on some of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils._pytree import tree_map_only

from gantrain.data.batch import Batch
from gantrain.errors import UserError
from gantrain.games.base import Gradient, Objective
from gantrain.sharpness.base import Oracle
from gantrain.sharpness.bisam import climbed
from gantrain.sharpness.perturbation import Perturbation
from gantrain.utils.tensors import norm

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat, PositiveFraction
    from gantrain.gradients.context import GradientContext


class ESAM(Oracle):
    """ESAM: SAM that perturbs a random part of the weights, and takes its gradient on a selected part of the rows.

    ``eps_i = m_i (rho / beta) g_i / ||g||`` with the gradient ``g`` of the climbed function on the whole batch, and
    ``m_i`` 1 with probability beta and else 0, drawn for each parameter tensor (its weight matrix, its bias) in each
    move; the mean of ``eps`` is SAM's perturbation. The optimizer is given the gradient at ``w + eps`` on the share
    gamma of the rows whose losses rise the most, ``L_i(w + eps) - L_i(w)``. In a GAN a row is a real sample with a fake
    one.

    A move counts two gradients, the second of gamma of the batch, and takes one forward pass of the whole batch more:
    with gamma = 0.5 about 11/12 of SAM's time. Running statistics and spectral-norm vectors follow the first pass; in
    the last one, batch norm sees the selected rows alone. Each process selects among its own rows, and with
    accumulation among those of each micro-batch, and climbs its own gradient. Source: Du et al., Efficient
    sharpness-aware minimization for improved training of neural networks, ICLR 2022, arXiv 2110.03141, algorithm 1. The
    published code chooses whole tensors, too, but divides by the norm of the chosen ones alone. With ``climb: tanh`` or
    ``climb: log`` the perturbation is BiSAM's, arXiv 2407.12993.

    Args:
        rho: the radius of the perturbation, in units of the parameters' norm.
        beta: the probability with which a parameter tensor is perturbed; 1 perturbs all, as SAM does.
        gamma: the share of the rows on which the gradient at the perturbed point is taken, at least one row; 1 takes
            all, as SAM does. A lower share needs the loss of each row, which all games with data have; a game of your
            own returns it as ``losses`` of its objective.
        climb: the function that the perturbation climbs: the "loss", or BiSAM's lower bound of the 0-1 loss with
            "tanh" or "log".
        mu: the inverse temperature of BiSAM's soft maximum over the classes.
        alpha: the slope at 0 of BiSAM's tanh; "log" does not use it.
        geometry: the shape of the perturbation: "l2", or "elementwise" as in ASAM.
    """

    local_ascent = True

    def __init__(
        self,
        rho: NonNegativeFloat = 0.05,
        beta: PositiveFraction = 0.5,
        gamma: PositiveFraction = 0.5,
        climb: Literal["loss", "tanh", "log"] = "loss",
        mu: PositiveFloat = 10.0,
        alpha: PositiveFloat = 0.1,
        geometry: Literal["l2", "elementwise"] = "l2",
    ):
        self.rho, self.beta, self.gamma = rho, beta, gamma
        self.climb, self.mu, self.alpha, self.geometry = climb, mu, alpha, geometry

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        before: list[Tensor] = []
        with self._perturbed(context, context.gradient(self._climbed(before))):
            selected = self._selection(context, before[-1]) if before else None
            return [context.gradient(auxiliary=True, selected=selected)]

    def _climbed(self, before: list[Tensor]) -> Callable[[Objective], Tensor]:
        """The function that is climbed; the losses of the rows on the way are added to ``before``, if rows are
        selected."""
        function = climbed(self.climb, self.mu, self.alpha)

        def target(objective: Objective) -> Tensor:
            if self.gamma < 1:
                before.append(losses_of(objective).detach())
            return function(objective)

        return target

    def _perturbed(self, context: GradientContext, gradient: Gradient) -> AbstractContextManager[None]:
        """The context in which the chosen parameters are perturbed."""
        if self.beta >= 1:
            return Perturbation(self.rho, self.geometry).applied(context, gradient)
        chosen = [g if c else None for g, c in zip(gradient, context.random_choice(self.beta), strict=True)]
        whole, part = (_length(context.parameters, each, self.geometry) for each in (gradient, chosen))
        context.require_finite("the norm of the gradient that sharpness climbs", whole)
        # Until that check comes, on a GPU, an infinite norm must give NaN, not a step of length zero.
        share = torch.where(whole == 0, 0.0, part / whole).masked_fill(whole.isinf(), torch.nan)
        return Perturbation(share * (self.rho / self.beta), self.geometry).applied(context, chosen)

    def _selection(self, context: GradientContext, before: Tensor) -> Callable[[Any], Any] | None:
        """The function from a batch to its rows whose losses rise the most; None for all rows."""
        count = max(1, round(self.gamma * len(before)))
        if count == len(before):
            return None
        rise = context.value(losses_of) - before
        rows = rise.argsort(descending=True, stable=True)[:count].sort().values
        return partial(selected_rows, rows=rows, of=len(before))


def losses_of(objective: Objective) -> Tensor:
    """``(n,)``: the loss of each row of the batch, or the cross-entropy of its logits.

    Raises:
        UserError: the objective has neither.
    """
    losses, logits, targets = objective.losses, objective.logits, objective.targets
    if losses is None and logits is not None and targets is not None:
        if logits.dim() == 1:
            return binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
        return cross_entropy(logits, targets, reduction="none")
    if not isinstance(losses, Tensor) or losses.dim() != 1:
        raise UserError(
            "sharpness.gamma: below 1 it takes the loss of each row of the batch, and this objective has none; use "
            "gamma: 1, or return gt.Objective(loss, losses=losses) with a tensor (n,)"
        )
    return losses


def selected_rows(batch: Any, rows: Tensor, of: int) -> Any:
    """Some rows of a batch: of a :class:`~gantrain.data.batch.Batch`, or of all tensors in a tree that have rows.

    Args:
        batch: the batch.
        rows: the numbers of the rows, int64.
        of: the number of rows of the batch.

    Raises:
        UserError: the batch does not consist of so many rows.
    """
    if isinstance(batch, Batch) and len(batch) == of:
        return batch.select(rows)
    found = []

    def select(t: Tensor) -> Tensor:
        if t.dim() == 0 or len(t) != of:
            return t
        found.append(t)
        return t[rows]

    chosen = batch if isinstance(batch, Batch) else tree_map_only(Tensor, select, batch)
    if not found:
        raise UserError(
            f"sharpness.gamma: the objective has the losses of {of} rows, and the batch has no tensor with so many; "
            "use gamma: 1, or return gt.Objective(loss, losses=losses) with one loss for each row"
        )
    return chosen


def _length(parameters: Sequence[Tensor], gradient: Gradient, geometry: str) -> Tensor:
    """The norm by which a perturbation of this geometry is divided."""
    pairs = [(p, g) for p, g in zip(parameters, gradient, strict=True) if g is not None]
    slopes = [g for _, g in pairs]
    if geometry == "elementwise" and pairs:
        slopes = list(torch._foreach_mul([p.detach() for p, _ in pairs], slopes))
    return norm(slopes).to(parameters[0].device)
