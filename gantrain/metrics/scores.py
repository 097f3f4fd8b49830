"""Scores of predictions against labels: of classes, and of numbers. Higher is better for all of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def f1(logits: Tensor, labels: Tensor) -> float:
    """The F1 score: of class 1 where there are two classes, and else the mean of the F1 scores of the classes.

    The F1 score of a class is the harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``; 0 where the class
    is neither predicted nor there.

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``, the class indices.
    """
    table = _confusions(logits, labels)
    each = 2 * table.diag() / (table.sum(0) + table.sum(1)).clamp(min=1)
    return float(each[1] if len(each) == 2 else each.mean())


def matthews_correlation(logits: Tensor, labels: Tensor) -> float:
    """Matthews' correlation of predicted and true classes, from -1 to 1; 0 where all are predicted alike.

    Of more than two classes it is Gorodkin's generalisation (Computational Biology and Chemistry 28, 2004).

    Args:
        logits: ``(n, classes)``.
        labels: ``(n,)``, the class indices.
    """
    table = _confusions(logits, labels)
    of_labels, of_predictions, count = table.sum(1), table.sum(0), table.sum()
    scale = (count**2 - of_labels @ of_labels) * (count**2 - of_predictions @ of_predictions)
    return float((count * table.diag().sum() - of_labels @ of_predictions) / scale.sqrt()) if scale > 0 else 0.0


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
    if not bool(predictions.isfinite().all()):
        return float("nan")
    return pearson_correlation(_ranks(predictions), _ranks(labels))


def _confusions(logits: Tensor, labels: Tensor) -> Tensor:
    """``(classes, classes)`` float64, the number of samples by their class and by the class with the largest logit."""
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(dim=1)
    return pairs.bincount(minlength=classes**2).view(classes, classes).double()


def _ranks(values: Tensor) -> Tensor:
    """The ranks from 1, of which equal values share the mean."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[place]


CLASS_SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {"f1": f1, "matthews_correlation": matthews_correlation}
"""The scores of classes that ``evaluate.scores`` may name."""
NUMBER_SCORES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "pearson_correlation": pearson_correlation,
    "spearman_correlation": spearman_correlation,
}
"""The scores of predicted numbers."""
