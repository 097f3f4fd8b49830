"""Penalties of the generator, of both players, and around the data, against forms worked out by hand."""

import importlib
import math

import pytest
import torch
from tiny import DIGITS, config_of
from torch import nn
from torch.nn.functional import pad

from gantrain.builders import make_game
from gantrain.config.registry import kind
from gantrain.data import Batch, DataSpec, Digits
from gantrain.errors import UserError
from gantrain.games.features import Features
from gantrain.games.gan import GAN
from gantrain.games.losses import Hinge, NonSaturating
from gantrain.games.penalties import (
    DRAGAN,
    AuxiliaryClassifier,
    Consistency,
    FeatureMatching,
    LeCam,
    Orthogonal,
    PathLength,
    Penalty,
    Scored,
)
from gantrain.games.penalties.consistency import _mirrored
from gantrain.models import ConvDiscriminator, ConvGenerator, MLPDiscriminator, MLPGenerator

B = torch.tensor([0.6, -1.2, 0.4])


class Linear(nn.Module):
    """D(x) = b'x."""

    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(B.clone())

    def forward(self, x):
        return x.flatten(1) @ self.b


class Maker(nn.Module):
    """G(z) = A z with more noise of its own, as dropout draws it."""

    latent_dim = 2

    def __init__(self, noise=0.0):
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]]))
        self.noise = noise

    def forward(self, z):
        return z @ self.a.T + self.noise * torch.randn(len(z), 3)


def batch_of(n=6, step=0):
    return Batch(torch.randn(n, 3, generator=torch.Generator().manual_seed(1)), None, index=3, step=step, seed=0)


def game_of(*penalties, noise=0.0):
    return GAN(Maker(noise), Linear(), NonSaturating(), penalties, spec=DataSpec((3,)))


def term(penalty, player, noise=0.0, step=0):
    """What the penalty adds to a player's loss."""
    batch = batch_of(step=step)
    torch.manual_seed(5)
    whole = game_of(penalty, noise=noise).objective(player, batch).loss
    torch.manual_seed(5)
    return (whole - game_of(noise=noise).objective(player, batch).loss).item()


def test_dragan_of_a_linear_discriminator_is_its_slope_off_one():
    assert term(DRAGAN(weight=3.0), "discriminator") == pytest.approx(3 * (B.norm().item() - 1) ** 2, rel=1e-4)
    assert term(DRAGAN(), "generator") == 0


