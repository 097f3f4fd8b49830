"""The descent inequality of SAM and SAMPa along paths of gt.solve, in double precision, and how tight it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import huber_loss, softplus

from gantrain.analysis.descent import descent, gradient_bound
from gantrain.errors import UserError
from gantrain.games import Minimize
from gantrain.solver import solve

STEPS = 9
SAM, SAMPA = {"name": "sam"}, {"name": "sampa", "mix": 0.0}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def largest(matrix):
    return torch.linalg.eigvalsh(matrix)[-1].item()


def quadratic(seed):
    a = numbers(3, 6, seed=seed)  # three directions are flat
    hessian = a.T @ a * 10.0 ** (seed - 1)
    return lambda x: x @ hessian @ x / 2, largest(hessian)


def logistic_regression():
    a, b = numbers(20, 6, seed=5), numbers(20, seed=6).sign()
    return lambda x: softplus(-b * (a @ x)).mean(), largest(a.T @ a) / 80


def logarithm_of_sum_of_exponentials():
    a = numbers(8, 6, seed=7)
    # Its Hessian is A^T (diag p - p p^T) A with probabilities p.
    return lambda x: torch.logsumexp(a @ x, 0), a.square().sum(1).max().item()


def huber():
    a = numbers(4, 6, seed=8)
    return lambda x: huber_loss(a @ x, torch.zeros(4, dtype=x.dtype), reduction="sum", delta=0.3), largest(a.T @ a)


def distance_to_a_box():
    return lambda x: (x - x.clamp(-0.5, 0.2)).square().sum() / 2, 1.0


FUNCTIONS = {
    **{f"quadratic_{seed}": quadratic(seed) for seed in (0, 2)},
    "logistic": logistic_regression(),
    "log_sum_exp": logarithm_of_sum_of_exponentials(),
    "huber": huber(),
    "box": distance_to_a_box(),
}
# The share c of 1 / L that the first step size is, with a scheduler and the step sizes that it makes of it.
SCHEDULES = {
    "constant": (0.9, None, [1.0] * STEPS),
    "falling": (0.99, {"name": "exponentiallr", "gamma": 0.8}, [0.8**t for t in range(STEPS)]),
    "dropping": (0.55, {"name": "multisteplr", "milestones": [4], "gamma": 1e-3}, [1.0] * 4 + [1e-3] * (STEPS - 4)),
    "rising": (0.1, {"name": "exponentiallr", "gamma": 1.2}, [1.2**t for t in range(STEPS)]),
}


def path(f, start, sharpness, rho, lr, steps=STEPS, scheduler=None):
    optimizer, sharpness = {"name": "sgd", "lr": lr}, sharpness | {"rho": rho}
    return solve(Minimize(f, start), optimizer=optimizer, sharpness=sharpness, scheduler=scheduler, steps=steps)["x"]


def excess(found):
    """How far the potential is above what is allowed at each step, in units of rounding."""
    scale = found.potential.abs().max() + found.allowed.abs().max()
    return (found.potential[1:] - found.allowed) / (scale * 1e-13)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_step_of_sampa_and_sam_descends(name, schedule):
    (f, lipschitz), (c, scheduler, shape) = FUNCTIONS[name], SCHEDULES[schedule]
    lr = [c / lipschitz * each for each in shape]
    # Near the minimum, where the perturbation matters, and far from it.
    for distance, sharpness, weight in ((1e-6, SAMPA, 1.0), (1.0, SAMPA, None), (1e-6, SAM, None)):
        x = path(f, distance * numbers(6, seed=20), sharpness, 0.5, lr[0], scheduler=scheduler)
        assert excess(descent(f, x, lr, 0.5, lipschitz, sharpness["name"], weight)).max() < 1


def half_square(x):
    return (x * x).sum() / 2


def shares(found, lr, rho):
    """The shares of ``eta^2 rho^2`` that the steps used: V rose by so much beyond the term in the gradient."""
    fallen = found.potential[:-1] - lr * (1 - lr / 2) * found.squared_gradients[:-1]
    return (found.potential[1:] - fallen) / (lr * rho) ** 2


def test_no_smaller_constant_would_do():
    """From beside the minimum of ``x^2 / 2`` the first steps use all that is allowed, as the step size goes to 0."""
    start, rho, lr = torch.full((1,), 1e-9, dtype=torch.float64), 0.5, 0.01
    used = shares(descent(half_square, path(half_square, start, SAMPA, rho, lr, 3), lr, rho, 1.0), lr, rho)
    assert 2.96 / 2 < used[1].item() < 3 / 2
    used = shares(descent(half_square, path(half_square, start, SAM, rho, lr, 3), lr, rho, 1.0, "sam"), lr, rho)
    assert 0.999 / 2 < used[0].item() <= 1 / 2 + 1e-9


def test_the_potential_and_what_is_allowed_are_those_of_the_formulas():
    x, eta, rho, scale, w = 0.7, 0.2, 0.3, 3.0, 0.4
    f, points, y = (lambda z: scale * (z * z).sum() / 2), [x], x
    for _ in range(3):
        x, y = x - eta * scale * (x + rho * math.copysign(1, y)), x - eta * scale * y
        points.append(x)
    found = descent(f, torch.tensor(points, dtype=torch.float64)[:, None], eta, rho, scale, weight=w)
    k, y = eta * scale, points[0]
    for t, x in enumerate(points):
        potential = scale * x * x / 2 + w / 2 * (scale * (x - y)) ** 2
        assert found.potential[t].item() == pytest.approx(potential, rel=1e-12)
        if t < 3:
            constant = ((1 - k) / (1 + k) * (scale**2 / w + scale**3) + w * scale**4 / (1 - k * k)) / 2
            allowed = potential - eta * (1 - k / 2) * (scale * x) ** 2 + eta**2 * rho**2 * constant
            assert found.allowed[t].item() == pytest.approx(allowed, rel=1e-12)
        y = x - eta * scale * y


def test_a_weight_that_follows_the_step_size_breaks_the_inequality_where_the_step_size_drops():
    """With ``V_t = f(x_t) + (1 - k_t)/2 ||.||^2`` and the constant ``(L^2 + L^3 + L^4 / (1 - c^2)) / 2``."""
    scale, c, rho, lr = 10.0, 0.55, 1.0, [0.055] * 4 + [0.055e-3]
    f = lambda x: scale * half_square(x)  # noqa: E731
    x = path(f, torch.full((1,), 4.0, dtype=torch.float64), SAMPA, rho, lr[0], 4)
    found = descent(f, x, lr[:4], rho, scale, weight=1.0)
    values = torch.stack([f(each) for each in x])
    squares = 2 * (found.potential - values)
    moving = values + (1 - torch.tensor(lr) * scale) / 2 * squares
    risen = moving[1:] - moving[:-1] + lr[0] * (1 - c / 2) * found.squared_gradients[:-1]
    used = risen / (lr[0] * rho) ** 2 / ((scale**2 + scale**3 + scale**4 / (1 - c * c)) / 2)
    assert used[:3].max() < 1 and 1.1 < used[3] < 1.2
    assert excess(found).max() < 1


@pytest.mark.parametrize(("sharpness", "oracle"), [(SAM, "sam"), (SAMPA, "sampa")])
def test_the_smallest_gradient_is_below_its_bound(sharpness, oracle):
    f, lipschitz = FUNCTIONS["logistic"]
    rho, start = 0.5, 3 * numbers(6, seed=30)
    gap = f(start).item()  # the minimum is not below 0
    for c in (0.1, 0.9):
        x = path(f, start, sharpness, rho, c / lipschitz)
        smallest = descent(f, x, c / lipschitz, rho, lipschitz, oracle).squared_gradients[:-1].cummin(0).values
        assert (smallest <= gradient_bound(gap, c / lipschitz, STEPS, rho, lipschitz, oracle)).all()


def test_the_bound_is_the_least_over_all_weights_and_falls_as_one_over_the_root_of_the_steps():
    lr, rho, scale, gap = [0.3, 0.2, 0.1], 0.5, 2.0, 1.5
    bounds = []
    for w in torch.logspace(-2, 1, 2000).tolist():
        above = gap
        for eta in lr:
            k = eta * scale
            constant = ((1 - k) / (1 + k) * (scale**2 / w + scale**3) + w * scale**4 / (1 - k * k)) / 2
            above += eta**2 * rho**2 * constant
        bounds.append(above / sum(eta * (1 - eta * scale / 2) for eta in lr))
    assert gradient_bound(gap, lr, 3, rho, scale)[-1].item() == pytest.approx(min(bounds), rel=1e-5)
    # For steps of one size the least constant is L^3 (3 - k) / (1 + k) / 2, and SAM's is L^3 / 2.
    for oracle, constant in (("sampa", 8 * (3 - 0.6) / 1.6 / 2), ("sam", 8 / 2)):
        expected = (gap / (3 * 0.3) + 0.3 * rho**2 * constant) / (1 - 0.6 / 2)
        assert gradient_bound(gap, 0.3, 3, rho, scale, oracle)[-1].item() == pytest.approx(expected, rel=1e-12)
    ends = [gradient_bound(gap, 0.1 / steps**0.5, steps, rho, scale)[-1].item() for steps in (10_000, 1_000_000)]
    assert ends[0] / ends[1] == pytest.approx(10, rel=0.02)


def test_small_steps_lead_optsam_to_a_point_at_the_radius():
    """Its perturbation leads from ``-rho`` to the minimum, where the sign of its gradient does not change any more."""
    start = torch.full((1,), 0.3, dtype=torch.float64)
    for lr in (0.2, 0.1):
        x = path(half_square, start, {"name": "sam", "direction": "previous"}, 0.1, lr, int(8 / lr))
        assert x[-1].item() == pytest.approx(-0.1, rel=1e-2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"lr": 1.0},
            "lr: the theorem of sampa is about steps with lr L above 0 and below 1, got lr = 1 with L = 1",
        ),
        ({"lr": [0.1, 1.5], "oracle": "sam"}, "lr: the theorem of sam .* at most 1, got lr = 1.5 with L = 1 at step 1"),
        ({"lr": [0.1]}, r"lr: expected one number, or one for each of the 2 steps, got \(1,\)"),
        ({"rho": -1.0}, "rho: expected a number of at least 0, got -1"),
        ({"lipschitz": 0.0}, "lipschitz: expected a number above 0, got 0"),
        ({"weight": 0.0}, "weight: expected a number above 0, of sampa only, got 0.* for sampa"),
        ({"weight": 1.0, "oracle": "sam"}, "weight: .* for sam"),
        ({"oracle": "asam"}, "oracle: expected sam or sampa, got .asam."),
        ({"path": torch.zeros(1, 1)}, "steps: the inequality is about one step or more, got 0"),
        ({"f": lambda x: x * x}, "the game's function: expected a scalar tensor"),
    ],
)
def test_what_the_theorem_is_not_about_is_refused(changed, message):
    given = {"f": half_square, "path": torch.zeros(3, 2), "lr": 0.1, "rho": 0.5, "lipschitz": 1.0} | changed
    with pytest.raises(UserError, match=message):
        descent(**given)
