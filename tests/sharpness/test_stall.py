"""A perturbation of fixed length does not vanish at the minimum: steps of one size end about ``eta rho`` away from it.

At the minimum of ``f(x) = x^2 / 2`` the gradient at the perturbed point is rho, not 0. The theorem of SAMPa does not
contradict this: tests/analysis/test_descent.py.
"""

from __future__ import annotations

import pytest
import torch

from gantrain.games import Minimize
from gantrain.solver import solve


def distances(sharpness, lr, steps=150):
    game = Minimize(lambda x: (x * x).sum() / 2, torch.tensor([1.0], dtype=torch.float64))
    return solve(game, "gda", {"name": "sgd", "lr": lr}, sharpness=sharpness, steps=steps)["x"][:, 0].abs()


@pytest.mark.parametrize("lr", [0.3, 0.5])
@pytest.mark.parametrize("rho", [0.01, 0.1])
def test_sam_ends_in_a_cycle_of_two_points(lr, rho):
    """``x <- (1 - eta) x - eta rho sign x`` ends at ``|x| = eta rho / (2 - eta)``."""
    assert distances({"name": "sam", "rho": rho}, lr)[-1].item() == pytest.approx(lr * rho / (2 - lr), rel=1e-6)


def by_hand(lr, rho, mix, steps=150):
    x, slope, path = 1.0, 1.0, []
    for _ in range(steps):
        sign = (slope > 0) - (slope < 0)
        y = x - lr * slope
        x = x - lr * ((1 - mix) * (x + rho * sign) + mix * y)
        slope = y
        path.append(abs(x))
    return path


@pytest.mark.parametrize("mix", [0.0, 0.2])
def test_sampa_ends_as_far_away_as_the_method_written_by_hand_does(mix):
    ends = {}
    for rho in (0.001, 0.01, 0.1):
        found = distances({"name": "sampa", "rho": rho, "mix": mix}, lr=0.3)
        assert found[1:].tolist() == pytest.approx(by_hand(0.3, rho, mix), rel=1e-9)
        ends[rho] = found[-40:].mean().item()
    assert 5 < ends[0.01] / ends[0.001] < 20 and 5 < ends[0.1] / ends[0.01] < 20


def test_the_distance_is_that_of_the_step_size():
    ends = [distances({"name": "sampa", "rho": 0.1}, lr)[-40:].mean().item() for lr in (0.4, 0.1)]
    assert ends[1] < ends[0] / 2


@pytest.mark.parametrize("sharpness", [None, {"name": "sampa", "rho": 0.1, "mix": 1.0}])
def test_without_a_perturbation_the_minimum_is_reached(sharpness):
    assert distances(sharpness, lr=0.3)[-1].item() < 1e-12
