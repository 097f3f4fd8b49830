"""Lookahead's criterion by Laplace transform: exact as the step size goes to 0, and near it for small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gantrain.analysis.convergence_map import convergence_map, quadratic
from gantrain.analysis.iteration_matrix import contraction
from gantrain.analysis.lookahead_criterion import largest_relaxation, poles_are_stable
from gantrain.config.loading import load_map
from gantrain.outer import Lookahead

THEORY = Path(__file__).parents[2] / "configs" / "theory"


def edge(stable):
    """The relaxation at which a criterion ends, by bisection."""
    low, high = 1e-3, 1.5
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


def rotation(theta):
    return theta * quadratic(np.zeros(()))


@pytest.mark.parametrize("inner_steps", [2, 5, 20])
@pytest.mark.parametrize("theta", [0.01, 0.3, 1.0])
def test_on_bilinear_games_the_first_order_ends_at_one_minus_one_over_k(inner_steps, theta):
    found = edge(lambda relaxation: poles_are_stable(rotation(theta), inner_steps, relaxation, order=1))
    assert found == pytest.approx(largest_relaxation(inner_steps), abs=1e-6)


@pytest.mark.parametrize("inner_steps", [2, 3, 5, 10])
def test_it_is_exact_for_small_steps_and_the_two_orders_enclose_the_edge_for_larger_ones(inner_steps):
    def exact(theta):
        return edge(lambda relaxation: contraction(Lookahead(inner_steps, relaxation), rotation(theta)) < 1)

    assert exact(0.5e-2 / inner_steps) == pytest.approx(largest_relaxation(inner_steps), abs=1e-4)
    theta = 0.6 / inner_steps
    second = edge(lambda relaxation: poles_are_stable(rotation(theta), inner_steps, relaxation))
    assert 0.95 * exact(theta) < second < exact(theta) < largest_relaxation(inner_steps)


def test_stacks_of_games_with_several_modes():
    fields = 0.1 * np.random.default_rng(1).normal(size=(3, 4, 5, 5))
    stable = poles_are_stable(fields, 4, 0.5)
    exact = contraction(Lookahead(4, 0.5), fields) < 1
    assert stable.shape == (3, 4) and (stable == exact).mean() > 0.9


def test_the_map_has_it_for_lookahead_over_gda():
    config = load_map(THEORY / "map.yaml", ["x.count=5", "y.count=3", "steps=4", "gamma=0.1"])
    rapp, _, lookahead, other = (convergence_map(config, i) for i in range(4))
    assert rapp.laplace is None and other.laplace is None
    assert (lookahead.laplace == (lookahead.exact < 1)).all()
    assert lookahead.laplace.any() and not lookahead.laplace.all()
