from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gantrain.data import Batch, Color, Crop
from gantrain.games.gan import GAN
from gantrain.games.losses import Wasserstein
from gantrain.games.penalties import R1, R2, WGANGP, ApproximateR1, ApproximateR2, Scored

A = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
B = torch.tensor([0.5, -1.0], dtype=torch.float64)


class Quadratic(nn.Module):
    """D(x) = x'Ax/2 + b'x, whose input gradient is Ax + b; with labels, k times that for class k."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(A.clone())
        self.b = nn.Parameter(B.clone())
        self.calls = 0

    def forward(self, x, labels=None):
        self.calls += 1
        value = ((x @ self.a) * x).sum(1) / 2 + x @ self.b
        return value if labels is None else labels * value


class Affine(nn.Module):
    """G(z) = z + c."""

    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.tensor([0.3, -0.2]))

    def forward(self, z, labels=None):
        return z.double() + self.c


def points(seed, n=5):
    return torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scored(network, samples, labels=None):
    samples = samples.clone().requires_grad_(True)
    return Scored(samples, labels, network(samples, labels))


def batch(step=0, labels=None):
    return Batch(points(1), labels, index=0, step=step, seed=0)


@pytest.mark.parametrize("penalty, side", [(R1, "real"), (R2, "fake")])
def test_r1_and_r2_match_the_closed_form_in_value_and_gradient(penalty, side):
    d = Quadratic()
    real, fake = scored(d, points(1)), scored(d, points(2))
    value = penalty(weight=3.0)(d, real, fake, batch())

    x = points(1 if side == "real" else 2)
    slopes = x @ A + B  # A is symmetric
    assert value.item() == pytest.approx(1.5 * slopes.square().sum(1).mean().item(), rel=1e-12)
    # d/db of 3/2 mean ||Ax + b||^2 is 3 mean (Ax + b)
    (gradient,) = torch.autograd.grad(value, d.b)
    assert torch.allclose(gradient, 3 * slopes.mean(0))


@pytest.mark.parametrize("target", [1.0, 0.0, 2.5])
def test_wgan_gp_of_a_linear_discriminator_is_its_slope_squared_off(target):
    d = Quadratic()
    with torch.no_grad():
        d.a.zero_()
        d.b.copy_(torch.tensor([3.0, 4.0]))
    value = WGANGP(weight=2.0, target=target)(d, scored(d, points(1)), scored(d, points(2)), batch())
    assert value.item() == pytest.approx(2 * (5 - target) ** 2, rel=1e-12)
    # d/db of 2 (|b| - t)^2 is 4 (|b| - t) b/|b|
    (gradient,) = torch.autograd.grad(value, d.b)
    assert torch.allclose(gradient, 4 * (5 - target) * torch.tensor([0.6, 0.8], dtype=torch.float64))


def test_wgan_gp_looks_at_interpolates_of_pairs_drawn_by_the_batch():
    d, b = Quadratic(), batch()
    u = b.uniform("interpolates", 1).double()
    x = u * points(1) + (1 - u) * points(2)
    expected = 10 * ((x @ A + B).norm(dim=1) - 1).square().mean()
    value = WGANGP()(d, scored(d, points(1)), scored(d, points(2)), b)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


def test_wgan_gp_of_a_flat_discriminator_has_a_value_and_no_nan():
    d = Quadratic()
    with torch.no_grad():
        d.a.zero_()
        d.b.zero_()
    value = WGANGP(weight=2.0)(d, scored(d, points(1)), scored(d, points(2)), batch())
    assert value.item() == 2.0
    assert torch.autograd.grad(value, d.b)[0].isfinite().all()


@pytest.mark.parametrize("penalty", [R1(2.0), R2(2.0), WGANGP(2.0, target=0.0)])
def test_labels_reach_the_discriminator(penalty):
    d, labels = Quadratic(), torch.full((5,), 3)
    plain = penalty(d, scored(d, points(1)), scored(d, points(2)), batch())
    tripled = penalty(d, scored(d, points(1), labels), scored(d, points(2), labels), batch())
    assert tripled.item() == pytest.approx(9 * plain.item(), rel=1e-9)


@pytest.mark.parametrize("penalty", [R1, R2, WGANGP])
def test_a_lazy_penalty_is_due_every_so_often_and_weighs_as_much_on_average(penalty):
    def discriminator_loss(p, step):
        game = GAN(Affine(), Quadratic(), Wasserstein(), [p] if p else [])
        return game.objective("discriminator", batch(step)).loss.item()

    bare = [discriminator_loss(None, s) for s in range(8)]
    eager = [discriminator_loss(penalty(0.7), s) - bare[s] for s in range(8)]
    lazy = [discriminator_loss(penalty(0.7, every=4), s) - bare[s] for s in range(8)]
    assert [x != 0 for x in lazy] == [True, False, False, False] * 2
    assert sum(lazy) == pytest.approx(sum(eager), rel=1e-9)


@pytest.mark.parametrize(
    "penalties, passes",
    [([], 2), ([R1()], 2), ([R1(), R2()], 2), ([WGANGP()], 3), ([R1(every=2), WGANGP(every=2)], 2)],
)
def test_r1_and_r2_share_the_forward_pass_of_the_loss(penalties, passes):
    game = GAN(Affine(), Quadratic(), Wasserstein(), penalties)
    game.discriminator.calls = 0
    game.objective("discriminator", batch(step=1))
    assert game.discriminator.calls == passes


def test_the_batch_is_not_made_to_require_a_gradient():
    b = batch()
    GAN(Affine(), Quadratic(), Wasserstein(), [R1()]).objective("discriminator", b)
    assert not b.real.requires_grad


class Linear(nn.Module):
    """D(x) = b'x, whose input gradient is b."""

    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(B.clone())

    def forward(self, x, labels=None):
        return x @ self.b


