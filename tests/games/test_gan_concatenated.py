"""Real and fake samples in one batch of the discriminator, against two batches."""

from __future__ import annotations

import copy

import pytest
import torch
from gan_pairs import LOSSES, NETWORKS, POINTS, apart, batch_of, error, game_of, together
from torch import nn

from gantrain.data import Color, Crop, Cutout, Flip
from gantrain.errors import UserError
from gantrain.games import losses
from gantrain.games.gan import GAN
from gantrain.games.penalties import (
    DRAGAN,
    R1,
    R2,
    WGANGP,
    ApproximateR1,
    ApproximateR2,
    AuxiliaryClassifier,
    Consistency,
    FeatureMatching,
    LeCam,
)
from gantrain.models import conv, mlp

MOVING = ("mlp with spectral norm", "sngan", "sndcgan")  # their vectors move in each pass
STILL = [name for name in NETWORKS if name not in (*MOVING, "dcgan")]
PENALTIES = (R1, R2, WGANGP, DRAGAN, ApproximateR1, ApproximateR2, LeCam, Consistency, FeatureMatching)


def equal(found, expected):
    assert torch.allclose(found.loss, expected.loss, rtol=1e-5, atol=1e-6)
    assert found.scores.keys() == expected.scores.keys()
    for key, score in expected.scores.items():
        assert torch.allclose(found.scores[key], score, rtol=1e-4, atol=1e-5), key


def gradients(game, batch):
    """The discriminator's objective and its gradient."""
    objective = game.objective("discriminator", batch)
    parameters = game.players["discriminator"].parameters
    return objective, {"discriminator": torch.autograd.grad(objective.loss, parameters, allow_unused=True)}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("networks", STILL)
def test_one_batch_gives_the_gradients_of_two(networks, loss):
    two, one = (game_of(networks, loss, conditional=True, concatenate=c) for c in (False, True))
    expected, found = gradients(two, batch_of(two.spec)), gradients(one, batch_of(one.spec))
    equal(found[0], expected[0])
    assert torch.allclose(found[0].losses, expected[0].losses, rtol=1e-4, atol=1e-5)
    assert error(found[1], expected[1]) < 2e-5


@pytest.mark.parametrize("penalty", [*PENALTIES, AuxiliaryClassifier])
def test_penalties_and_augmentations_see_what_they_see_of_two_batches(penalty):
    conditional = penalty is AuxiliaryClassifier
    keys = {"augmentations": [Flip(), Color(), Crop(2), Cutout(8)], "conditional": conditional}
    found = {}
    for concatenate in (False, True):
        game = game_of("conv", concatenate=concatenate, penalties=[penalty(weight=2.0)], **keys)
        found[concatenate] = gradients(game, batch_of(game.spec))
    equal(found[True][0], found[False][0])
    assert error(found[True][1], found[False][1]) < 5e-5


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("networks", ["mlp", "conv"])
def test_a_shared_pass_gives_the_gradients_of_separate_ones(networks, loss):
    game = game_of(networks, loss, concatenate=True)
    batch = batch_of(game.spec)
    expected, objectives = apart(game, batch)
    found, shared = together(game, batch)
    assert error(found, expected) < 2e-5
    for name, objective in objectives.items():
        equal(shared[name], objective)


@pytest.mark.parametrize("networks", ["mlp with spectral norm", "sngan"])
def test_vectors_of_spectral_norm_move_once_for_both(networks):
    game = game_of(networks, concatenate=True)
    batch, alone = batch_of(game.spec), copy.deepcopy(game.discriminator)
    with torch.no_grad():
        fakes = copy.deepcopy(game.generator)(batch.normal("latent", game.latent_dim))
    real, fake = alone(torch.cat([batch.real, fakes])).split(len(fakes))
    value = nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()
    expected = {"discriminator": torch.autograd.grad(value, list(alone.parameters()))}
    _, found = gradients(game, batch)
    assert error(found, expected) < 2e-5
    moved = dict(game.discriminator.named_buffers())
    assert moved and all(torch.equal(moved[name], buffer) for name, buffer in alone.named_buffers())


class Counting(mlp.MLPDiscriminator):
    """Notes the sizes of its batches, and draws."""

    independent_samples = True
    drop = 0.0

    def forward(self, x, y=None):
        self.sizes = [*getattr(self, "sizes", []), len(x)]
        return super().forward(nn.functional.dropout(x, self.drop), y)


def counting(**keys):
    torch.manual_seed(0)
    spec = POINTS.unconditional()
    generator = mlp.MLPGenerator(spec, width=8, latent_dim=3)
    game = GAN(generator, Counting(spec, width=8), losses.NonSaturating(), spec=POINTS, **keys)
    game.discriminator.sizes = []
    return game


@pytest.mark.parametrize(("concatenate", "sizes"), [(False, [6, 6]), (True, [12])])
def test_the_discriminator_runs_once_or_twice(concatenate, sizes):
    for run in (lambda game, batch: game.objective("discriminator", batch), GAN.shared_pass):
        game = counting(concatenate=concatenate)
        run(game, batch_of(game.spec))
        assert game.discriminator.sizes == sizes


class Repeated(R1):
    """Compares the logits with those of the same samples once more."""

    repeats = True

    def value(self, discriminator, real, fake, batch):
        self.seen = [(s.logits.detach(), s.again(s.samples).detach()) for s in (real, fake)]
        return super().value(discriminator, real, fake, batch)


@pytest.mark.parametrize("concatenate", [False, True])
def test_a_pass_that_is_repeated_draws_what_the_first_drew(concatenate):
    penalty = Repeated(weight=1.0)
    game = counting(concatenate=concatenate, penalties=[penalty])
    game.discriminator.drop = 0.5
    game.objective("discriminator", batch_of(game.spec))
    for logits, again in penalty.seen:
        assert torch.equal(logits, again)


class Undeclared(conv.ConvDiscriminator):
    """It might mix samples."""


@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ("dcgan", "DCGANDiscriminator has batch norm"),
        (Undeclared, "Undeclared does not say that each logit depends on"),
    ],
)
def test_a_discriminator_that_mixes_samples_is_refused(networks, why, monkeypatch):
    if networks is Undeclared:
        spec, generator, _ = NETWORKS["conv"]
        monkeypatch.setitem(NETWORKS, "own", (spec, generator, lambda spec: Undeclared(spec, width=4)))
        networks = "own"
    with pytest.raises(UserError, match=f"^game.concatenate: .*{why}.*; set it to false$"):
        game_of(networks, concatenate=True)
    game_of(networks, concatenate=False)
