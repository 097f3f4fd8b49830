import math

import pytest
import torch

import gantrain as gt
from gantrain.errors import UserError

bound = gt.sharpness.lower_bound


def random_logits(n=6, classes=4):
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=source, dtype=torch.float64) * 3
    return logits, torch.randint(classes, (n,), generator=source)


def test_equal_logits_give_the_logarithm_of_the_number_of_classes():
    # phi(0) = 0 for both, so Q = log(K) / mu.
    logits, targets = torch.zeros(2, 5, dtype=torch.float64), torch.tensor([0, 3])
    for phi in ("tanh", "log"):
        torch.testing.assert_close(
            bound(logits, targets, phi, mu=2.0), torch.full((2,), math.log(5) / 2, dtype=torch.float64)
        )


def test_two_classes_in_closed_form():
    margin, mu, alpha = 1.7, 3.0, 0.4
    logits, targets = torch.tensor([[0.5, 0.5 + margin]], dtype=torch.float64), torch.tensor([0])
    tanh = math.log(1 + math.exp(mu * math.tanh(alpha * margin))) / mu
    gamma = math.log(math.e - 1)
    log = math.log(1 + math.exp(mu * (1 - math.log(1 + math.exp(gamma - margin))))) / mu
    assert bound(logits, targets, "tanh", mu, alpha).item() == pytest.approx(tanh, abs=1e-14)
    assert bound(logits, targets, "log", mu, alpha).item() == pytest.approx(log, abs=1e-14)


def test_the_defaults_are_tanh_with_mu_10_and_alpha_a_tenth():
    logits, targets = random_logits()
    torch.testing.assert_close(bound(logits, targets), bound(logits, targets, "tanh", 10.0, 0.1), rtol=0, atol=0)


def test_it_lies_below_the_zero_one_loss_up_to_the_softness_of_the_maximum():
    logits, targets = random_logits(200)
    errors = (logits.argmax(1) != targets).double()
    for phi in ("tanh", "log"):
        assert (bound(logits, targets, phi, mu=50.0) <= errors + math.log(4) / 50 + 1e-12).all()


def test_a_binary_logit_stands_for_class_one_beside_a_zero():
    logits, targets = torch.tensor([1.5, -2.0, 0.3], dtype=torch.float64), torch.tensor([1, 1, 0])
    both = torch.stack([torch.zeros_like(logits), logits], dim=1)
    for phi in ("tanh", "log"):
        torch.testing.assert_close(bound(logits, targets, phi), bound(both, targets, phi), rtol=0, atol=0)


@pytest.mark.parametrize("phi", ["tanh", "log"])
def test_large_logits_stay_finite_and_so_do_their_gradients(phi):
    for size in (1e4, -1e4):
        logits = torch.tensor([[size, 0.0, -size], [0.0, size, size]], requires_grad=True)
        value = bound(logits, torch.tensor([0, 0]), phi, mu=10.0)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        assert value.isfinite().all() and gradient.isfinite().all()


@pytest.mark.parametrize("phi", ["tanh", "log"])
def test_the_gradient_is_that_of_a_loop_over_samples_and_classes(phi):
    logits, targets = random_logits()
    mu, alpha = 4.0, 0.3
    mine = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(bound(mine, targets, phi, mu, alpha).mean(), mine)
    expected = torch.zeros_like(logits)
    for i, target in enumerate(targets.tolist()):
        margins = [float(v - logits[i, target]) for v in logits[i]]
        if phi == "tanh":
            values = [math.tanh(alpha * s) for s in margins]
            slopes = [alpha * (1 - v * v) for v in values]
        else:
            values = [1 - math.log(1 + (math.e - 1) * math.exp(-s)) for s in margins]
            slopes = [1 - 1 / (1 + (math.e - 1) * math.exp(-s)) for s in margins]
        weights = [math.exp(mu * v) for v in values]
        for j in range(len(margins)):
            share = weights[j] / sum(weights) * slopes[j] / len(targets)
            expected[i, j] += share
            expected[i, target] -= share
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14)


def test_the_logits_are_not_changed():
    logits, targets = random_logits()
    before, leaf = logits.clone(), logits.clone().requires_grad_()
    for phi in ("tanh", "log"):
        bound(logits, targets, phi)
        bound(leaf * 1, targets, phi).sum().backward()
    assert torch.equal(logits, before) and torch.equal(leaf, before)


def test_what_does_not_fit_is_refused():
    logits, targets = random_logits()
    for mu in (0.0, -1.0):
        with pytest.raises(UserError, match=f"^mu: expected a number above 0, got {mu}$"):
            bound(logits, targets, mu=mu)
    with pytest.raises(UserError, match="^phi: expected tanh or log, got 'sigmoid'$"):
        bound(logits, targets, "sigmoid")
    with pytest.raises(UserError, match=r"expected logits .* and targets \(n,\), got \(6, 4\) and \(3,\)$"):
        bound(logits, targets[:3])
