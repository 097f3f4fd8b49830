"""The callback that measures how a regression's predictions go with the labels of data from which it does not learn."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import mse_loss

from gantrain.metrics.scores import NUMBER_SCORES
from gantrain.train.callbacks.predictions import PredictionEvaluation


class CorrelationEvaluation(PredictionEvaluation):
    """Measures the mean squared error as ``loss``, ``pearson_correlation`` and ``spearman_correlation``.

    Checkpoints are compared by Pearson's correlation. The arguments are those of :class:`PredictionEvaluation`.
    """

    names = ("pearson_correlation", *(name for name in NUMBER_SCORES if name != "pearson_correlation"), "loss")

    def scored(self, outputs: Tensor) -> dict[str, float]:
        """``pearson_correlation``, ``spearman_correlation`` and ``loss``."""
        predictions = outputs.squeeze(1).float()
        found = {name: score(predictions, self.labels) for name, score in NUMBER_SCORES.items()}
        return found | {"loss": mse_loss(predictions, self.labels).item()}
