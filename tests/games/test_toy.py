"""The toy games are what their docstrings say: fields, solutions, constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrain.errors import UserError
from gantrain.games.toy import Bilinear, Forsaken, GlobalForsaken, PolarGame, Quadratic


def phi_forsaken(z):
    return z**2 / 4 - z**4 / 2 + z**6 / 6


def phi_global(z):
    return z**2 / 3 - z**4 / 3 + 2 * z**6 / 21


A, B = 0.8, -0.6  # a^2 + b^2 = 1: L = 1, rho = -0.6

OBJECTIVES = {
    "bilinear": (Bilinear(coupling=2.0, centre=0.9), lambda x, y: 2 * (x - 0.9) * (y - 0.9)),
    "quadratic": (Quadratic(lipschitz=1.0, rho=-0.6), lambda x, y: A * x * y + B / 2 * x**2 - B / 2 * y**2),
    "forsaken": (Forsaken(), lambda x, y: x * (y - 0.45) + phi_forsaken(x) - phi_forsaken(y)),
    "global_forsaken": (GlobalForsaken(), lambda x, y: x * y + phi_global(x) - phi_global(y)),
}
GAMES = {name: game for name, (game, _) in OBJECTIVES.items()} | {"polar": PolarGame()}


def grid(half, n=201):
    side = torch.linspace(-half, half, n, dtype=torch.float64)
    return torch.meshgrid(side, side, indexing="ij")


def jacobians(game, x, y):
    """``(n, 2, 2)``: the derivative of F at each point, by autograd."""
    z = torch.stack([x.flatten(), y.flatten()], 1).requires_grad_()
    rows = [torch.autograd.grad(f.sum(), z, retain_graph=True)[0] for f in game.field(z[:, 0], z[:, 1])]
    return torch.stack(rows, 1).numpy()


def lipschitz(game, x, y):
    return np.linalg.norm(jacobians(game, x, y), ord=2, axis=(1, 2)).max()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_field_is_the_gradient_of_the_stated_objective(name):
    game, f = OBJECTIVES[name]
    x, y = (v.clone().requires_grad_() for v in grid(1.5, 11))
    gx, gy = torch.autograd.grad(f(x, y).sum(), (x, y))
    fx, fy = game.field(x.detach(), y.detach())
    torch.testing.assert_close(fx, gx)
    torch.testing.assert_close(fy, -gy)


def test_the_polar_game_in_polar_coordinates():
    game = PolarGame(a=0.7)
    r, angle = torch.tensor([0.2, 0.75, 0.9, 1.0, 1.1], dtype=torch.float64), 0.3
    x, y = r * np.cos(angle), r * np.sin(angle)
    fx, fy = game.field(x, y)
    radial, turning = (x * fx + y * fy) / r, (x * fy - y * fx) / r
    torch.testing.assert_close(radial, 0.7 * (r**2 - 1) * (16 * r**2 - 9) / 16 * r)
    torch.testing.assert_close(turning, r)
    assert radial[1].abs() < 1e-12 and radial[3].abs() < 1e-12  # the cycles of radius 3/4 and 1


@pytest.mark.parametrize("name", GAMES)
def test_the_solution_is_a_zero_of_the_field(name):
    game = GAMES[name]
    fx, fy = game.field(*(torch.tensor(v, dtype=torch.float64) for v in game.solution))
    assert max(abs(fx), abs(fy)) < 1e-6


@pytest.mark.parametrize(
    ("game", "half", "stated"),
    [
        (Bilinear(coupling=2.5), 1.0, 2.5),
        (Quadratic(lipschitz=3.0, rho=-1 / 9), 1.0, 3.0),
        (Forsaken(), 1.5, 12.4026),
        (PolarGame(a=1.0), 1.1, 18.548),
        (PolarGame(a=0.75), 1.1, 13.938),
        (PolarGame(a=1 / 3), 1.1, 6.306),
    ],
)
def test_the_lipschitz_constant_on_the_square(game, half, stated):
    assert lipschitz(game, *grid(half)) == pytest.approx(stated, rel=1e-4)


def test_the_lipschitz_constant_of_global_forsaken_on_the_ball():
    x, y = grid(4 / 3, 401)
    inside = x**2 + y**2 <= 16 / 9
    assert lipschitz(GlobalForsaken(), x[inside], y[inside]) == pytest.approx(2.868, rel=1e-3)


@pytest.mark.parametrize(
    ("game", "inside", "stated"),
    [
        (Quadratic(lipschitz=2.0, rho=-0.3), lambda x, y: x**2 + y**2 > 0, -0.3),
        (Bilinear(), lambda x, y: x**2 + y**2 > 0, 0.0),
        (GlobalForsaken(), lambda x, y: (x**2 + y**2 <= 16 / 9) & (x**2 + y**2 > 1e-4), -0.1197),
        (PolarGame(a=1.0), lambda x, y: x**2 + y**2 > 1e-4, -0.0477),
        (PolarGame(a=0.75), lambda x, y: x**2 + y**2 > 1e-4, -0.0358),
        (PolarGame(a=1 / 3), lambda x, y: x**2 + y**2 > 1e-4, -0.0159),
    ],
)
def test_rho_is_the_least_of_the_weak_minty_ratio_around_the_solution(game, inside, stated):
    x, y = grid(game.domain, 401)
    x, y = x[inside(x, y)], y[inside(x, y)]
    fx, fy = game.field(x, y)
    ratio = (fx * (x - game.solution[0]) + fy * (y - game.solution[1])) / (fx**2 + fy**2)
    assert ratio.min().item() == pytest.approx(stated, abs=2e-4)


def test_the_quadratic_game_has_its_constants_everywhere():
    game = Quadratic(lipschitz=2.0, rho=-0.3)
    (jacobian,) = jacobians(game, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    for v in np.random.default_rng(0).normal(size=(5, 2)):
        assert np.linalg.norm(jacobian @ v) == pytest.approx(2.0 * np.linalg.norm(v))
        assert v @ jacobian @ v == pytest.approx(-0.3 * np.linalg.norm(jacobian @ v) ** 2)


def test_a_quadratic_game_that_does_not_exist():
    with pytest.raises(UserError, match=r"quadratic: \|rho\| must be at most 1/lipschitz = 0.5, got -0.6"):
        Quadratic(lipschitz=2.0, rho=-0.6)


def test_where_players_begin():
    game = Bilinear(start=(0.25, -3))
    assert [p.module.value.item() for p in game.players.values()] == [0.25, -3.0]
    assert all(p.module.value.dtype == torch.float64 for p in game.players.values())
