"""The variants of CEG+ against the method written out for vectors."""

from __future__ import annotations

import pytest
import torch

import gantrain as gt
from gantrain.errors import UserError
from gantrain.games.toy import Forsaken, GlobalForsaken
from gantrain.outer import CEGPlus


def solved(game, lr, steps=30, **settings):
    constraint = {"joint": {"name": "l2_ball", "radius": 4 / 3}}
    path = gt.solve(
        game, {"name": "ceg_plus", **settings}, {"name": "sgd", "lr": lr}, constraint=constraint, steps=steps
    )
    return torch.stack([path["x"], path["y"]], 1), path.evaluations["x"]


def by_hand(game, lr, steps, relaxation, adaptive, curvature):
    """Iterates and the number of evaluations of F."""

    def field(z):
        return torch.stack(game.field(*z))

    def project(z):
        return z * min(1.0, 4 / 3 / z.norm())

    z = torch.stack(game.strategies()).detach()
    path, evaluations = [z], 0
    for _ in range(steps):
        gamma = lr
        evaluations += 1
        while True:
            w = project(z - gamma * field(z))
            evaluations += 1
            if not curvature or gamma * (field(w) - field(z)).norm() <= 0.99 * (w - z).norm():
                break
            gamma /= 2
        d = (w - gamma * field(w)) - (z - gamma * field(z))
        alpha = (w - z) @ d / (d @ d) - 0.99 / 2 if adaptive or curvature else 1.0
        z = z + relaxation * alpha * d
        path.append(z)
    return torch.stack(path), evaluations


@pytest.mark.parametrize(
    ("game", "lr", "settings"),
    [
        (GlobalForsaken(), 0.3, {"relaxation": 0.5}),
        (GlobalForsaken(), 0.3, {"relaxation": 1.0, "adaptive": True}),
        (GlobalForsaken(), 2.0, {"relaxation": 1.0, "curvature": True}),
        (Forsaken(), 1.0, {"relaxation": 0.9, "curvature": True}),
    ],
)
def test_follows_the_paper(game, lr, settings):
    variant = {"adaptive": False, "curvature": False} | settings
    expected, evaluations = by_hand(game, lr, 30, **variant)
    path, counted = solved(game, lr, **settings)
    torch.testing.assert_close(path, expected, rtol=0, atol=1e-11)
    assert counted == evaluations


def test_the_line_search_converges_where_the_step_size_is_far_too_large():
    path, evaluations = solved(Forsaken(), 2.0, steps=300, relaxation=1.0, curvature=True)
    assert (path[-1] - torch.tensor(Forsaken.solution).double()).norm() < 1e-5
    assert evaluations > 2 * 300
    fixed, _ = solved(Forsaken(), 2.0, steps=200, relaxation=1.0)
    assert not (fixed[-1] - torch.tensor(Forsaken.solution).double()).norm() < 0.1


def test_the_line_search_leaves_the_learning_rate_as_it_was():
    from gantrain.testing.outer import pair_field

    field = pair_field(torch.optim.SGD, lr=8.0)
    CEGPlus(curvature=True).step(field)
    assert [g["lr"] for learner in field.learners for g in learner.optimizer.param_groups] == [8.0, 8.0]


def test_what_the_line_search_refuses():
    with pytest.raises(UserError, match=r"^player x: ceg_plus with curvature .* Adam would move its state .* use sgd"):
        gt.solve(Forsaken(), {"name": "ceg_plus", "curvature": True}, {"name": "adam"}, steps=1)
    with pytest.raises(UserError, match=r"^outer: ceg_plus with curvature compares gradients of one batch"):
        CEGPlus(curvature=True, samples="fresh")
