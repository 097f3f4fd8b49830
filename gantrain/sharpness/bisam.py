"""The functions that a perturbation may climb: the loss, or BiSAM's lower bound of the 0-1 loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.games.base import Objective


def lower_bound(
    logits: Tensor, targets: Tensor, phi: Literal["tanh", "log"] = "tanh", mu: float = 10.0, alpha: float = 0.1
) -> Tensor:
    """BiSAM's smooth lower bound of the 0-1 loss, for each sample.

    ``Q = (1 / mu) log sum_j exp(mu phi(F_j))`` with the margins ``F_j = logits_j - logits_target``, and
    ``phi(s) = tanh(alpha s)`` or ``phi(s) = 1 - log(1 + exp(gamma - s))``, ``gamma = log(e - 1)``, so that
    ``phi(0) = 0``. Source: Improving SAM Requires Rethinking its Optimization Formulation, arXiv 2407.12993, algorithm
    1.

    Args:
        logits: ``(n, K)``, or ``(n,)`` for a binary decision in which class 1 has this logit and class 0 has the logit
            zero. They are not changed.
        targets: ``(n,)``, the class indices.
        phi: the function phi, "tanh" or "log".
        mu: the inverse temperature of the soft maximum over the classes.
        alpha: the slope of tanh at 0; "log" does not use it.

    Returns:
        The bound for each sample, ``(n,)``.

    Raises:
        UserError: ``mu <= 0``, an unknown ``phi``, or shapes that do not fit.

    Examples:
        The first sample is classified correctly, the second one is not.

        >>> bound = lower_bound(torch.tensor([[5.0, -5.0], [5.0, -5.0]]), torch.tensor([0, 1]), mu=10.0, alpha=1.0)
        >>> [round(value, 3) for value in bound.tolist()]
        [0.0, 1.0]
    """
    if mu <= 0:
        raise UserError(f"mu: expected a number above 0, got {mu}")
    if logits.dim() not in (1, 2) or targets.shape != logits.shape[:1]:
        raise UserError(
            f"lower_bound: expected logits (n, K) or (n,) and targets (n,), got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if logits.dim() == 1:
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
    margins = logits - logits.gather(1, targets.long().unsqueeze(1))
    if phi == "tanh":
        bounded = torch.tanh(alpha * margins)
    elif phi == "log":
        bounded = 1 - torch.nn.functional.softplus(math.log(math.e - 1) - margins)
    else:
        raise UserError(f"phi: expected tanh or log, got {phi!r}")
    return torch.logsumexp(mu * bounded, dim=1) / mu


def climbed(climb: Literal["loss", "tanh", "log"], mu: float, alpha: float) -> Callable[[Objective], Tensor]:
    """The function of the objective that a perturbation climbs.

    Args:
        climb: "loss" for the loss itself, or the ``phi`` of :func:`lower_bound`.
        mu: as in :func:`lower_bound`.
        alpha: as in :func:`lower_bound`.
    """
    if climb == "loss":
        return lambda objective: objective.loss

    def bound(objective: Objective) -> Tensor:
        if objective.logits is None or objective.targets is None:
            raise UserError(
                f"sharpness.climb: {climb} climbs the margins of a classification, but this objective has no logits "
                "and targets; use climb: loss, or return gt.Objective(loss, logits, targets)"
            )
        return lower_bound(objective.logits, objective.targets, climb, mu, alpha).mean()

    return bound
