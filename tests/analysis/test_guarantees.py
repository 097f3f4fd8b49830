"""The theorems' ranges: never beyond what contracts, and at their edges where theory says they are tight."""

from __future__ import annotations

import numpy as np
import pytest
from cases import few

from gantrain.analysis.convergence_map import quadratic
from gantrain.analysis.guarantees import convergence_guaranteed
from gantrain.analysis.iteration_matrix import iteration_matrix, spectral_radius
from gantrain.config.parts import build
from gantrain.games.toy import RandomQuadratic

LOOPS = {
    "gda": {"name": "gda"},
    "extragradient": {"name": "extragradient"},
    "relaxed gda": {"name": "rapp", "inner_steps": 1, "relaxation": 0.5},
    "eg+": {"name": "extragradient_plus", "relaxation": 0.4},
    "ceg+": {"name": "ceg_plus", "relaxation": 0.1},
    "rapp": {"name": "rapp", "inner_steps": 1000, "relaxation": 0.95},
    "la-gda": {"name": "lookahead", "inner_steps": 2, "relaxation": 0.02},
    "la-eg": {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5, "base": "extragradient"},
    "la-ceg+": {
        "name": "lookahead",
        "inner_steps": 4,
        "relaxation": 0.5,
        "base": {"name": "ceg_plus", "relaxation": 0.2},
    },
}


def radius(outer, rho, gamma):
    field = np.asarray(gamma)[..., None, None] * quadratic(np.asarray(rho, float))
    return spectral_radius(iteration_matrix(build("outer", outer), field))


def edge(outer, gamma, low=-0.99, high=0.5):
    """The least rho L from which on the loop contracts on the quadratic game, by bisection."""
    assert radius(outer, low, gamma) > 1 > radius(outer, high, gamma)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if radius(outer, middle, gamma) < 1 else (middle, high)
    return high


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_guaranteed_contracts_on_the_quadratic_game(name):
    rho, gamma = np.meshgrid(np.linspace(-0.999, 0.999, 90), np.linspace(0.013, 0.99, 40))
    promised = convergence_guaranteed(build("outer", LOOPS[name]), rho, gamma)
    contracts = radius(LOOPS[name], rho, gamma) < 1
    assert promised.any() and not promised.all()
    assert contracts[promised].all()


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_guaranteed_contracts_on_random_games(name):
    outer, seen = build("outer", LOOPS[name]), 0
    for seed in range(12):
        game = RandomQuadratic(3, 2, 1.0, (-0.03, -0.01, 0.1, 0.2)[seed % 4], seed)
        for gamma in (0.05, 0.3, 0.577, 0.9):
            if convergence_guaranteed(outer, game.rho, gamma):
                seen += 1
                assert spectral_radius(iteration_matrix(outer, gamma * game.matrix.numpy())) < 1
    assert seen >= 3


def test_rapp_with_many_inner_steps_reaches_minus_one_over_2l():
    assert edge({"name": "rapp", "inner_steps": 2000, "relaxation": 1.0}, gamma=0.997) == pytest.approx(-0.5, rel=0.01)


@pytest.mark.parametrize("relaxation", few([0.02, 0.5, 1.0, 1.5], 0.02))
def test_the_range_of_rapp_is_that_of_conic_nonexpansiveness(relaxation):
    """``lambda < 2 (1 + rho / gamma)`` is where it ends on the quadratic game: near -1/L for a small lambda."""
    outer = {"name": "rapp", "inner_steps": 2000, "relaxation": relaxation}
    bound = 0.997 * (relaxation / 2 - 1)
    assert edge(outer, gamma=0.997) == pytest.approx(bound, rel=0.01)
    rho = np.array([bound - 1e-9, bound + 1e-9])
    assert convergence_guaranteed(build("outer", outer), rho, 0.997).tolist() == [False, True]


