"""Regression in closed form, and what it asks of data and networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import gantrain as gt
from gantrain.compute.modes import eval_mode
from gantrain.data.batch import FixedBatch
from gantrain.data.dataset import DataSet, require_data_set
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games import Regression
from gantrain.train.callbacks import CorrelationEvaluation
from gantrain.train.callbacks.predictions import require_known_labels

SPEC = DataSpec((3,), classes=1, numeric=True)


class Measured(DataSet):
    """Points with a number each; a data set of a user's own."""

    def __init__(self, labels: torch.Tensor | None = None):
        source = torch.Generator().manual_seed(0)
        points = torch.randn(50, 3, generator=source)
        super().__init__(points, points @ torch.tensor([1.0, -2.0, 0.5]) if labels is None else labels, SPEC)


def test_the_gradient_is_that_of_the_normal_equations():
    data, network = Measured(), nn.Linear(3, 1).double()
    x, y = data.samples.double(), data.labels.double()
    objective = Regression(network).objective("regressor", FixedBatch(x, y, 0, 0))
    residual = (network(x).squeeze(1) - y).detach()
    assert objective.loss.item() == pytest.approx(float(residual.square().mean()), abs=1e-12)
    assert objective.logits is None and objective.targets is None
    objective.loss.backward()
    torch.testing.assert_close(network.weight.grad[0], 2 * x.T @ residual / 50, rtol=0, atol=1e-12)
    torch.testing.assert_close(network.bias.grad[0], 2 * residual.mean(), rtol=0, atol=1e-12)


def test_esam_descends_on_the_samples_whose_errors_rise_the_most():
    data, torch_state = Measured(), torch.get_rng_state()
    batch = gt.data.Batches(data, 10, seed=0)(0, step=0)
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    torch.set_rng_state(torch_state)
    x, y, w, b = batch.real, batch.labels, network.weight.detach()[0].clone(), network.bias.detach().clone()
    before = x @ w + b - y
    slope = torch.cat([2 * x.T @ before, 2 * before.sum()[None]]) / 10
    up = 0.3 * slope / slope.norm()
    after = x @ (w + up[:3]) + b + up[3] - y
    rows = (after.square() - before.square()).topk(5).indices
    path = gt.solve(
        Regression(network),
        optimizer={"name": "sgd", "lr": 1.0},
        sharpness={"name": "esam", "rho": 0.3, "beta": 1.0, "gamma": 0.5},
        batches=gt.data.Batches(data, 10, seed=0),
        steps=1,
    )
    expected = torch.cat([x[rows].T @ after[rows], after[rows].sum()[None]]) * 2 / 5
    torch.testing.assert_close(path["regressor"][0] - path["regressor"][1], expected, rtol=1e-4, atol=1e-5)


def test_any_network_that_classifies_predicts_a_number():
    network = gt.models.MLPClassifier(SPEC, width=4)
    Regression(network, spec=SPEC)
    with eval_mode(network), torch.no_grad():
        assert network(SPEC.zeros(2)).shape == (2, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (DataSpec((3,), classes=4), "regression needs labels that are numbers, and those of these data are classes"),
        (DataSpec((3,)), "regression needs labels that are numbers, and those of these data are missing"),
    ],
)
def test_data_without_numbers_are_refused(spec, message):
    with pytest.raises(UserError, match=message):
        Regression(nn.Linear(3, 1), spec=spec)


def test_a_network_with_more_outputs_is_refused():
    with pytest.raises(UserError, match=r"game.regressor.model: .*expected one number for each sample, shape \(2, 1\)"):
        Regression(nn.Linear(3, 2), spec=SPEC)


def test_a_data_set_of_ones_own_may_have_numbers():
    require_data_set(Measured())
    with pytest.raises(UserError, match=r"Measured: labels: expected a float32 tensor of shape \(50,\), got .*int64"):
        require_data_set(Measured(torch.zeros(50, dtype=torch.int64)))


def test_predictions_are_compared_with_the_labels():
    data, network = Measured(), nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[2.0, -4.0, 1.0]]))
    found = CorrelationEvaluation(data, 1, chunk=7).measure(network)
    assert found["pearson_correlation"] == pytest.approx(1) and found["spearman_correlation"] == pytest.approx(1)
    assert found["loss"] == pytest.approx(float(data.labels.square().mean()), rel=1e-5)
    with pytest.raises(UserError, match="evaluate.data: the labels are numbers, and the network predicts classes"):
        require_known_labels(data, DataSpec((3,), 4), "evaluate.data")
