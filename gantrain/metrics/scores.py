"""Scores of predictions against labels: of classes, and of numbers. Higher is better for all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def f1(logits: Tensor, labels: Tensor) -> float:
    """The F1 score: of class 1 where there are two classes, and else the mean of the F1 scores of the classes.

    The F1 score of a class is the harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``; 0 where the class
    is neither predicted nor there.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``, the class indices.
    """
    from sklearn.metrics import f1_score

    kinds = range(logits.shape[1])
    average = "binary" if len(kinds) == 2 else "macro"
    labels_of = None if len(kinds) == 2 else list(kinds)
    found = _predicted(logits)
    return float(f1_score(labels.cpu().numpy(), found, labels=labels_of, average=average, zero_division=0))


def matthews_correlation(logits: Tensor, labels: Tensor) -> float:
    """Matthews' correlation of predicted and true classes, from -1 to 1; 0 where all are predicted alike.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``, the class indices.
    """
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels.cpu().numpy(), _predicted(logits)))


def pearson_correlation(predictions: Tensor, labels: Tensor) -> float:
    """Pearson's correlation, from -1 to 1: 0 where one of the two is constant, NaN where a prediction is not finite.

    Args:
        predictions: ``(n,)``.
        labels: ``(n,)``.
    """
    if any(bool((values == values[0]).all()) for values in (predictions, labels)):
        return 0.0
    x, y = (values.double() - values.double().mean() for values in (predictions, labels))
    return float(x @ y / (x.norm() * y.norm()))


def spearman_correlation(predictions: Tensor, labels: Tensor) -> float:
    """Spearman's correlation: Pearson's of the ranks, of which equal values share the mean.

    Args:
        predictions: ``(n,)``.
        labels: ``(n,)``.
    """
    from scipy.stats import rankdata

    if not bool(predictions.isfinite().all()):
        return float("nan")
    ranks = (torch.from_numpy(rankdata(values.double().cpu().numpy())) for values in (predictions, labels))
    return pearson_correlation(*ranks)


def _predicted(logits: Tensor) -> object:
    """``(n,)``, the classes with the largest logits, as an array."""
    return logits.argmax(dim=1).cpu().numpy()


CLASS_SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {"f1": f1, "matthews_correlation": matthews_correlation}
"""The scores of classes that ``evaluate.scores`` may name."""
NUMBER_SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "pearson_correlation": pearson_correlation,
    "spearman_correlation": spearman_correlation,
}
"""The scores of predicted numbers."""
