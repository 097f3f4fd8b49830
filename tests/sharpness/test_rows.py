"""The rows of a batch that ESAM selects, and the losses by which it does."""

import copy

import pytest
import torch
from torch.nn.functional import softplus

from gantrain import data, games, models
from gantrain.data.batch import Batch
from gantrain.games import losses
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import ESAM

LOSSES = ["Minimax", "NonSaturating", "Hinge", "Wasserstein", "LeastSquares", "Relativistic"]


def test_selected_rows_keep_their_random_numbers():
    batch = Batch(torch.arange(6.0)[:, None], torch.arange(6), index=3, step=0, seed=1, rank=1, world_size=2)
    rows = torch.tensor([1, 4, 5])
    some = batch.select(rows)
    assert len(some) == 3 and torch.equal(some.real, batch.real[rows]) and torch.equal(some.labels, rows)
    assert torch.equal(some.normal("z", 2), batch.normal("z", 2)[rows])
    assert torch.equal(some.under("a").uniform("u"), batch.under("a").uniform("u")[rows])
    assert torch.equal(some.rows("others", 20), batch.rows("others", 20)[rows])
    assert torch.equal(some.select(torch.tensor([2])).integers("i", 9), batch.integers("i", 9)[5:])
    assert some.whole_size == 12 and len(batch) == 6


@pytest.mark.parametrize("name", LOSSES)
def test_a_gan_loss_is_the_mean_of_those_of_each_pair(name):
    loss, source = getattr(losses, name)(), torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 7, generator=source, dtype=torch.float64)
    needed = real if loss.needs_real else None
    for player, whole in (
        ("discriminator", loss.discriminator(real, fake)),
        ("generator", loss.generator(needed, fake)),
    ):
        each = loss.of_each(player, real if player == "discriminator" else needed, fake)
        assert each.shape == (7,) and each.unique().numel() > 1
        torch.testing.assert_close(each.mean(), whole, rtol=0, atol=1e-14)


def gan(loss="NonSaturating"):
    spec = data.Digits().spec.unconditional()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = models.MLPGenerator(spec, width=6, latent_dim=3)
        discriminator = models.MLPDiscriminator(spec, width=6)
    return games.GAN(generator, discriminator, loss=getattr(losses, loss)())


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_either_player_of_a_gan_descends_on_the_pairs_whose_losses_rise_the_most(player):
    game, rho = gan(), 0.3
    batches = data.Batches(data.Digits(), 10, 0)
    batch, twin = batches(0, step=0), copy.deepcopy(game)
    parameters = twin.players[player].parameters

    def pairs():
        real, fake = batch.real, twin.generator(batch.normal("latent", 3), None)
        fake = twin.discriminator(fake, None)
        return softplus(-fake) if player == "generator" else softplus(-twin.discriminator(real, None)) + softplus(fake)

    before = pairs()
    slope = torch.autograd.grad(before.mean(), parameters)
    length = torch.cat([g.reshape(-1) for g in slope]).norm()
    with torch.no_grad():
        for p, g in zip(parameters, slope, strict=True):
            p.add_(g, alpha=float(rho / length))
    after = pairs()
    chosen = (after - before).topk(4).indices
    expected = torch.autograd.grad(after[chosen].mean(), parameters)

    learner = Learner(
        game.players[player],
        torch.optim.SGD(game.players[player].parameters, lr=0.1),
        ESAM(rho=rho, beta=1.0, gamma=0.4),
    )
    field = Field(Evaluator(game, batches), [learner])
    field.evaluate(0, [learner])
    for p, g in zip(learner.parameters, expected, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-4, atol=1e-6)


def test_the_losses_of_the_rows_of_games_with_classes_have_the_loss_as_their_mean():
    digits = data.Digits()
    batch, spec = data.Batches(digits, 8, 0)(0, step=0), digits.spec
    for game in (
        games.Classification(models.ConvClassifier(spec, width=2), label_smoothing=0.2),
        games.Classification(models.ConvClassifier(spec, width=2), loss="hinge"),
        games.AdversarialTraining(models.ConvClassifier(spec, width=2), 0.1, perturber=models.ConvPerturber(spec)),
    ):
        for player in game.players:
            found = game.objective(player, batch)
            assert found.losses.shape == (8,)
            torch.testing.assert_close(found.losses.mean(), found.loss)
