"""Losses of a classification among many classes, of logits ``(n, classes)`` and labels ``(n,)``, and losses of rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

from gantrain.games.base import Objective

ClassLoss = Literal["cross_entropy", "hinge"]


def class_loss(
    name: ClassLoss, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The cross-entropy or the hinge loss of many classes: the mean or the sum over the samples, or all of them.

    The hinge loss is ``max(0, 1 + max_{j != y} s_j - s_y)``, which is 0 once the label's logit is larger by 1 than all
    others (Crammer and Singer, On the algorithmic implementation of multiclass kernel-based vector machines, JMLR
    2001).

    Args:
        name: the loss.
        logits: ``(n, classes)``.
        labels: ``(n,)``.
        label_smoothing: as in torch's ``cross_entropy``, the only loss that has it.
        reduction: "mean", "sum" or "none".

    Examples:
        >>> class_loss("hinge", torch.tensor([[2.0, 1.5, 0.0], [0.0, 3.0, 1.0]]), torch.tensor([0, 1])).item()
        0.25
    """
    if name == "cross_entropy":
        return cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction=reduction)
    right = logits.gather(1, labels[:, None]).squeeze(1)
    wrong = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    losses = relu(1 + wrong - right)
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """``(n,)`` float32: 1 where the label has the largest logit, else 0."""
    return (logits.argmax(dim=1) == labels).float()


class WithLosses(Objective):
    """An objective whose losses of rows are computed when an oracle asks for them, which most do not."""

    def __init__(
        self,
        loss: Tensor,
        logits: Tensor | None,
        targets: Tensor | None,
        scores: dict[str, Tensor],
        losses: Callable[[], Tensor | None],
    ):
        self.loss, self.logits, self.targets, self.scores = loss, logits, targets, scores
        self._losses = losses

    @cached_property
    def losses(self) -> Tensor | None:  # type: ignore[override]
        return self._losses()