def test_dragan_looks_within_half_a_deviation_of_real_samples():
    seen = []

    def square(x, labels):
        seen.append(x)
        return x.square().sum(dim=1)

    batch = batch_of(200)
    real = Scored(batch.real, None, torch.zeros(200))
    value = DRAGAN(weight=1.0)(square, real, real, batch)
    (x,) = seen
    offset = (x - batch.real).detach() / batch.real.std(dim=1, correction=0, keepdim=True)
    assert offset.min() >= 0 and 0.49 < offset.max() <= 0.5 and offset.mean().item() == pytest.approx(0.25, abs=0.02)
    assert value.item() == pytest.approx(((2 * x.norm(dim=1) - 1) ** 2).mean().item(), rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_consistency_in_latent_vectors_compares_one_function_at_two_points(noise):
    """The noise of the generator is the same at both, and so cancels."""
    penalty = Consistency(real=0, fake=0, latent=20.0, generator=0.5, delta=0.1)
    batch = batch_of()
    moves = 0.1 * batch.normal("consistency/latent", 2) @ Maker().a.detach().T
    expected = 20 * ((moves @ B) ** 2).mean().item()
    assert term(penalty, "discriminator", noise) == pytest.approx(expected, rel=1e-3)
    assert term(penalty, "generator", noise) == pytest.approx(-0.5 * (moves**2).mean().item(), rel=1e-3)


def test_images_are_moved_with_mirrored_borders():
    image = torch.arange(5.0)
    for move in (-3, 0, 4):
        expected = pad(image[None], (4, 4), mode="reflect")[0, 4 + move : 9 + move]
        assert torch.equal(image[_mirrored(torch.tensor([move]), 5)[0]], expected)


def test_consistency_of_images_asks_for_the_same_logit():
    spec = Digits().spec.unconditional()
    torch.manual_seed(0)
    networks = MLPGenerator(spec, width=4, latent_dim=2), MLPDiscriminator(spec, width=8)
    images = torch.rand(16, 1, 8, 8)

    def value(images, **settings):
        penalty = Consistency(real=1.0, fake=0, latent=0, **settings)
        batch = Batch(images, None, index=0, step=0, seed=0)
        return GAN(*networks, Hinge(), [penalty]).objective("discriminator", batch).scores["consistency"].item()

    assert value(images, shift=0, flip=False) == 0 < value(images, shift=2)
    assert value(torch.full_like(images, 0.3), shift=2) == pytest.approx(0, abs=1e-10)
    assert value((images + images.flip(3)) / 2, shift=0) == pytest.approx(0, abs=1e-10)


def test_consistency_of_what_is_no_image_is_refused():
    with pytest.raises(UserError, match=r"moves images, and these samples have the shape \(3,\); use real: 0 and fake"):
        term(Consistency(), "discriminator")


def test_orthogonal_counts_the_overlaps_of_rows():
    """Rows (1, 2), (0.5, -1), (0, 3): products -1.5, 6, -3, each twice."""
    expected = 0.1 * 2 * (1.5**2 + 6**2 + 3**2)
    assert term(Orthogonal(0.1), "generator") == pytest.approx(expected, rel=1e-4)
    assert term(Orthogonal(0.1, player="discriminator"), "generator") == 0
    assert game_of(Orthogonal(player="generator")).penalties[0].players == {"generator"}


def test_orthogonal_leaves_embeddings_out():
    penalty = Orthogonal(1.0)
    network = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, 0.0], [2.0, 5.0]]))
    scored = Scored(torch.zeros(1), None, torch.zeros(1), network=network)
    assert penalty(None, scored, scored, batch_of()).item() == pytest.approx(2 * 2.0**2)


def test_path_length_of_a_linear_generator_and_its_running_average():
    penalty, average = PathLength(weight=2.0, decay=0.1, shrink=2, every=1), 0.0
    for step in range(3):
        batch = batch_of(step=step)
        lengths = (batch.normal("path_length", 3)[::2] @ Maker().a.detach()).norm(dim=1)
        average += 0.1 * (lengths.mean().item() - average)
        expected = 2 * ((lengths - average) ** 2).mean().item()
        for _ in range(2):  # the second evaluation of the step leaves the average
            game = game_of(penalty)
            assert game.objective("generator", batch).scores["path_length"].item() == pytest.approx(expected, rel=1e-4)
    assert penalty.scalars()["average"].item() == pytest.approx(average, rel=1e-5)
    assert "path_length" not in game.objective("discriminator", batch).scores


