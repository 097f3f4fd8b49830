"""The iteration matrix is the loop, to the last digits, and its spectral radius is the rate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantrain.analysis.convergence_map import quadratic
from gantrain.analysis.iteration_matrix import contraction, iteration_matrix, second_moment_matrix, spectral_radius
from gantrain.config.parts import build
from gantrain.errors import UserError
from gantrain.games import VectorField
from gantrain.games.toy import Quadratic
from gantrain.solver import solve

SIZES = (2, 1, 3)
GAMMA = 0.2
STEPS = 20

LOOPS = [
    {"name": "gda"},
    {"name": "extragradient"},
    {"name": "extragradient_plus", "relaxation": 0.3},
    {"name": "rapp", "inner_steps": 7, "relaxation": 0.8},
    {"name": "rapp", "inner_steps": 1, "relaxation": 0.4},
    {"name": "ceg_plus", "relaxation": 0.3},
    {"name": "optimistic"},
    {"name": "rampage", "antithetic": True, "relaxation": 0.7},
    {"name": "lookahead", "inner_steps": 3, "relaxation": 0.6},
    {"name": "lookahead", "inner_steps": 4, "relaxation": 0.6, "base": {"name": "ceg_plus", "relaxation": 0.2}},
    {"name": "lookahead", "inner_steps": 3, "relaxation": 0.6, "base": "optimistic"},
    {"name": "lookahead", "inner_steps": 2, "base": {"name": "lookahead", "inner_steps": 3, "base": "extragradient"}},
    {"name": "gda", "critic_steps": 3},
    {"name": "extragradient", "critic_steps": 2},
    {"name": "rapp", "inner_steps": 3, "critic_steps": 4},
    {"name": "optimistic", "critic_steps": 3},
    {"name": "lookahead", "inner_steps": 3, "base": {"name": "extragradient_plus", "critic_steps": 2}},
]


def name(outer):
    base = outer.get("base")
    inner = base if isinstance(base, str) else name(base) if base else ""
    critics = f" critics {outer['critic_steps']}" if "critic_steps" in outer else ""
    return f"{outer['name']}{critics} {inner}".strip()


def ran(matrix, start, outer, order, steps):
    m = torch.from_numpy(matrix)

    def field(*z):
        return (m @ torch.cat(z)).split(SIZES)

    parts = torch.from_numpy(start).split(SIZES)
    game = VectorField(field, {f"x{i}": part for i, part in enumerate(parts)})
    path = solve(game, outer, {"name": "sgd", "lr": GAMMA}, order, steps=steps)
    return torch.cat(list(path.values()), dim=1).numpy()


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("outer", LOOPS, ids=name)
def test_its_powers_are_the_iterates_and_its_radius_their_rate(outer, order):
    if order == "alternating" and ("ceg_plus" in name(outer) or outer["name"] == "rampage"):
        pytest.skip("defined for simultaneous moves only")
    rng = np.random.default_rng(5)
    matrix, start = rng.normal(size=(6, 6)) + np.eye(6), rng.normal(size=6)
    iteration = iteration_matrix(build("outer", outer), GAMMA * matrix, SIZES, order)
    state = np.concatenate([start, np.zeros(len(iteration) - 6)])
    path = ran(matrix, start, outer, order, STEPS)
    for point in path[:10]:
        np.testing.assert_allclose(point, state[:6], rtol=1e-10, atol=1e-12)
        state = iteration @ state
    # The component along a left eigenvector grows by the eigenvalue at each step; of all steps, that of the leading
    # one is what is left over. Lengths turn with the phase, so their growth is compared over many steps.
    values, vectors = np.linalg.eig(iteration.T)
    leading = np.argmax(np.abs(values))
    radius = spectral_radius(iteration)
    assert radius == pytest.approx(np.abs(values[leading]))
    if len(iteration) == 6:
        along = np.abs(path @ vectors[:, leading])
        assert (along[-1] / along[0]) ** (1 / STEPS) == pytest.approx(radius, rel=1e-8)


def test_stacks_of_matrices():
    fields = np.random.default_rng(0).normal(size=(4, 3, 2, 2))
    outer = build("outer", LOOPS[-1])
    stacked = iteration_matrix(outer, fields, (1, 1), "alternating")
    for i in np.ndindex(4, 3):
        np.testing.assert_allclose(stacked[i], iteration_matrix(outer, fields[i], (1, 1), "alternating"))
        assert spectral_radius(stacked)[i] == pytest.approx(np.abs(np.linalg.eigvals(stacked[i])).max())


def test_a_matrix_that_overflows_has_an_infinite_radius():
    outer = build("outer", {"name": "rapp", "inner_steps": 2000})
    assert spectral_radius(iteration_matrix(outer, 10 * np.eye(2))) == np.inf


def matrix_of_rampage(field, u, relaxation):
    gamma_m = GAMMA * field
    return np.eye(len(field)) - relaxation * gamma_m @ (np.eye(len(field)) - 2 * u * gamma_m)


RANDOM = [
    {"name": "rampage", "relaxation": 0.8},
    {"name": "lookahead", "inner_steps": 2, "relaxation": 0.6, "base": {"name": "rampage", "relaxation": 0.8}},
]


@pytest.mark.parametrize("outer", RANDOM, ids=name)
def test_the_second_moments_are_those_of_the_random_step(outer):
    field = np.random.default_rng(2).normal(size=(3, 3))
    # Gauss-Legendre quadrature integrates polynomials in u exactly.
    nodes, weights = np.polynomial.legendre.leggauss(4)
    nodes, weights = (nodes + 1) / 2, weights / 2
    steps = [(matrix_of_rampage(field, u, 0.8), w) for u, w in zip(nodes, weights, strict=True)]
    if outer["name"] == "lookahead":
        steps = [(0.4 * np.eye(3) + 0.6 * a @ b, v * w) for a, v in steps for b, w in steps]
    expected = sum(w * np.kron(step, step) for step, w in steps)
    found = second_moment_matrix(build("outer", outer), GAMMA * np.stack([field, 2 * field]))
    np.testing.assert_allclose(found[0], expected, rtol=1e-12, atol=1e-14)
    assert spectral_radius(found)[1] == pytest.approx(contraction(build("outer", outer), 2 * GAMMA * field) ** 2)


def test_the_second_moments_of_a_loop_that_is_not_random_are_those_of_its_matrix():
    field, outer = GAMMA * np.random.default_rng(3).normal(size=(3, 3)), build("outer", "extragradient")
    matrix = iteration_matrix(outer, field)
    np.testing.assert_allclose(second_moment_matrix(outer, field), np.kron(matrix, matrix))
    assert contraction(outer, field) == pytest.approx(spectral_radius(matrix))


def test_the_steps_of_rampage_have_the_second_moments():
    """On a rotation ``||z_{k+1}||^2 / ||z_k||^2`` depends on u alone, and its mean is the radius."""
    game = Quadratic(1.0, 0.0)
    path = solve(game, "rampage", {"name": "sgd", "lr": 0.6}, steps=400)
    squared = (path["x"] ** 2 + path["y"] ** 2).numpy()
    ratios = squared[1:] / squared[:-1]
    expected = spectral_radius(second_moment_matrix(build("outer", "rampage"), 0.6 * quadratic(np.zeros(()))))
    assert ratios.mean() == pytest.approx(expected, abs=3 * ratios.std() / np.sqrt(len(ratios)))
    assert ratios.std() > 0.05


def test_rampage_ends_at_its_boundary():
    """``E|1 - i g - 2 u g^2|^2 = 1 - g^2 + 4 g^4 / 3`` on a rotation with ``g = gamma L``."""
    gammas = np.sqrt(3) / 2 * np.array([0.99, 1, 1.01])
    rates = contraction(build("outer", "rampage"), gammas[:, None, None] * quadratic(np.zeros(())))
    assert rates[0] < 1 < rates[2] and rates[1] == pytest.approx(1)


def test_what_is_random_or_new_in_each_step_has_no_iteration_matrix():
    for outer in ("anchored_extragradient", "fast_extragradient"):
        with pytest.raises(UserError, match="takes another step each time, and has no iteration matrix"):
            iteration_matrix(build("outer", outer), np.eye(2))
    with pytest.raises(UserError, match="RAMPAGE as configured is not linear or is random"):
        iteration_matrix(build("outer", "rampage"), np.eye(2))


@pytest.mark.parametrize("outer", [{"name": "ceg_plus", "adaptive": True}, {"name": "corrected_proximal_point"}])
def test_a_loop_without_a_matrix(outer):
    with pytest.raises(UserError, match="as configured is not linear or is random, so that it has no iteration matrix"):
        iteration_matrix(build("outer", outer), np.eye(2))


@pytest.mark.parametrize("outer", [{"name": "gda", "order": "alternating"}, {"name": "rapp", "critic_steps": 2}])
def test_who_moves_when_depends_on_the_sizes(outer):
    with pytest.raises(UserError, match="^sizes: expected each player's number of entries"):
        iteration_matrix(build("outer", outer), np.eye(2))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_on_a_bilinear_game_critics_that_extrapolate_n_times_go_n_times_as_far(n):
    """With ``F = (a g, -a c)`` alternating extragradient goes ``c' = c - n a g~`` and ``g' = g + a c'``, where
    ``c~ = c - n a g`` and ``g~ = g + a c~``."""
    a = 0.3
    g_extrapolated = np.array([a, 1 - n * a * a])
    c = np.array([1.0, 0.0]) - n * a * g_extrapolated
    expected = np.stack([c, np.array([0.0, 1.0]) + a * c])
    loop = build("outer", {"name": "extragradient", "order": "alternating", "critic_steps": n})
    found = iteration_matrix(loop, a * np.array([[0.0, 1.0], [-1.0, 0.0]]), (1, 1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)
