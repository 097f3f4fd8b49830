"""Extragradient and its kin over Adam, against the algorithms written out with numpy."""

import numpy as np
import pytest
import torch

import gantrain as gt

LR, BETAS, EPS = 0.05, (0.5, 0.9), 1e-8
ADAM = {"name": "adam", "lr": LR, "betas": list(BETAS)}


def f(x, y):
    return (x * y).sum() + 0.5 * (x**3).sum() - 0.3 * (y**2).sum() + x.sin().sum()


def field(x, y):
    return y + 1.5 * x**2 + np.cos(x), -x + 0.6 * y


class Adam:
    """Kingma and Ba, algorithm 1."""

    def __init__(self):
        self.m = self.v = 0.0
        self.t = 0

    def step(self, point, gradient):
        self.t += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient**2
        corrected = self.m / (1 - BETAS[0] ** self.t), self.v / (1 - BETAS[1] ** self.t)
        return point - LR * corrected[0] / (np.sqrt(corrected[1]) + EPS)


def start():
    return np.array([0.3, -0.2]), np.array([0.1, 0.4])


def game():
    x, y = (torch.from_numpy(v) for v in start())
    return gt.games.ZeroSum(f, x=x, y=y)


def test_extragradient_over_adam_is_extra_adam():
    """ExtraAdam: one Adam state, advanced by the extrapolation and by the update, both from the same point."""
    x, y = start()
    adam_x, adam_y = Adam(), Adam()
    expected = [x]
    for _ in range(30):
        fx, fy = field(x, y)
        wx, wy = adam_x.step(x, fx), adam_y.step(y, fy)
        fx, fy = field(wx, wy)
        x, y = adam_x.step(x, fx), adam_y.step(y, fy)
        expected.append(x)
    path = gt.solve(game(), outer="extragradient", optimizer=ADAM, steps=30)
    np.testing.assert_allclose(path["x"].numpy(), np.stack(expected), rtol=0, atol=1e-10)


def test_alternating_extragradient_over_adam():
    x, y = start()
    adam_x, adam_y = Adam(), Adam()
    for _ in range(20):
        ax, ay = x, y
        for _ in range(2):
            x = adam_x.step(ax, field(x, y)[0])
            y = adam_y.step(ay, field(x, y)[1])
    path = gt.solve(game(), outer="extragradient", optimizer=ADAM, order="alternating", steps=20)
    np.testing.assert_allclose(path["y"][-1].numpy(), y, rtol=0, atol=1e-10)


def test_optimistic_over_adam_extrapolates_along_the_last_gradient():
    x, y = start()
    adam_x, adam_y = Adam(), Adam()
    past = None
    for _ in range(20):
        wx, wy = (x, y) if past is None else (adam_x.step(x, past[0]), adam_y.step(y, past[1]))
        past = field(wx, wy)
        x, y = adam_x.step(x, past[0]), adam_y.step(y, past[1])
    path = gt.solve(game(), outer="optimistic", optimizer=ADAM, steps=20)
    np.testing.assert_allclose(path["x"][-1].numpy(), x, rtol=0, atol=1e-10)
    assert path.evaluations == {"x": 20, "y": 20}


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_optimistic_critics_extrapolate_along_each_of_their_last_gradients(order):
    x, y = start()
    adam_x, adam_y = Adam(), Adam()
    past_x, past_y = [], None
    for _ in range(20):
        wx, wy = x, y if past_y is None else adam_y.step(y, past_y)
        for gradient in past_x:
            wx = adam_x.step(wx, gradient)
        past_x = []
        for i in range(3):
            seen = wx
            past_x.append(field(wx, wy)[0])
            wx = adam_x.step(wx if i else x, past_x[-1])
        past_y = field(wx if order == "alternating" else seen, wy)[1]
        x, y = wx, adam_y.step(y, past_y)
    outer = {"name": "optimistic", "critic_steps": 3}
    path = gt.solve(game(), outer=outer, optimizer=ADAM, order=order, steps=20)
    np.testing.assert_allclose(path["x"][-1].numpy(), x, rtol=0, atol=1e-10)
    np.testing.assert_allclose(path["y"][-1].numpy(), y, rtol=0, atol=1e-10)
    assert path.evaluations == {"x": 60, "y": 20}


def test_every_player_has_its_own_optimizer_and_scheduler():
    path = gt.solve(
        game(),
        optimizer={"x": {"name": "sgd", "lr": 0.1}, "y": {"name": "sgd", "lr": 0.01}},
        scheduler={"x": {"name": "exponentiallr", "gamma": 0.5}},
        steps=2,
    )
    x, y = start()
    for t in range(2):
        fx, fy = field(x, y)
        x, y = x - 0.1 * 0.5**t * fx, y - 0.01 * fy
    np.testing.assert_allclose(path["x"][-1].numpy(), x, rtol=1e-13)
    np.testing.assert_allclose(path["y"][-1].numpy(), y, rtol=1e-13)