def test_the_exact_resolvent_is_conically_nonexpansive():
    """``<z, v> >= (1 + rho / gamma) ||v||^2`` for ``v = z - J z``, as tight as the game's own cohypomonotonicity."""
    for seed in range(6):
        game = RandomQuadratic(3, 2, 1.0, (-0.3, -0.1, 0.1)[seed % 3], seed)
        gamma = 0.9
        m = game.matrix.numpy()
        v = np.eye(len(m)) - np.linalg.inv(np.eye(len(m)) + gamma * m)
        least = np.linalg.eigvalsh((np.linalg.inv(v) + np.linalg.inv(v).T) / 2).min()
        assert least == pytest.approx(1 + game.rho / gamma)


@pytest.mark.parametrize(
    ("outer", "inside", "outside"),
    [
        ("anchored_extragradient", (0.0, 0.125), [(-0.01, 0.1), (0.1, 0.13)]),
        ({"name": "fast_extragradient", "comonotonicity": -0.3}, (-0.3, 0.7), [(-0.31, 0.7), (-0.3, 0.6), (0.1, 1.1)]),
        (
            {"name": "corrected_proximal_point", "comonotonicity": -0.8},
            (-0.8, 0.81),
            [(-0.81, 0.9), (-0.5, 0.8), (0.1, 1.0)],
        ),
    ],
)
def test_the_theorems_of_loops_that_have_no_matrix(outer, inside, outside):
    loop = build("outer", outer)
    assert convergence_guaranteed(loop, *inside)
    assert not any(convergence_guaranteed(loop, *place) for place in outside)


def test_rapp_with_few_inner_steps_does_not():
    assert edge({"name": "rapp", "inner_steps": 3, "relaxation": 1.0}, gamma=0.997) > -0.4


@pytest.mark.parametrize("relaxation", [0.002, 0.25, 0.5, 0.75, 1.0])
def test_the_range_of_eg_plus_shrinks_with_its_relaxation(relaxation):
    found = edge({"name": "extragradient_plus", "relaxation": relaxation}, gamma=1.0)
    assert found == pytest.approx(-(1 - relaxation) / 2, rel=0.01, abs=1e-6)


@pytest.mark.parametrize("inner_steps", [2, 5, 20])
def test_lookahead_over_ceg_plus_reaches_minus_one_over_2l(inner_steps):
    outer = {"name": "lookahead", "inner_steps": inner_steps, "base": {"name": "ceg_plus", "relaxation": 0.001}}
    assert edge(outer, gamma=1.0) == pytest.approx(-0.5, rel=0.01)


@pytest.mark.parametrize("gamma", [0.3, 1 / np.sqrt(3), 0.9])
def test_lookahead_over_gda_goes_beyond_its_guarantee_on_the_quadratic_game(gamma):
    """With ``m = gamma L e^(i phi)``, ``cos phi = rho L``, it contracts as lambda goes to 0 iff Re(2 m - m^2) > 0."""
    outer = {"name": "lookahead", "inner_steps": 2, "relaxation": 1e-4}
    assert edge(outer, gamma) == pytest.approx((1 - np.sqrt(1 + 2 * gamma**2)) / (2 * gamma), rel=0.01)


def test_the_guarantee_of_lookahead_over_gda_reaches_its_constant():
    outer = build("outer", {"name": "lookahead", "inner_steps": 2, "relaxation": 1e-4})
    rho, gamma = np.meshgrid(np.linspace(-0.4, 0.0, 4001), np.linspace(0.3, 0.9, 601))
    promised = convergence_guaranteed(outer, rho, gamma)
    assert rho[promised].min() == pytest.approx(-1 / (3 * np.sqrt(3)), rel=0.01)
    assert edge({"name": "lookahead", "inner_steps": 2, "relaxation": 1e-4}, 1 / np.sqrt(3)) < -1 / (3 * np.sqrt(3))


def test_no_theorem_no_promise():
    critics = [{"name": name, "critic_steps": 2} for name in ("gda", "extragradient", "extragradient_plus", "rapp")]
    for outer in ("optimistic", "rampage", {"name": "ceg_plus", "adaptive": True}, *critics):
        assert convergence_guaranteed(build("outer", outer), 0.1, 0.1) is None
    for base in ("optimistic", "anchored_extragradient", "corrected_proximal_point", *critics):
        outer = {"name": "lookahead", "inner_steps": 2, "base": base}
        assert convergence_guaranteed(build("outer", outer), 0.1, 0.1) is None