@pytest.mark.parametrize("penalty, side", [(ApproximateR1, "real"), (ApproximateR2, "fake")])
def test_approximate_penalties_of_a_linear_discriminator_have_the_expectation_of_the_exact_ones(penalty, side):
    d = Linear()
    n = 200_000
    sides = {"real": scored(d, points(1, n)), "fake": scored(d, points(2, n))}
    many = Batch(sides[side].samples, None, index=0, step=0, seed=0)
    value = penalty(weight=3.0, sigma=0.1)(d, sides["real"], sides["fake"], many)
    (gradient,) = torch.autograd.grad(value, d.b)
    # (b'e)^2 has the mean |b|^2 and the standard deviation sqrt(2) |b|^2.
    expected, spread = 3.0 * B.square().sum() / 2, 3.0 * B.square().sum() / 2 * (2 / n) ** 0.5
    assert abs(value - expected) < 4 * spread
    assert torch.allclose(gradient, 3.0 * B, rtol=0.03)
    other = {"real": "fake", "fake": "real"}[side]
    changed = sides | {other: scored(d, points(7, n))}
    assert torch.equal(penalty(weight=3.0, sigma=0.1)(d, changed["real"], changed["fake"], many), value)


def test_an_approximate_penalty_is_near_the_exact_one_in_half_precision_too():
    torch.manual_seed(0)
    d = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1), nn.Flatten(0))
    score = lambda x, labels=None: d(x)  # noqa: E731
    x = points(1, 20_000).float()
    many = Batch(x, None, index=0, step=0, seed=0)

    def value(penalty):
        return float(penalty(weight=1.0)(score, scored(score, x), scored(score, x), many))

    exact = value(R1)
    with torch.autocast("cpu", torch.bfloat16):
        half = value(ApproximateR1)
    assert abs(value(ApproximateR1) - exact) < 0.05 * exact and abs(half - exact) < 0.05 * exact


@pytest.mark.parametrize(("penalty", "exact"), [(ApproximateR1, R1), (ApproximateR2, R2)])
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_approximate_penalties_compare_two_points_of_one_function(penalty, exact, precision):
    """Augmentation, dropout and the vectors of spectral norm would differ between two passes, divided by sigma."""
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(27, 64), nn.Dropout(0.5), spectral_norm(nn.Linear(64, 1)), nn.Flatten(0)
    d, g = nn.Sequential(*layers), nn.Sequential(nn.Linear(4, 27), nn.Unflatten(1, (3, 3, 3)))
    g.latent_dim = 4
    images = Batch(torch.rand(256, 3, 3, 3), None, index=0, step=0, seed=0)
    values = []
    for kind in (penalty, exact):
        game = GAN(g, d, Wasserstein(), penalties=[kind(weight=1.0)], augmentations=[Crop(1), Color()])
        with torch.autocast("cpu", precision) if precision else nullcontext():
            values.append(game.objective("discriminator", images).scores[kind.logged_as])
    assert abs(values[0] - values[1]) < 0.2 * values[1]


@pytest.mark.parametrize(
    "penalties, compiled",
    [((), True), ((ApproximateR1(), ApproximateR2()), True), ((ApproximateR1(), R1(every=2)), False)],
    ids=["none", "approximate", "exact"],
)
def test_networks_run_uncompiled_only_at_steps_at_which_a_penalty_that_contains_a_gradient_is_due(
    penalties, compiled, monkeypatch
):
    game = GAN(Affine().double(), Quadratic(), Wasserstein(), penalties)
    entered = []
    monkeypatch.setattr("gantrain.games.gan.uncompiled", lambda: entered.append(True) or nullcontext())
    for step, expected in ((0, compiled), (1, True)):
        for objective in (lambda batch: game.objective("discriminator", batch), game.shared_pass):
            objective(Batch(points(0), None, index=0, step=step, seed=0))
            assert bool(entered) != expected
            entered.clear()
