"""``solve`` against the methods' textbook updates, written out by hand on a nonlinear game of vectors."""

from __future__ import annotations

import pytest
import torch

import gantrain as gt

A = torch.tensor([[1.0, -0.4], [0.3, 0.8], [-0.2, 0.5]], dtype=torch.float64)
X = torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64)
Y = torch.tensor([-0.7, 0.4], dtype=torch.float64)
LR = {"x": 0.15, "y": 0.1}
STEPS = 10


def f(x, y):
    return x @ A @ y + torch.sin(x).sum() / 2 - (y**4).sum() / 4


def gradients(z):
    """The directions that the players descend, from derivatives taken by hand."""
    return {"x": A @ z["y"] + torch.cos(z["x"]) / 2, "y": -(A.T @ z["x"] - z["y"] ** 3)}


def moved(anchor, here, order, critic_steps=1):
    """One move of both players from ``anchor`` along the gradients at ``here``; alternating, y sees x's move.

    With critic steps x makes several, the first from ``anchor``, and y moves with the last of them.
    """
    x, y = here["x"], here["y"]
    for i in range(critic_steps):
        before = x
        x = (x if i else anchor["x"]) - LR["x"] * gradients({"x": x, "y": y})["x"]
    seen = {"x": x if order == "alternating" else before, "y": y}
    return {"x": x, "y": anchor["y"] - LR["y"] * gradients(seen)["y"]}


def between(z, w, relaxation):
    return {name: (1 - relaxation) * z[name] + relaxation * w[name] for name in z}


def from_anchor(inner_steps, relaxation, critic_steps=1):
    def step(z, order):
        w = z
        for _ in range(inner_steps):
            w = moved(z, w, order, critic_steps)
        return between(z, w, relaxation)

    return step


def walked(base, inner_steps, relaxation):
    def step(z, order):
        w = z
        for _ in range(inner_steps):
            w = base(w, order)
        return between(z, w, relaxation)

    return step


def gda(z, order):
    return moved(z, z, order)


def gda_critics(z, order):
    return moved(z, z, order, critic_steps=3)


METHODS = {
    "gda": ("gda", gda),
    "extragradient": ("extragradient", from_anchor(2, 1.0)),
    "extragradient_plus": ("extragradient_plus", from_anchor(2, 0.5)),
    "rapp 3": ({"name": "rapp", "inner_steps": 3, "relaxation": 0.9}, from_anchor(3, 0.9)),
    "rapp 20": ({"name": "rapp", "inner_steps": 20, "relaxation": 0.7}, from_anchor(20, 0.7)),
    "lookahead": ({"name": "lookahead", "inner_steps": 5, "relaxation": 0.5}, walked(gda, 5, 0.5)),
    "lookahead over extragradient": (
        {"name": "lookahead", "inner_steps": 5, "relaxation": 0.3, "base": {"name": "extragradient"}},
        walked(from_anchor(2, 1.0), 5, 0.3),
    ),
    "lookahead over lookahead": (
        {"name": "lookahead", "inner_steps": 2, "relaxation": 0.4, "base": {"name": "lookahead", "inner_steps": 3}},
        walked(walked(gda, 3, 0.5), 2, 0.4),
    ),
    "gda critics": ({"name": "gda", "critic_steps": 3}, gda_critics),
    "extragradient critics": ({"name": "extragradient", "critic_steps": 2}, from_anchor(2, 1.0, 2)),
    "extragradient_plus critics": ({"name": "extragradient_plus", "critic_steps": 3}, from_anchor(2, 0.5, 3)),
    "rapp critics": ({"name": "rapp", "inner_steps": 4, "critic_steps": 5}, from_anchor(4, 0.9, 5)),
    "lookahead over extragradient critics": (
        {"name": "lookahead", "inner_steps": 3, "base": {"name": "extragradient", "critic_steps": 2}},
        walked(from_anchor(2, 1.0, 2), 3, 0.5),
    ),
}


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("method", METHODS)
def test_solve_follows_the_textbook(method, order):
    outer, step = METHODS[method]
    path = gt.solve(
        gt.games.ZeroSum(f, x=X, y=Y),
        outer=outer,
        optimizer={name: {"name": "sgd", "lr": lr} for name, lr in LR.items()},
        order=order,
        steps=STEPS,
    )
    z = {"x": X, "y": Y}
    expected = [z]
    for _ in range(STEPS):
        z = step(z, order)
        expected.append(z)
    for name, start in (("x", X), ("y", Y)):
        assert path[name].shape == (STEPS + 1, *start.shape) and path[name].dtype == torch.float64
        torch.testing.assert_close(path[name], torch.stack([z[name] for z in expected]), rtol=0, atol=1e-13)


def test_a_loop_that_has_solved_a_game_solves_others_as_a_new_one_does():
    used = gt.outer.RAPP()
    for x, y in ((X, Y), (X[:2], Y), (X.float(), Y.float()), (Y, X)):
        game = gt.games.ZeroSum(lambda x, y: x.sum() * y.sum() + x.sin().sum() - y.square().sum(), x=x, y=y)
        paths = [gt.solve(game, outer=outer, steps=4) for outer in (used, gt.outer.RAPP())]
        for name, path in paths[0].items():
            assert torch.equal(path, paths[1][name]) and path.dtype == x.dtype