def test_path_length_is_of_the_same_samples_on_any_number_of_processes():
    def average(rank, world):
        penalty = PathLength(decay=1.0, every=1)
        batch = Batch(torch.zeros(8 // world, 3), None, index=0, step=0, seed=0, rank=rank, world_size=world)
        game_of(penalty).objective("generator", batch)
        return penalty.scalars()["average"].item()

    assert (average(0, 2) + average(1, 2)) / 2 == pytest.approx(average(0, 1))


def test_path_length_goes_through_the_styles_of_a_generator():
    class Styled(Maker):
        def styles(self, z, labels):
            return z[:, None] * torch.tensor([1.0, 2.0, 3.0])[:, None]

        def synthesise(self, w, z=None):
            return w.mean(dim=1) @ self.a.T

        def forward(self, z):
            return self.synthesise(self.styles(z, None))

    game = GAN(Styled(), Linear(), NonSaturating(), [PathLength(weight=1.0, every=1)], spec=DataSpec((3,)))
    batch = batch_of()
    # Each of three layers has a third of the slope: the norm is a third of that in z / 2.
    lengths = (batch.normal("path_length", 3)[::2] @ Maker().a.detach()).norm(dim=1) / 3
    expected = ((lengths - 0.01 * lengths.mean()) ** 2).mean().item()
    assert game.objective("generator", batch).scores["path_length"].item() == pytest.approx(expected, rel=1e-4)


class Headed(nn.Module):
    """A discriminator that takes no labels; its features are ``first(x).relu()``."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.last(self.first(x).relu()).squeeze(1)


def test_feature_matching_compares_means_of_the_input_of_the_last_layer():
    discriminator, batch = Headed(), batch_of()
    game = GAN(Maker(), discriminator, NonSaturating(), [FeatureMatching(0.7)], spec=DataSpec((3,)))
    fakes = Maker()(batch.normal("latent", 2))
    means = [discriminator.first(x).relu().mean(dim=0) for x in (batch.real, fakes)]
    found = game.objective("generator", batch).scores["feature_matching"].item()
    assert found == pytest.approx(0.7 * (means[0] - means[1]).square().sum().item(), rel=1e-5)


class Told(Maker):
    """G(z, y) = A z + y."""

    def forward(self, z, labels):
        return super().forward(z) + labels[:, None]


def cross_entropy(logits, label):
    return math.log(sum(math.exp(v) for v in logits)) - logits[label]


def hinge(logits, label):
    return max(0.0, 1 + max(v for k, v in enumerate(logits) if k != label) - logits[label])


@pytest.mark.parametrize("conditional", [True, "generator"])
@pytest.mark.parametrize("fake_class", [False, True])
@pytest.mark.parametrize("loss", [cross_entropy, hinge])
def test_an_auxiliary_classifier_learns_labels_from_features(loss, fake_class, conditional):
    class Labelled(Headed):
        def forward(self, x, labels):
            return super().forward(x) + labels

    discriminator, labels = (Headed if conditional == "generator" else Labelled)(), torch.tensor([0, 1, 2, 0, 1, 2])
    penalty = AuxiliaryClassifier(0.5, 2.0, 3.0, 0.7, loss=loss.__name__, fake_class=fake_class)
    game = GAN(Told(), discriminator, NonSaturating(), [penalty], conditional, DataSpec((3,), classes=3))
    head = discriminator.auxiliary_classifier
    assert head.weight.shape == (3 + fake_class, 3)
    assert any(p is head.weight for p in game.players["discriminator"].parameters)
    batch = batch_of()
    batch.labels = labels
    fakes = game.generator(batch.normal("latent", 2), labels).detach()

    def found(samples, targets):
        rows = head(discriminator.first(samples).relu()).tolist()
        right = [max(range(3), key=lambda k: row[k]) == y for row, y in zip(rows, labels.tolist(), strict=True)]
        return sum(loss(row, y) for row, y in zip(rows, targets, strict=True)) / 6, sum(right) / 6

    (real, real_right), (fake, fake_right) = (
        found(samples, targets) for samples, targets in ((batch.real, labels.tolist()), (fakes, labels.tolist()))
    )
    of_fakes = found(fakes, [3] * 6)[0] if fake_class else fake
    scores = game.objective("discriminator", batch).scores
    assert scores["auxiliary_classifier"].item() == pytest.approx(0.5 * (2 * real + 3 * of_fakes), rel=1e-5)
    assert scores["auxiliary_classifier/accuracy_real"].mean().item() == pytest.approx(real_right)
    assert scores["auxiliary_classifier/accuracy_fake"].mean().item() == pytest.approx(fake_right)
    objective = game.objective("generator", batch)
    term = objective.scores["auxiliary_classifier_of_generator"].item()
    assert term == pytest.approx(0.5 * 0.7 * fake, rel=1e-5)
    objective.loss.backward()
    assert head.weight.grad is None and game.generator.a.grad is not None


@pytest.mark.parametrize(("conditional", "classes"), [(False, 3), ("generator", 0), (True, 0)])
def test_an_auxiliary_classifier_without_labels_is_refused(conditional, classes):
    refusal = r"(auxiliary_classifier needs labelled data|the data have no (labels|classes))[^\n]*$"
    with pytest.raises(UserError, match=refusal):
        GAN(Maker(), Headed(), Hinge(), [AuxiliaryClassifier()], conditional, DataSpec((3,), classes))


def test_a_discriminator_may_bring_the_auxiliary_classifier_itself():
    discriminator = Headed()
    discriminator.auxiliary_classifier = own = nn.Linear(3, 3)
    game = GAN(Told(), discriminator, Hinge(), [AuxiliaryClassifier()], "generator", DataSpec((3,), 3))
    assert discriminator.auxiliary_classifier is own
    assert len(game.players["discriminator"].parameters) == 6


def test_the_auxiliary_classifier_begins_from_the_seed_of_the_run(tmp_path):
    settings = ("game.conditional=generator", "game.penalties=[auxiliary_classifier]")

    def head(seed):
        config = config_of(DIGITS, tmp_path, *settings, f"run.seed={seed}")
        torch.rand(1)  # whatever was drawn before
        game = make_game(config, Digits().spec)
        assert game.discriminator.spec.classes == 0 < game.generator.spec.classes
        return game.discriminator.auxiliary_classifier.weight

    assert torch.equal(head(3), head(3)) and not torch.equal(head(3), head(4))


@pytest.mark.parametrize("name", kind("discriminator").parts)
def test_every_discriminator_shows_its_features(name):
    module, _, cls = kind("discriminator").parts[name].partition(":")
    settings = {"r3gan": {"group_width": 4, "blocks": 1}}.get(name, {})
    network = getattr(importlib.import_module(module), cls)(DataSpec((3, 32, 32)), width=8, **settings)
    features = Features(network, lambda: None)
    with features.captured() as found, torch.no_grad():
        network(torch.randn(2, 3, 32, 32))
    assert features.last is network.logit and len(found) == 1 and found[0].shape[0] == 2


def test_features_without_a_layer_and_penalties_without_a_term_are_refused():
    with pytest.raises(UserError, match="name the last layer by an attribute logit"):
        game_of(FeatureMatching())

    class Mine(Penalty):
        pass

    with pytest.raises(
        UserError, match=r"game.penalties.0: .*Mine has no term; define value for the discriminator, or"
    ):
        game_of(Mine(1.0))


@pytest.mark.parametrize("loss", [NonSaturating(), Hinge()])
def test_one_pass_for_both_players_gives_the_same_gradients(loss):
    spec = Digits().spec
    torch.manual_seed(0)
    generator = ConvGenerator(spec, width=4, latent_dim=3)
    discriminator = ConvDiscriminator(spec.unconditional(), width=4)

    def penalties():
        return [
            LeCam(start=0),
            Consistency(shift=2),
            Orthogonal(0.01),
            PathLength(every=1),
            FeatureMatching(),
            DRAGAN(),
            AuxiliaryClassifier(loss="hinge", fake_class=True, spectral_norm=True),
        ]

    def batch():
        images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(2))
        return Batch(images, torch.arange(8), 0, step=0, seed=0)

    apart, found = GAN(generator, discriminator, loss, penalties(), "generator"), {}
    discriminator.eval()  # the passes of one player would move the vectors of spectral norm for the other
    for name, player in apart.players.items():
        objective = apart.objective(name, batch())
        found[name] = torch.autograd.grad(objective.loss, player.parameters), objective
    together = GAN(generator, discriminator, loss, penalties(), "generator")
    for p in (*generator.parameters(), *discriminator.parameters()):
        p.grad = None
    shared = together.shared_pass(batch())
    shared.backward(dict.fromkeys(together.players, 1.0))
    for name, player in together.players.items():
        gradients, objective = found[name]
        assert shared.objectives[name].loss.item() == pytest.approx(objective.loss.item(), rel=1e-5)
        assert list(shared.objectives[name].scores) == list(objective.scores)
        for p, g in zip(player.parameters, gradients, strict=True):
            torch.testing.assert_close(p.grad, g, rtol=2e-4, atol=2e-6)
