"""Scores of predictions against their definitions, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gantrain.metrics.scores import f1, matthews_correlation, pearson_correlation, spearman_correlation


def logits_of(predicted, classes):
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).double()


@pytest.mark.parametrize("classes", [2, 3])
def test_f1_and_matthews_correlation_are_those_of_the_table_of_confusions(classes):
    source = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (200,), generator=source)
    wrong = torch.rand(200, generator=source) < 0.3
    predicted = torch.where(wrong, torch.randint(classes, (200,), generator=source), labels)
    table = torch.zeros(classes, classes, dtype=torch.float64)
    for label, found in zip(labels.tolist(), predicted.tolist(), strict=True):
        table[label, found] += 1
    each = 2 * table.diag() / (table.sum(0) + table.sum(1))
    expected = each[1] if classes == 2 else each.mean()
    logits = logits_of(predicted.tolist(), classes)
    assert f1(logits, labels) == pytest.approx(float(expected), abs=1e-12)
    # The general form of Gorodkin, which for two classes is that of Matthews.
    n, right, of_label, of_found = table.sum(), table.diag().sum(), table.sum(1), table.sum(0)
    scale = (n**2 - of_label.square().sum()) * (n**2 - of_found.square().sum())
    expected = (right * n - of_label @ of_found) / scale.sqrt()
    assert matthews_correlation(logits, labels) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 5])
def test_the_scores_are_those_of_scikit_learn_and_scipy(classes):
    from scipy import stats
    from sklearn import metrics

    source = torch.Generator().manual_seed(classes)
    labels, logits = torch.randint(classes, (300,), generator=source), torch.randn(300, classes, generator=source)
    logits += labels[:, None] == torch.arange(classes)
    found = logits.argmax(dim=1)
    expected = metrics.f1_score(labels, found, average="binary" if classes == 2 else "macro")
    assert f1(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert matthews_correlation(logits, labels) == pytest.approx(metrics.matthews_corrcoef(labels, found), abs=1e-12)
    values = (logits[:, 0] * 2).round(), labels.double()
    assert pearson_correlation(*values) == pytest.approx(stats.pearsonr(*values).statistic, abs=1e-12)
    assert spearman_correlation(*values) == pytest.approx(stats.spearmanr(*values).statistic, abs=1e-12)


def test_one_class_alone_is_scored_zero():
    labels = torch.tensor([0, 1, 1, 0])
    assert f1(logits_of([0, 0, 0, 0], 2), labels) == 0
    assert matthews_correlation(logits_of([1, 1, 1, 1], 2), labels) == 0


def test_a_class_that_is_not_there_counts_in_the_mean():
    """The mean is over all classes of the network, so that it does not depend on what was predicted."""
    assert f1(logits_of([0, 1], 3), torch.tensor([0, 1])) == pytest.approx(2 / 3)


def test_correlations_of_numbers_and_of_ranks():
    x, y = torch.tensor([1.0, 2.0, 3.0, 10.0]), torch.tensor([1.0, 3.0, 2.0, 4.0])
    dx, dy = x - 4, y - 2.5
    assert pearson_correlation(x, y) == pytest.approx(float((dx * dy).sum() / (dx @ dx * (dy @ dy)).sqrt()), abs=1e-6)
    assert spearman_correlation(x, y) == pytest.approx(1 - 6 * 2 / (4 * 15), abs=1e-12)
    assert spearman_correlation(x.exp(), y) == spearman_correlation(x, y), "of the order alone"
    tied = torch.tensor([1.0, 1.0, 2.0, 2.0])  # ranks 1.5, 1.5, 3.5, 3.5
    assert spearman_correlation(tied, torch.tensor([1.0, 2.0, 3.0, 4.0])) == pytest.approx(4 / math.sqrt(4 * 5))


@pytest.mark.parametrize("score", [pearson_correlation, spearman_correlation])
def test_constants_have_no_correlation_and_what_is_not_finite_is_not_hidden(score):
    varied = torch.tensor([1.0, 2.0, 4.0])
    assert score(torch.full((3,), 0.1), varied) == 0 == score(varied, torch.full((3,), 0.1))
    assert math.isnan(score(torch.tensor([1.0, math.nan, 2.0]), varied))
