import numpy as np
import pytest
import torch

import gantrain as gt
from gantrain.errors import UserError
from gantrain.optim.constraints import L1, Box, L2Ball, Simplex


def vectors(n=5, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


@pytest.mark.parametrize(
    ("resolvent", "inside"),
    [
        (Box(-0.5, 0.8), lambda v: ((v >= -0.5) & (v <= 0.8)).all()),
        (L2Ball(0.7), lambda v: v.norm() <= 0.7 + 1e-12),
        (Simplex(1.5), lambda v: (v >= 0).all() and abs(v.sum() - 1.5) < 1e-12),
    ],
    ids=["box", "ball", "simplex"],
)
def test_projection_is_the_nearest_point_of_the_set(resolvent, inside):
    """A projection p of v onto a convex set is the point with <v - p, q - p> <= 0 for all q in the set."""
    v = vectors()
    parts = [v[:2].clone(), v[2:].clone()]
    resolvent.apply_(parts, step_size=0.3)
    p = torch.cat(parts)
    assert inside(p)
    for seed in range(1, 50):
        q = [vectors(seed=seed)]
        resolvent.apply_(q, step_size=0.3)
        assert inside(q[0])
        assert (v - p) @ (q[0] - p) <= 1e-12
        again = [q[0].clone()]
        resolvent.apply_(again, step_size=0.3)
        torch.testing.assert_close(again[0], q[0])


def test_l1_is_the_proximal_operator():
    v, step_size, weight = vectors(), 0.3, 2.0
    p = [v.clone()]
    L1(weight).apply_(p, step_size)

    def objective(w):
        return weight * w.abs().sum() + (w - v).square().sum() / (2 * step_size)

    for seed in range(1, 100):
        assert objective(p[0]) <= objective(p[0] + 0.01 * vectors(seed=seed))
    torch.testing.assert_close(p[0], v.sign() * (v.abs() - 0.6).clamp(min=0))


@pytest.mark.parametrize("resolvent", [Box(), L2Ball(), Simplex(), L1()])
def test_nan_stays_nan_for_the_run_to_find(resolvent):
    v = torch.tensor([0.3, torch.nan, 0.5])
    resolvent.apply_([v], step_size=0.1)
    assert v[1].isnan()


def test_an_empty_box_is_refused():
    with pytest.raises(UserError, match="low"):
        Box(1.0, 0.0)


def test_resolvent_is_applied_after_each_inner_move():
    """Extragradient with projections on the bilinear game, written out."""
    x, y, lr = 0.9, 0.95, 0.4
    game = gt.games.ZeroSum(
        lambda a, b: 3 * a * b, x=torch.tensor(x, dtype=torch.float64), y=torch.tensor(y, dtype=torch.float64)
    )
    path = gt.solve(
        game,
        outer="extragradient",
        optimizer={"name": "sgd", "lr": lr},
        constraint={"name": "box", "low": -1.0, "high": 1.0},
        steps=6,
    )
    for t in range(6):
        wx, wy = np.clip(x - lr * 3 * y, -1, 1), np.clip(y + lr * 3 * x, -1, 1)
        x, y = np.clip(x - lr * 3 * wy, -1, 1), np.clip(y + lr * 3 * wx, -1, 1)
        assert path["x"][t + 1].item() == pytest.approx(x, abs=1e-14)
        assert path["y"][t + 1].item() == pytest.approx(y, abs=1e-14)


def test_matching_pennies_on_the_simplex_is_solved():
    """The zero-sum matrix game has the uniform equilibrium; extragradient reaches it, GDA circles."""
    payoff = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    start = torch.tensor([0.9, 0.1], dtype=torch.float64)
    game = gt.games.ZeroSum(lambda p, q: p @ payoff @ q, x=start, y=start)
    ends = {}
    for outer in ("gda", "extragradient"):
        path = gt.solve(
            game, outer=outer, optimizer={"name": "sgd", "lr": 0.2}, constraint={"name": "simplex"}, steps=300
        )
        ends[outer] = (path["x"][-50:] - 0.5).abs().max().item()
    assert ends["extragradient"] < 1e-6 < 0.05 < ends["gda"]


@pytest.mark.parametrize("adaptive", [False, True])
def test_ceg_plus_with_a_joint_ball(adaptive):
    """CEG+ as in its paper, with H = id - gamma F and a projection onto a ball of both players."""
    gamma, relaxation = 0.3, 1.0 if adaptive else 0.5
    z = np.array([1.2, 0.3])

    def field(z):
        return np.array([z[1] - 0.2 * z[0], -z[0] - 0.2 * z[1]])

    def project(z):
        return z * min(1.0, 1.25 / np.linalg.norm(z))

    game = gt.games.ZeroSum(
        lambda a, b: a * b - 0.1 * a * a + 0.1 * b * b,
        x=torch.tensor(z[0]),
        y=torch.tensor(z[1]),
    )
    path = gt.solve(
        game,
        outer={"name": "ceg_plus", "relaxation": relaxation, "adaptive": adaptive},
        optimizer={"name": "sgd", "lr": gamma},
        constraint={"joint": {"name": "l2_ball", "radius": 1.25}},
        steps=8,
    )
    for t in range(8):
        w = project(z - gamma * field(z))
        d = (w - gamma * field(w)) - (z - gamma * field(z))
        alpha = -0.99 / 2 + (w - z) @ d / (d @ d) if adaptive else 1.0
        z = z + relaxation * alpha * d
        assert [path["x"][t + 1].item(), path["y"][t + 1].item()] == pytest.approx(list(z), abs=1e-12)


def test_ceg_plus_without_constraints_is_eg_plus():
    game = gt.games.ZeroSum(
        lambda a, b: a * b + a**3, x=torch.tensor(0.4, dtype=torch.float64), y=torch.tensor(0.1, dtype=torch.float64)
    )
    one = gt.solve(game, outer={"name": "ceg_plus", "relaxation": 0.4}, steps=10)
    other = gt.solve(game, outer={"name": "extragradient_plus", "relaxation": 0.4}, steps=10)
    torch.testing.assert_close(one["x"], other["x"], rtol=0, atol=1e-15)


def test_ceg_plus_refuses_an_order():
    game = gt.games.ZeroSum(lambda a, b: a * b, x=torch.tensor(0.4), y=torch.tensor(0.1))
    with pytest.raises(UserError, match="simultaneous"):
        gt.solve(game, outer="ceg_plus", order="alternating", steps=1)


def test_lasso_is_solved_by_proximal_gradient():
    """min ||x - c||^2 / 2 + weight ||x||_1 has the soft-thresholded c as its solution."""
    c = vectors()
    game = gt.games.Minimize(lambda x: (x - c).square().sum() / 2, x=torch.zeros(5).double())
    path = gt.solve(game, optimizer={"name": "sgd", "lr": 0.5}, constraint={"name": "l1", "weight": 0.4}, steps=100)
    torch.testing.assert_close(path["x"][-1], c.sign() * (c.abs() - 0.4).clamp(min=0))
