"""On a linear field every loop is a matrix; the matrices are built here from the methods' definitions."""

import numpy as np
import pytest
import torch

import gantrain as gt

SIZES = (2, 3)
GAMMA = 0.07


def random_game(seed):
    """A two-player quadratic game: the matrix of its field, and the game."""
    rng = np.random.default_rng(seed)
    field = rng.normal(size=(sum(SIZES), sum(SIZES)))
    x, y = slice(0, SIZES[0]), slice(SIZES[0], None)
    for block in (x, y):
        field[block, block] = (field[block, block] + field[block, block].T) / 2
    own = {"x": torch.tensor(field[x, x]), "y": torch.tensor(field[y, y])}
    cross = {"x": torch.tensor(field[x, y]), "y": torch.tensor(field[y, x])}
    game = gt.games.GeneralSum(
        {
            "x": lambda a, b: a @ own["x"] @ a / 2 + a @ cross["x"] @ b,
            "y": lambda a, b: b @ own["y"] @ b / 2 + b @ cross["y"] @ a,
        },
        {"x": torch.tensor(rng.normal(size=SIZES[0])), "y": torch.tensor(rng.normal(size=SIZES[1]))},
    )
    return field, game


def move(field, alternating, anchor, point):
    """The matrix of one move: ``anchor - gamma F point``, all being matrices that act on the same vector."""
    if not alternating:
        return anchor - GAMMA * field @ point
    point = point.copy()
    for block in (slice(0, SIZES[0]), slice(SIZES[0], None)):
        point[block] = anchor[block] - GAMMA * field[block] @ point
    return point


def rapp(field, alternating, inner_steps, relaxation):
    identity = np.eye(len(field))
    w = identity
    for _ in range(inner_steps):
        w = move(field, alternating, identity, w)
    return identity + relaxation * (w - identity)


def lookahead(base, inner_steps, relaxation):
    identity = np.eye(len(base))
    return identity + relaxation * (np.linalg.matrix_power(base, inner_steps) - identity)


LOOPS = {
    "gda": ({"name": "gda"}, lambda f, a: move(f, a, np.eye(5), np.eye(5))),
    "extragradient": ({"name": "extragradient"}, lambda f, a: rapp(f, a, 2, 1.0)),
    "extragradient_plus": ({"name": "extragradient_plus", "relaxation": 0.3}, lambda f, a: rapp(f, a, 2, 0.3)),
    "rapp_1": ({"name": "rapp", "inner_steps": 1, "relaxation": 0.4}, lambda f, a: rapp(f, a, 1, 0.4)),
    "rapp_20": ({"name": "rapp", "inner_steps": 20, "relaxation": 0.9}, lambda f, a: rapp(f, a, 20, 0.9)),
    "ceg_plus": ({"name": "ceg_plus", "relaxation": 0.3}, lambda f, a: None if a else rapp(f, a, 2, 0.3)),
    "lookahead": (
        {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5},
        lambda f, a: lookahead(rapp(f, a, 1, 1.0), 5, 0.5),
    ),
    "lookahead_extragradient": (
        {"name": "lookahead", "inner_steps": 4, "relaxation": 0.7, "base": {"name": "extragradient"}},
        lambda f, a: lookahead(rapp(f, a, 2, 1.0), 4, 0.7),
    ),
    "lookahead_rapp": (
        {"name": "lookahead", "inner_steps": 2, "relaxation": 0.7, "base": {"name": "rapp", "inner_steps": 3}},
        lambda f, a: lookahead(rapp(f, a, 3, 0.9), 2, 0.7),
    ),
    "nested": (
        {
            "name": "lookahead",
            "inner_steps": 3,
            "relaxation": 0.6,
            "base": {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5},
        },
        lambda f, a: lookahead(lookahead(rapp(f, a, 1, 1.0), 5, 0.5), 3, 0.6),
    ),
}


def run(game, outer, order, steps=12):
    path = gt.solve(game, outer=outer, optimizer={"name": "sgd", "lr": GAMMA}, order=order, steps=steps)
    return torch.cat([path["x"], path["y"]], dim=1).numpy()


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("seed", [0, 1])
def test_contraction_per_outer_step_is_the_spectral_radius(name, order, seed):
    """Along the leading left eigenvector of the iteration matrix every step contracts by just its spectral radius."""
    outer, matrix = LOOPS[name]
    field, game = random_game(seed)
    iteration = matrix(field, order == "alternating")
    if iteration is None:
        pytest.skip("defined for simultaneous moves only")
    values, vectors = np.linalg.eig(iteration.T)
    leading = np.argmax(np.abs(values))
    along = np.abs(run(game, outer, order) @ vectors[:, leading])
    np.testing.assert_allclose(along[1:] / along[:-1], np.abs(values[leading]), rtol=1e-6)


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_optimistic_contracts_by_the_spectral_radius_of_its_two_step_matrix(order):
    """Its state is the iterate with the gradient remembered; both can be read off the path."""
    field, game = random_game(2)
    n, identity = len(field), np.eye(len(field))
    z, past = np.hstack([identity, 0 * identity]), np.hstack([0 * identity, identity])
    w = z - GAMMA * past
    moved = w.copy()
    gradient = np.zeros_like(w)
    for block in (slice(0, SIZES[0]), slice(SIZES[0], None)):
        gradient[block] = field[block] @ moved
        if order == "alternating":
            moved[block] = z[block] - GAMMA * gradient[block]
    iteration = np.vstack([z - GAMMA * gradient, gradient])
    values, vectors = np.linalg.eig(iteration.T)
    leading = np.argmax(np.abs(values))

    points = run(game, {"name": "optimistic"}, order)
    state = np.hstack([points[1:], (points[:-1] - points[1:]) / GAMMA])
    along = np.abs(state @ vectors[:, leading])
    assert iteration.shape == (2 * n, 2 * n)
    np.testing.assert_allclose(along[1:] / along[:-1], np.abs(values[leading]), rtol=1e-6)


@pytest.mark.parametrize("order", ["simultaneous", "alternating"])
def test_extragradient_is_rapp_to_the_last_bit(order):
    _, game = random_game(3)
    pairs = [
        ({"name": "extragradient"}, {"name": "rapp", "inner_steps": 2, "relaxation": 1.0}),
        (
            {"name": "extragradient_plus", "relaxation": 0.4},
            {"name": "rapp", "inner_steps": 2, "relaxation": 0.4},
        ),
    ]
    for one, other in pairs:
        assert np.array_equal(run(game, one, order), run(game, other, order))


@pytest.mark.parametrize(
    "base",
    [
        {"name": "gda"},
        {"name": "extragradient"},
        {"name": "extragradient_plus"},
        {"name": "optimistic"},
        {"name": "rapp"},
        {"name": "lookahead", "inner_steps": 2},
        {"name": "ceg_plus"},
    ],
    ids=lambda base: base["name"],
)
def test_first_lookahead_step_is_the_base_run_and_interpolated(base):
    _, game = random_game(4)
    straight = run(game, base, "simultaneous", steps=5)
    outer = {"name": "lookahead", "inner_steps": 5, "relaxation": 0.3, "base": base}
    (start, after) = run(game, outer, "simultaneous", steps=1)
    np.testing.assert_allclose(after, start + 0.3 * (straight[5] - start), rtol=1e-14)
