"""The toy games are what their docstrings say: fields, solutions, constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrain.errors import UserError
from gantrain.games.toy import (
    Bilinear,
    DiracGAN,
    Forsaken,
    GlobalForsaken,
    LowerBound,
    PolarGame,
    Quadratic,
    RandomQuadratic,
)
from gantrain.solver import solve


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


def test_the_lower_bound_is_tight():
    game = LowerBound()
    assert (game.a, game.b) == pytest.approx((np.sqrt(8), -1.0))
    for relaxation, converges in ((0.33, True), (0.34, False)):
        outer = {"name": "extragradient_plus", "relaxation": relaxation}
        path = solve(game, outer, {"name": "sgd", "lr": 1 / 3}, steps=300)
        distances = game.distances(path)
        assert (distances[-1] < distances[0]).item() is converges


def softplus(t):
    return torch.log1p(torch.exp(t))


@pytest.mark.parametrize("r1", [0.0, 0.7])
@pytest.mark.parametrize("loss", ["wasserstein", "non_saturating"])
def test_the_dirac_gan_is_a_gan_whose_samples_are_one_point(loss, r1):
    x, y = (v.clone().requires_grad_() for v in grid(1.5, 11))
    at_data = torch.zeros_like(x, requires_grad=True)
    real, fake = y * at_data, y * x
    (slope,) = torch.autograd.grad(real.sum(), at_data, create_graph=True)
    if loss == "wasserstein":
        discriminator, generator = fake - real, -fake
    else:
        discriminator, generator = softplus(fake) + softplus(-real), softplus(-fake)
    discriminator = discriminator + r1 / 2 * slope**2
    (fx,) = torch.autograd.grad(generator.sum(), x, retain_graph=True)
    (fy,) = torch.autograd.grad(discriminator.sum(), y)
    found = DiracGAN(loss, r1).field(x.detach(), y.detach())
    torch.testing.assert_close(found, (fx, fy))


@pytest.mark.parametrize(
    ("game", "stated"),
    [
        (DiracGAN("wasserstein"), 1.0),
        (DiracGAN("wasserstein", r1=0.5), (0.5 + np.sqrt(4.25)) / 2),
        (DiracGAN(), 1.136),
        (DiracGAN(r1=1.0), 1.716),
        (LowerBound(), 3.0),
    ],
)
def test_the_lipschitz_constants_of_the_other_games(game, stated):
    assert lipschitz(game, *grid(1.5)) == pytest.approx(stated, rel=1e-3)


@pytest.mark.parametrize("game", [DiracGAN("wasserstein"), DiracGAN("wasserstein", r1=1), DiracGAN(), DiracGAN(r1=1)])
def test_the_dirac_gan_is_weak_minty_with_rho_zero(game):
    x, y = grid(1.5, 202)
    fx, fy = game.field(x, y)
    ratio = (fx * x + fy * y) / (fx**2 + fy**2)
    assert -1e-12 < ratio.min().item() < 1e-3


def test_r1_makes_the_dirac_gan_converge():
    ends = {}
    for game in (DiracGAN(r1=0.0), DiracGAN(r1=0.3), DiracGAN("wasserstein"), DiracGAN("wasserstein", r1=0.3)):
        path = solve(game, "gda", {"name": "sgd", "lr": 0.2}, steps=300)
        ends[game.loss, game.r1] = game.distances(path)[-1].item()
    assert ends["non_saturating", 0.3] < 1e-2 and ends["wasserstein", 0.3] < 0.1
    assert ends["wasserstein", 0.0] > 100 and 0.1 < ends["non_saturating", 0.0] < 1.5


@pytest.mark.parametrize(("players", "dimension", "mu"), [(2, 1, 0.3), (2, 1, -0.4), (3, 2, 0.0), (5, 4, -0.05)])
def test_a_random_quadratic_game_has_the_prescribed_constants(players, dimension, mu):
    game = RandomQuadratic(players, dimension, lipschitz=2.0, monotonicity=mu, seed=4)
    m = game.matrix.numpy()
    assert np.linalg.norm(m, 2) == pytest.approx(2.0)
    assert np.linalg.eigvalsh(m + m.T)[0] / 2 == pytest.approx(mu, abs=1e-12)
    differences = np.random.default_rng(0).normal(size=(20000, len(m))) @ np.linalg.inv(m).T
    values = differences @ m.T
    ratios = (values * differences).sum(1) / (values**2).sum(1)
    assert ratios.min() >= game.rho - 1e-12 * abs(game.rho)
    inverse = np.linalg.inv(m)
    worst = np.linalg.eigh(inverse + inverse.T)[1][:, 0]
    assert worst @ inverse @ worst == pytest.approx(game.rho, abs=1e-12)
    assert np.linalg.norm(np.concatenate([p.module.value.detach() for p in game.players.values()])) == pytest.approx(1)


def test_the_players_of_a_random_quadratic_game_have_objectives():
    game = RandomQuadratic(3, 2, seed=1)
    strategies = [torch.randn(2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    field = game.field(*strategies)
    for i, (own, direction) in enumerate(zip(strategies, field, strict=True)):
        blocks = game.matrix[2 * i : 2 * i + 2].split(2, dim=1)
        f = own @ blocks[i] @ own / 2 + sum(own @ blocks[j] @ strategies[j].detach() for j in range(3) if j != i)
        torch.testing.assert_close(torch.autograd.grad(f, own)[0], direction.detach())


def test_random_quadratic_games_differ_by_seed_alone():
    assert torch.equal(RandomQuadratic(seed=3).matrix, RandomQuadratic(seed=3).matrix)
    assert not torch.equal(RandomQuadratic(seed=3).matrix, RandomQuadratic(seed=4).matrix)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"players": 1}, "players: expected at least 2, got 1"),
        ({"monotonicity": -3.0}, "monotonicity: expected at most lipschitz = 1 in size, got -3"),
    ],
)
def test_a_random_quadratic_game_that_does_not_exist(arguments, message):
    with pytest.raises(UserError, match=message):
        RandomQuadratic(**arguments)
