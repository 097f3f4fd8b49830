"""Spectra, curvature and sharpness against matrices written out in full, and the advice."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_games import linear_game, random_matrix, small_batch, small_gan, written_out

from gantrain.analysis.advice import HALF, LA_GDA, advise
from gantrain.analysis.curvature import cohypomonotonicity, lipschitz, path_angles, rotation_share, sharpness
from gantrain.analysis.diagnosis import Diagnosis, Sample, diagnose
from gantrain.analysis.linearised import Linearised, undisturbed
from gantrain.analysis.method import Method
from gantrain.analysis.spectrum import BASIS, eigenvalues, extremes
from gantrain.config.loading import load
from gantrain.games import Minimize, ZeroSum
from gantrain.games.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from gantrain.games.penalties import R1, R2, WGANGP
from gantrain.games.toy import Bilinear, Forsaken, Quadratic
from gantrain.solver import solve

CONFIGS = Path(__file__).parents[2] / "configs"


def linearised(game, batch=None):
    with undisturbed(game):
        return Linearised(game, batch)


def ordered(values, key):
    return np.array(sorted(values, key=lambda v: (round(key(v), 8), -v.imag)))


def test_eigenvalues_are_those_of_the_matrix_written_out():
    matrix, half = random_matrix(4 * BASIS)
    game = linearised(linear_game(matrix, half))
    exact = np.linalg.eigvals(matrix.numpy())
    for which, key in (("LM", lambda v: -abs(v)), ("LI", lambda v: -abs(v.imag))):
        found = eigenvalues(game.transposed, game.value, 4, which, restarts=50)
        np.testing.assert_allclose(found, ordered(exact, key)[:4], rtol=1e-4)
    own = np.linalg.eigvalsh(matrix[:half, :half].numpy())
    found = extremes(lambda v: game.hessian("x", v), game.value[:half], 4, restarts=50)
    np.testing.assert_allclose(found, [*own[:2], *own[-2:]], rtol=1e-4)
    for count, ends in ((1, own[-1:]), (3, [own[0], *own[-2:]])):
        found = extremes(lambda v: game.hessian("x", v), game.value[:half], count, restarts=50)
        np.testing.assert_allclose(found, ends, rtol=1e-4)
    assert lipschitz(game) == pytest.approx(np.linalg.norm(matrix.numpy(), 2), rel=1e-3)


def test_iteration_that_is_cut_short_returns_what_has_converged():
    matrix, half = random_matrix(4 * BASIS)
    game = linearised(linear_game(matrix, half))
    found = eigenvalues(game.transposed, game.value, 4, restarts=1, tolerance=1e-12)
    assert len(found) < 4 and game.products <= 2 * BASIS


def test_a_gan_agrees_with_its_jacobian_written_out():
    game, batch = small_gan(), small_batch()
    exact = written_out(game, batch)
    here = linearised(game, batch)
    eye = torch.eye(here.size, dtype=torch.float64)
    torch.testing.assert_close(torch.stack([here.product(e) for e in eye], 1), exact, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(torch.stack([here.transposed(e) for e in eye]), exact, rtol=1e-8, atol=1e-10)
    assert here.size > BASIS
    found = eigenvalues(here.transposed, here.value, 4, restarts=50)
    values = ordered(np.linalg.eigvals(exact.numpy()), lambda v: -abs(v))
    np.testing.assert_allclose(found, values[:4], rtol=1e-4)
    turning = torch.linalg.norm(exact - exact.T) / 2 / torch.linalg.norm(exact)
    assert rotation_share(here, probes=100) == pytest.approx(float(turning), rel=0.15)
    for name, part in here.slices.items():
        own = np.linalg.eigvalsh(exact[part, part].numpy())
        found = extremes(lambda v, name=name: here.hessian(name, v), here.value[part], 4, restarts=50)
        np.testing.assert_allclose(found, [*own[:2], *own[-2:]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", [NonSaturating, Minimax, Hinge, Wasserstein, LeastSquares, Relativistic])
@pytest.mark.parametrize("penalties", [[], [R1(1.0)], [R2(1.0)], [WGANGP(1.0)]], ids=lambda p: str(len(p)))
def test_products_are_derivatives_of_the_field(loss, penalties):
    game, batch = small_gan(loss(), penalties), small_batch()
    tensors = [p for player in game.players.values() for p in player.parameters]
    with undisturbed(game):
        here = Linearised(game, batch)
        v, w = (torch.randn(here.size, generator=torch.Generator().manual_seed(i)).double() for i in (0, 1))
        forward, backward = here.product(v), here.transposed(w)
        assert float(w @ forward) == pytest.approx(float(v @ backward), rel=1e-9)
        fields = []
        for sign in (1, -1):
            with torch.no_grad():
                for p, d in zip(tensors, v.split([p.numel() for p in tensors]), strict=True):
                    p.add_(d.reshape(p.shape), alpha=sign * 1e-6 * (1 if sign == 1 else 2))
            fields.append(Linearised(game, batch).value)
    torch.testing.assert_close((fields[0] - fields[1]) / 2e-6, forward, rtol=1e-5, atol=1e-6)


def test_a_lazy_penalty_counts_with_its_average():
    batch = small_batch()
    every, lazy = (linearised(small_gan(None, [R1(1.0, every=n)]), batch).value for n in (1, 8))
    assert torch.equal(every, lazy)


def test_a_bilinear_game_turns_and_a_minimisation_does_not():
    assert rotation_share(linearised(Bilinear())) == pytest.approx(1.0, abs=1e-12)
    curved = Minimize(lambda x: (x**4).sum() + x.prod(), torch.tensor([1.0, 2.0, -1.5], dtype=torch.float64))
    assert rotation_share(linearised(curved)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("constant", "rho"), [(1.0, -0.1), (4.0, -0.12), (2.0, 0.3)])
def test_constants_of_the_quadratic_game(constant, rho):
    here = linearised(Quadratic(constant, rho))
    assert lipschitz(here) == pytest.approx(constant, rel=1e-9)
    assert cohypomonotonicity(here) == pytest.approx(rho, rel=1e-9)


def test_rho_of_a_matrix_is_that_of_its_inverse():
    matrix, half = random_matrix(8, seed=4)
    here = linearised(linear_game(matrix, half))
    inverse = torch.linalg.inv(matrix)
    exact = torch.linalg.eigvalsh((inverse + inverse.T) / 2).min()
    assert cohypomonotonicity(here) == pytest.approx(float(exact), rel=1e-6)
    assert cohypomonotonicity(here, dimension=3) > float(exact)


def test_a_field_of_a_toy_game_is_differentiated():
    x, y = 0.3, -0.7
    here = linearised(Forsaken((x, y)))
    slope = [0.5 - 6 * z**2 + 5 * z**4 for z in (x, y)]
    found = torch.stack([here.product(e) for e in torch.eye(2, dtype=torch.float64)], 1)
    torch.testing.assert_close(found, torch.tensor([[slope[0], 1.0], [-1.0, slope[1]]], dtype=torch.float64))


def test_sharpness_of_a_quadratic():
    scales = torch.tensor([1.0, 3.0, 8.0], dtype=torch.float64)
    at_rest = Minimize(lambda x: (scales * x**2).sum() / 2, torch.zeros(3, dtype=torch.float64))
    assert sharpness(at_rest, "x", None, radius=0.3, steps=60) == pytest.approx(8 * 0.3**2 / 2, rel=1e-6)
    away = torch.tensor([3.0, 4.0], dtype=torch.float64)
    bowl = Minimize(lambda x: (x**2).sum(), away)
    assert sharpness(bowl, "x", None, radius=0.1) == pytest.approx(2 * 5 * 0.1 + 0.1**2, rel=1e-9)
    (value,) = bowl.players["x"].parameters
    assert torch.equal(value.detach(), away)


def test_the_angle_along_a_path_changes_sign_at_a_minimum():
    game = Minimize(lambda x: (x**2).sum(), torch.tensor([2.0, 0.0], dtype=torch.float64))
    there = {"x": [torch.zeros(2, dtype=torch.float64)]}
    with undisturbed(game):
        assert path_angles(game, None, there, [0.0, 0.5, 1.5]) == pytest.approx([1.0, 1.0, -1.0])
    turning = ZeroSum(lambda x, y: (x * y).sum(), torch.ones(1).double(), torch.zeros(1).double())
    there = {"x": [torch.zeros(1).double()], "y": [torch.zeros(1).double()]}
    with undisturbed(turning):
        assert path_angles(turning, None, there, [0.0, 0.5]) == pytest.approx([0.0, 0.0])


def found(rotation, product, players=("discriminator", "generator")):
    return Diagnosis(
        size=10,
        jacobian=np.array([1 + 2j]),
        hessians={name: np.array([-1.0, 2.0]) for name in players},
        rotation=Sample(tuple(rotation)),
        lipschitz=Sample((1.5, 2.0)),
        rho=Sample((product / 2, product / 2 + 0.01)),
        sharpness={name: Sample((0.1, 0.2)) for name in players},
        radius=0.05,
        products=3,
    )


@pytest.mark.parametrize(
    ("rotation", "product", "dominates", "outer"),
    [
        ((0.9, 0.95), 0.0, "rotation", "lookahead"),
        ((0.9, 0.95), LA_GDA + 0.01, "rotation", "lookahead"),
        ((0.9, 0.95), LA_GDA - 0.01, "rotation", "rapp"),
        ((0.9, 0.95), -0.49, "rotation", "rapp"),
        ((0.9, 0.95), -0.51, "rotation", "rapp"),
        ((0.9, 0.95), -0.97, "rotation", "rapp"),
        ((0.9, 0.95), -1.01, "rotation", "lookahead"),
        ((HALF - 0.1, HALF + 0.1), 0.0, "undecided", "lookahead"),
        ((0.1, 0.2), 0.0, "sharpness", "gda"),
    ],
)
def test_advice_keeps_to_the_ranges_of_the_theorems(rotation, product, dominates, outer):
    advice = advise(found(rotation, product))
    assert (advice.dominates, advice.outer["name"]) == (dominates, outer)
    step, rho, largest = advice.step, product / 2, 2.0
    assert 0 < step < 2 / largest
    if outer == "rapp":
        assert max(0, -rho) < step < 1 / largest and 0 < advice.outer["relaxation"] < 2 * (1 + rho / step)
        assert (step * largest) ** advice.outer["inner_steps"] <= 0.1 * (1 + rho / step)
    if advice.outer.get("inner_steps") == 2:
        assert advice.outer["relaxation"] * step < rho + step * (1 - (step * largest) ** 2) / 2
    theorems = [line for line in advice.why if line.startswith("theorem: ")]
    assert len(theorems) == 1 and ("none applies" in theorems[0]) == (product < -1)
    assert advice.changes
    # A reader who knows GANs and no operator theory is told the same, in three sentences.
    does, attempt, _ = advice.plain
    begins = {"rotation": "The players mostly chase", "sharpness": "Each player mostly goes downhill"}
    assert does.startswith(begins.get(dominates, "On some batches")) and f"outer: {{name: {outer}" in attempt
    words = " ".join(advice.plain).lower()
    assert not [word for word in ("rho", "jacobian", "operator", "monotone", "lipschitz", "spectr") if word in words]


@pytest.mark.parametrize("product", [-0.15, pytest.param(-0.4, marks=pytest.mark.slow), -0.6])
def test_what_is_suggested_converges_on_the_quadratic_game(product):
    # L = 2: the hypotheses of the theorems hold, since the field is linear and its Krylov space is the whole.
    advice = advise(diagnose(Quadratic(2.0, product / 2), lambda index: None, number=1))
    path = solve(Quadratic(2.0, product / 2), dict(advice.outer), {"name": "sgd", "lr": advice.step}, steps=150)
    start, end = (math.hypot(path["x"][i], path["y"][i]) for i in (0, -1))
    assert end < 0.7 * start


def test_one_player_is_never_said_to_turn():
    advice = advise(found((0.0, 0.0), 0.3, ("classifier",)))
    assert advice.dominates == "sharpness" and advice.outer["order"] == "simultaneous"
    assert advice.plain[0].startswith("There is only one player") and "outer loop cannot help" in advice.plain[1]


def run_of(*overrides):
    """The method of a run with two players."""
    return Method.of(load(CONFIGS / "games" / "matrix.yaml", overrides))


def test_advice_says_what_differs_from_the_run():
    calm, turning = found((0.1, 0.2), 0.0), found((0.9, 0.95), 0.0)
    for overrides, attempt in (
        (["outer={name: gda}"], "Stay with plain steps, outer: {name: gda, order: simultaneous}, since"),
        (["outer={name: gda, order: alternating}"], "Stay with plain steps, outer: {name: gda, order: alternating}, "),
        (
            ["outer=extragradient"],
            "Try plain steps, outer: {name: gda, order: alternating} in the place of outer: {name: extragradient, "
            "order: simultaneous}, since",
        ),
    ):
        advice = advise(calm, run_of(*overrides))
        assert advice.plain[1].startswith(attempt) and advice.has == attempt.startswith("Stay")
        assert advice.lines[1].startswith("keep outer: " if advice.has else "try outer: ")
        better = "a run with an outer loop that is better" if advice.has else "no better than this one"
        assert better in advice.changes[-1]
    advised = advise(turning).outer
    shown = "{name: lookahead, inner_steps: 2, relaxation: 0.17, base: gda}"
    other = "{name: lookahead, inner_steps: 5, relaxation: 0.5, base: extragradient}"
    assert (
        advise(turning, run_of(f"outer={json.dumps(advised)}")).plain[1].startswith(f"Keep outer: {shown}, which the")
    )
    attempt = advise(turning, run_of("outer={name: lookahead, base: extragradient}")).plain[1]
    assert attempt.startswith(f"Try outer: {shown} in the place of outer: {other}: ")
    one = found((0.0, 0.0), 0.3, ("classifier",))
    assert "cannot help here; sharpness: sam is to try if" in advise(one, run_of("outer=gda")).plain[1]
    assert "would do in the place of outer: {name: extragradient" in advise(one, run_of("outer=extragradient")).plain[1]


@pytest.mark.parametrize(
    ("optimizer", "named"),
    [("adam", "adam"), ("{name: sgd, lr: 0.1, momentum: 0.9}", "sgd with momentum"), ("{name: sgd, lr: 0.1}", None)],
)
def test_advice_names_the_optimizers_of_the_run(optimizer, named):
    players = [f"game.{name}={{optimizer: {optimizer}, constraint: simplex}}" for name in ("row", "column")]
    advice = advise(found((0.1, 0.2), 0.0), run_of(*players))
    trust, caution = advice.plain[2], next(line for line in advice.why if line.startswith("caution"))
    assert (f"plain gradient steps, not {named}:" if named else "plain gradient steps: train") in trust
    assert (f"the steps of {named} are no plain ones" in caution) == (named is not None)


def test_the_sharpest_player_is_one_that_the_batches_tell_from_the_others():
    def attempt(*sharpness, overrides=()):
        values = dict(zip(("row", "column"), map(Sample, sharpness), strict=True))
        return advise(replace(found((0.1, 0.2), 0.0), sharpness=values), run_of("outer=gda", *overrides)).plain[1]

    clear = (1.0, 2.0, 3.0), (0.5, 1.4, 2.6)
    assert "sam for the player row, whose loss is the sharpest, is the first to try" in attempt(*clear)
    assert "sam for the player column" in attempt(*reversed(clear))
    sam = "game.row.sharpness={name: sampa, rho: 0.1}"
    assert "the player row, whose loss is the sharpest, has sharpness: sampa already" in attempt(
        *clear, overrides=[sam]
    )
    for equal in (
        ((0.0025,) * 3, (0.002499,) * 3),
        ((1.0, 2.0, 3.0), (2.0, 1.0, 2.0)),
        ((1.0, math.nan), (0.1, 0.1)),
    ):
        assert "no player's loss is clearly the sharpest" in attempt(*equal)


def test_constants_that_could_not_be_measured_are_said():
    flat = Minimize(lambda x: x.sum(), torch.zeros(3, dtype=torch.float64))
    report = diagnose(flat, lambda index: None, number=2)
    assert math.isnan(report.rho.mean) and not report.jacobian.any()
    advice = advise(report)
    assert advice.step in (None, 0) and any("could not be measured" in change for change in advice.changes)
    assert report.as_dict()["batches"]["rho"] == [None, None] and report.lines
