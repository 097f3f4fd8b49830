"""The callback that measures a classifier's accuracy on data from which the classifier does not learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from gantrain.config.types import Interval
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.games.base import Attack
from gantrain.games.class_losses import correct
from gantrain.metrics.scores import CLASS_SCORES
from gantrain.train.callbacks.predictions import PredictionEvaluation


class AccuracyEvaluation(PredictionEvaluation):
    """Measures accuracy, loss and further scores: the share of correct classifications, the mean cross-entropy (without
    smoothing), and what ``scores`` names.

    Args:
        data: the data set; it must have no classes that the classifier does not know.
        every: the interval from one evaluation to the next.
        device: the device of the classifier.
        chunk: the number of samples in one forward pass.
        attacks: the game's attacks, by name.
        bounds: bounds of ``accuracy``, ``loss`` and the further scores beyond which the run ends; default none.
        scores: the further scores, keys of :data:`gantrain.metrics.scores.CLASS_SCORES`. By the first of them, if any,
            checkpoints are compared, and else by accuracy. None (the default) takes those of the data set.

    Raises:
        UserError: the data have no labels, or a bound is that of a score which is not measured.
    """

    def __init__(
        self,
        data: DataSet,
        every: Interval,
        device: torch.device | str = "cpu",
        chunk: int = 500,
        attacks: Mapping[str, Attack] = MappingProxyType({}),
        bounds: Mapping[str, float] | None = None,
        scores: Sequence[str] | None = None,
    ):
        super().__init__(data, every, device, chunk, attacks, bounds)
        self.scores = tuple(getattr(self.data, "scores", ()) if scores is None else scores)
        unknown = [name for name in self.scores if name not in CLASS_SCORES]
        if unknown:
            raise UserError(f"data: scores: expected some of {', '.join(CLASS_SCORES)}, got {unknown[0]!r}")
        for name in bounds or {}:
            if name in CLASS_SCORES and name not in self.scores:
                raise UserError(f"evaluate.stop_if_worse_than: {name} is not measured; name it in evaluate.scores")

    def scored(self, outputs: Tensor) -> dict[str, float]:
        """``accuracy``, ``loss`` and the further scores."""
        found = {
            "accuracy": correct(outputs, self.labels).mean().item(),
            "loss": cross_entropy(outputs, self.labels).item(),
        }
        return found | {name: CLASS_SCORES[name](outputs, self.labels) for name in self.scores}

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.scores, "accuracy", "loss")
