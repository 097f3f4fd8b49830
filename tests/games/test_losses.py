import math

import pytest
import torch

from gantrain.games.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein

ALL = [Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein]

LN3 = math.log(3.0)
REAL = torch.tensor([LN3, 0.0], dtype=torch.float64)  # sigma: 3/4, 1/2
FAKE = torch.tensor([0.0, -LN3], dtype=torch.float64)  # sigma: 1/2, 1/4


# Worked out by hand; the logistic losses from sigma(ln 3) = 3/4, sigma(0) = 1/2, sigma(-ln 3) = 1/4.
@pytest.mark.parametrize(
    "loss, discriminator, generator",
    [
        # -(ln 3/4 + ln 1/2)/2 - (ln(1 - 1/2) + ln(1 - 1/4))/2; (ln 1/2 + ln 3/4)/2
        (Minimax, -math.log(3 / 8), math.log(3 / 8) / 2),
        # -(ln 1/2 + ln 1/4)/2
        (NonSaturating, -math.log(3 / 8), -math.log(1 / 8) / 2),
        # (max(0, 1 - ln 3) + 1)/2 + (1 + max(0, 1 - ln 3))/2, ln 3 > 1; -(0 - ln 3)/2
        (Hinge, 1.0, LN3 / 2),
        (Wasserstein, -LN3, LN3 / 2),
        # (((ln 3 - 1)^2 + 1)/2 + (ln 3)^2/2)/2; (1 + (ln 3 + 1)^2)/4
        (LeastSquares, ((LN3 - 1) ** 2 + 1 + LN3**2) / 4, (1 + (LN3 + 1) ** 2) / 4),
        # real - fake is ln 3 in both pairs
        (Relativistic, -math.log(3 / 4), -math.log(1 / 4)),
    ],
)
def test_values(loss, discriminator, generator):
    assert loss().discriminator(REAL, FAKE).item() == pytest.approx(discriminator, abs=1e-12)
    assert loss().generator(REAL, FAKE).item() == pytest.approx(generator, abs=1e-12)


@pytest.mark.parametrize("loss", ALL)
def test_far_logits_give_finite_values_and_gradients(loss):
    for scale in (1e4, -1e4):
        real = torch.full((4,), scale, requires_grad=True)
        fake = torch.full((4,), -scale, requires_grad=True)
        for value in (loss().discriminator(real, fake), loss().generator(real, fake)):
            gradients = torch.autograd.grad(value, [real, fake], allow_unused=True, retain_graph=True)
            assert value.isfinite()
            assert all(g is None or g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("loss", ALL)
def test_the_players_pull_in_the_right_directions(loss):
    # Between the codes 0 and 1, so that least squares, too, wants real higher and fake lower.
    real = torch.tensor([0.3, 0.6], requires_grad=True)
    fake = torch.tensor([0.4, 0.1], requires_grad=True)
    up, down = torch.autograd.grad(loss().discriminator(real, fake), [real, fake])
    assert (up < 0).all() and (down > 0).all()
    (lifted,) = torch.autograd.grad(loss().generator(real.detach(), fake), fake)
    assert (lifted < 0).all()


@pytest.mark.parametrize("loss", ALL)
def test_needs_real_says_whether_the_generator_looks_at_real_logits(loss):
    if loss.needs_real:
        assert loss().generator(REAL, FAKE) != loss().generator(REAL + 1, FAKE)
    else:
        assert loss().generator(None, FAKE) == loss().generator(REAL, FAKE)


def test_minimax_is_zero_sum_up_to_the_part_that_is_not_the_generators():
    loss = Minimax()
    shifted = FAKE + 0.3
    change_d = loss.discriminator(REAL, shifted) - loss.discriminator(REAL, FAKE)
    change_g = loss.generator(None, shifted) - loss.generator(None, FAKE)
    assert change_d.item() == pytest.approx(-change_g.item(), abs=1e-12)


@pytest.mark.parametrize("loss", [Minimax, NonSaturating, Hinge])
def test_the_discriminator_classifies_real_and_fake_and_the_generator_wants_real(loss):
    logits, targets = loss().discriminator_margins(REAL, FAKE)
    assert torch.equal(logits, torch.cat([REAL, FAKE])) and targets.tolist() == [1, 1, 0, 0]
    logits, targets = loss().generator_margins(None, FAKE)
    assert torch.equal(logits, FAKE) and targets.tolist() == [1, 1]


def test_the_boundary_of_least_squares_is_midway_between_its_codes():
    logits, targets = LeastSquares().discriminator_margins(torch.tensor([0.5, 1.0]), torch.tensor([0.0]))
    assert logits.tolist() == [0.0, 0.5, -0.5] and targets.tolist() == [1, 1, 0]
    logits, targets = LeastSquares().generator_margins(None, torch.tensor([1.0]))
    assert logits.tolist() == [0.5] and targets.tolist() == [1]


def test_relativistic_classifies_pairs():
    loss = Relativistic()
    logits, targets = loss.discriminator_margins(REAL, FAKE)
    assert torch.equal(logits, REAL - FAKE) and targets.tolist() == [1, 1]
    logits, targets = loss.generator_margins(REAL, FAKE)
    assert torch.equal(logits, FAKE - REAL) and targets.tolist() == [1, 1]


def test_wasserstein_is_no_classification():
    assert Wasserstein().discriminator_margins(REAL, FAKE) is None
    assert Wasserstein().generator_margins(None, FAKE) is None


@pytest.mark.parametrize("loss", [NonSaturating, Relativistic])
def test_logistic_losses_are_cross_entropies_of_their_own_margins(loss):
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    logits, targets = loss().discriminator_margins(REAL, FAKE)
    scale = 2 if loss is NonSaturating else 1  # a sum of two means, over equally many samples
    expected = scale * bce(logits, targets.double())
    assert loss().discriminator(REAL, FAKE).item() == pytest.approx(expected.item(), abs=1e-12)
    logits, targets = loss().generator_margins(REAL, FAKE)
    expected = bce(logits, targets.double())
    assert loss().generator(REAL, FAKE).item() == pytest.approx(expected.item(), abs=1e-12)
