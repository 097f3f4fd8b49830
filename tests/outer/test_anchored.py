"""The loops that came after extragradient, against their definitions and their theorems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_rates import many_scales, slope

import gantrain as gt
from gantrain.errors import UserError
from gantrain.games import VectorField
from gantrain.games.base import Player
from gantrain.games.toy import Bilinear, Quadratic
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer import CorrectedProximalPoint
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.utils.seeding import generator

GAMMA = {"x": 0.05, "y": 0.05}
START = {"x": [0.7, -0.3], "y": [0.5]}
MATRIX = torch.tensor(np.random.default_rng(0).normal(size=(3, 3)))


def field(z):
    return MATRIX @ z + 0.3 * z**3


def solved(outer, gamma=GAMMA, steps=12, **settings):
    start = {name: torch.tensor(at, dtype=torch.float64) for name, at in START.items()}
    game = VectorField(lambda x, y: field(torch.cat([x, y])).split((2, 1)), start)
    optimizer = {name: {"name": "sgd", "lr": lr} for name, lr in gamma.items()}
    path = gt.solve(game, outer, optimizer, steps=steps, **settings)
    return torch.cat([path["x"], path["y"]], dim=1)


def iterated(step, steps=12):
    z = torch.tensor(START["x"] + START["y"], dtype=torch.float64)
    path = [z]
    for k in range(steps):
        path.append(step(path[-1], k, z))
    return torch.stack(path)


def anchored(z, k, start):
    pulled = z + (start - z) / (k + 2)
    return pulled - 0.05 * field(pulled - 0.05 * field(z))


def fast(rho):
    def step(z, k, start):
        b = 1 / (k + 1)
        w = z + b * (start - z) - (1 - b) * (0.05 + 2 * rho) * field(z)
        return z + b * (start - z) - 0.05 * field(w) - (1 - b) * 2 * rho * field(z)

    return step


def random_midpoint(relaxation, antithetic):
    def step(z, k, start):
        source = generator(0, "midpoint", k * (3 if antithetic else 2))
        u = torch.rand((), generator=source, dtype=torch.float64)
        gradients = [field(z - 2 * v * 0.05 * field(z)) for v in ((u, 1 - u) if antithetic else (u,))]
        return z - relaxation * 0.05 * sum(gradients) / len(gradients)

    return step


def corrected(inner_steps, relaxation, rho, gamma=(0.05, 0.05, 0.05)):
    metric = torch.tensor(gamma, dtype=torch.float64)

    def step(z, k, start):
        w = z
        for _ in range(inner_steps):
            w = z - metric * field(w)
        v = field(w)
        distance = (v @ (z - w) + rho * v @ v) / (v @ (metric * v))
        return z - relaxation * max(distance, 0) * metric * v

    return step


@pytest.mark.parametrize(
    ("outer", "step"),
    [
        ("anchored_extragradient", anchored),
        ("fast_extragradient", fast(0.0)),
        ({"name": "fast_extragradient", "comonotonicity": -0.02}, fast(-0.02)),
        ({"name": "fast_extragradient", "comonotonicity": 0.03}, fast(0.03)),
        ("rampage", random_midpoint(1.0, False)),
        ({"name": "rampage", "antithetic": True, "relaxation": 0.7}, random_midpoint(0.7, True)),
        ({"name": "corrected_proximal_point", "inner_steps": 1}, corrected(1, 1.0, 0.0)),
        (
            {"name": "corrected_proximal_point", "inner_steps": 4, "relaxation": 1.3, "comonotonicity": -0.01},
            corrected(4, 1.3, -0.01),
        ),
    ],
    ids=lambda case: case if isinstance(case, str) else None,
)
def test_is_its_definition(outer, step):
    torch.testing.assert_close(solved(outer), iterated(step), rtol=1e-12, atol=1e-14)


def test_the_projection_takes_learning_rates_as_a_metric():
    path = solved({"name": "corrected_proximal_point", "comonotonicity": -0.01}, {"x": 0.05, "y": 0.02})
    expected = iterated(corrected(3, 1.0, -0.01, (0.05, 0.05, 0.02)))
    torch.testing.assert_close(path, expected, rtol=1e-12, atol=1e-14)


class Grouped(gt.Game):
    """The same field for one player of two parameters, which may have learning rates of their own."""

    def __init__(self):
        parts = {name: torch.tensor(at, dtype=torch.float64) for name, at in START.items()}
        super().__init__([Player("z", torch.nn.ParameterDict(parts))])

    def objective(self, player, batch):
        z = torch.cat(self.players[player].parameters)
        return gt.Objective(z @ field(z.detach()))


def test_the_projection_takes_the_learning_rates_of_parameter_groups_as_a_metric():
    game = Grouped()
    groups = [{"params": [p], "lr": lr} for p, lr in zip(game.players["z"].parameters, (0.05, 0.02), strict=True)]
    learner = Learner(game.players["z"], torch.optim.SGD(groups))
    moved, loop = Field(Evaluator(game, lambda draw, step: None), [learner]), CorrectedProximalPoint()
    for _ in range(12):
        loop.step(moved)
    expected = iterated(corrected(3, 1.0, 0.0, (0.05, 0.05, 0.02)))[-1]
    torch.testing.assert_close(torch.cat(learner.parameters).detach(), expected, rtol=1e-12, atol=1e-14)


def test_one_inner_step_is_adaptive_eg_plus_also_with_a_constraint():
    constraint = {"joint": {"name": "l2_ball", "radius": 0.6}}
    own = {"name": "corrected_proximal_point", "inner_steps": 1, "comonotonicity": -0.495 * 0.05}
    other = {"name": "ceg_plus", "adaptive": True, "relaxation": 1.0}
    paths = [solved(outer, constraint=constraint) for outer in (own, other)]
    assert not torch.allclose(paths[0], solved(own))
    torch.testing.assert_close(*paths, rtol=1e-10, atol=1e-12)


def rate(outer, gamma, rho, steps):
    """``||F z_k||^2`` on a game of many speeds with L = 1, whose start is at the distance 1 from the solution."""
    game, speed = many_scales(rho, 30)
    path = gt.solve(game, outer, {"name": "sgd", "lr": gamma}, steps=steps)
    return (speed**2 * (path["x"] ** 2 + path["y"] ** 2)).sum(1).numpy()


def test_the_fast_extragradient_stays_below_its_theorem_and_falls_as_one_over_k_squared():
    rho = -0.3
    values = rate({"name": "fast_extragradient", "comonotonicity": rho}, 1.0, rho, 250)
    k = np.arange(1, len(values))
    assert (values[1:] <= 4 / ((1 + 2 * rho) * k) ** 2).all()
    assert slope(values, 20) == pytest.approx(-2, abs=0.25)


def test_the_anchored_extragradient_stays_below_its_theorem_and_falls_as_one_over_k_squared():
    values = rate("anchored_extragradient", 1 / 8, 0.0, 250)
    assert (values <= 260 / (np.arange(len(values)) + 1) ** 2).all()
    assert slope(values, 100) == pytest.approx(-2, abs=0.25)
    assert values[-1] < 0.1 * rate("extragradient", 1 / 8, 0.0, 250)[-1]


def test_the_bound_of_the_fast_extragradient_is_attained_on_the_bilinear_game():
    game = Bilinear(start=(1.0, 0.0))
    path = gt.solve(game, "fast_extragradient", {"name": "sgd", "lr": 1.0}, steps=22)
    for i in range(5):
        assert path["x"][4 * i + 2].item() == pytest.approx(0, abs=1e-12)
        assert path["y"][4 * i + 2].item() == pytest.approx(1 / (2 * i + 1), rel=1e-12)


def test_the_correction_comes_nearer_with_inner_steps_with_which_rapp_diverges():
    game = Quadratic(1.0, -0.6)
    corrected, rapp = (
        game.distances(gt.solve(game, outer, {"name": "sgd", "lr": 0.8}, steps=40))
        for outer in (
            {"name": "corrected_proximal_point", "inner_steps": 7, "comonotonicity": -0.6},
            {"name": "rapp", "inner_steps": 8, "relaxation": 0.4},  # at the same cost
        )
    )
    assert (corrected.diff() < 0).all() and corrected[-1] < 0.9 * corrected[0]
    assert rapp[-1] > 3 * rapp[0]


@pytest.mark.parametrize("name", ["anchored_extragradient", "fast_extragradient", "corrected_proximal_point"])
def test_optimizers_with_state_are_refused(name):
    for optimizer in ({"name": "adam", "lr": 0.1}, {"name": "sgd", "lr": 0.1, "momentum": 0.9}):
        with pytest.raises(
            UserError, match=rf"^player x: {name} .* would move its state .*; use sgd without momentum$"
        ):
            gt.solve(Bilinear(), name, optimizer, steps=1)


@pytest.mark.parametrize(
    ("outer", "message"),
    [
        (
            {"name": "fast_extragradient", "comonotonicity": -0.05},
            "outer: comonotonicity: expected more than -0.5 times the learning rate of player x, which is 0.1, got",
        ),
        (
            {"name": "corrected_proximal_point", "comonotonicity": -0.1},
            "outer: comonotonicity: expected more than -1 times the learning rate of player x, which is 0.1, got -0.1",
        ),
    ],
)
def test_a_comonotonicity_that_the_learning_rate_does_not_reach_is_refused(outer, message):
    with pytest.raises(UserError) as error:
        gt.solve(Bilinear(), outer, {"name": "sgd", "lr": 0.1}, steps=1)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "outer",
    [
        {"name": "fast_extragradient"},
        {"name": "fast_extragradient", "comonotonicity": 0.03},
        {"name": "corrected_proximal_point", "comonotonicity": -0.01},
    ],
)
def test_a_player_with_the_learning_rate_0_stays_where_it_is(outer):
    path = solved(outer, {"x": 0.05, "y": 0.0}, steps=4)
    assert (path[:, 2] == 0.5).all()
    assert (path[-1, :2] != path[0, :2]).all()


@pytest.mark.parametrize(
    "name", ["anchored_extragradient", "fast_extragradient", "rampage", "corrected_proximal_point"]
)
def test_alternation_is_refused(name):
    with pytest.raises(UserError, match=rf"^outer: {name} moves all players simultaneously; leave order out$"):
        gt.solve(Bilinear(), name, order="alternating", steps=1)
