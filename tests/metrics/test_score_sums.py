from __future__ import annotations

import pytest
import torch

from gantrain.metrics.accumulators.score_sums import ScoreSums


@pytest.mark.parametrize(("samples", "splits"), [(103, 10), (40, 1), (10, 10)])
def test_scores_are_torch_fidelitys_in_any_order_of_batches(samples, splits):
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3 * torch.randn(samples, 7, generator=torch.Generator().manual_seed(0))
    sums = ScoreSums(samples, splits, 7, seed=5)
    for rows in torch.randperm(samples, generator=torch.Generator().manual_seed(1)).split(9):
        sums.update(rows, logits[rows], logits[rows])
    theirs = isc_features_to_metric(logits, splits=splits, rng_seed=5)
    assert sums.scores.mean().item() == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert sums.scores.std(correction=0).item() == pytest.approx(theirs["inception_score_std"], rel=1e-9, abs=1e-12)
    assert sums._p.shape == (splits, 7) and sums._p_log_p.shape == (splits,)


def test_logits_that_rule_classes_out_give_the_number_of_classes_left():
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]]).repeat(20, 1)
    sums = ScoreSums(40, 1, 3, seed=0)
    sums.update(torch.arange(40), logits, logits)
    assert sums.scores.item() == pytest.approx(2.0, rel=1e-12)
