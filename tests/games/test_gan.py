import copy

import pytest
import torch
from torch import nn

from gantrain.data import Augmentation, Batch, Batches, Color, Crop, Cutout, DataSpec, Digits, GaussianRing
from gantrain.errors import UserError
from gantrain.games.base import GenerativeGame, Player
from gantrain.games.gan import GAN
from gantrain.games.gan_pass import discriminator_scores
from gantrain.games.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from gantrain.games.penalties import R1, WGANGP
from gantrain.models import ConvDiscriminator, ConvGenerator, MLPDiscriminator, MLPGenerator

RING = GaussianRing(samples=64)


def networks(spec=RING.spec, **keys):
    torch.manual_seed(0)
    return MLPGenerator(spec, width=8, latent_dim=3), MLPDiscriminator(spec, width=8, **keys)


def ring_game(loss=None, conditional=False, penalties=()):
    spec = RING.spec if conditional else RING.spec.unconditional()
    return GAN(*networks(spec), loss or NonSaturating(), penalties, conditional, RING.spec)


def ring_batch(index=0, step=0):
    return Batches(RING, 16, seed=0)(index, step)


def digit_game(**keys):
    spec = Digits().spec
    torch.manual_seed(0)
    return GAN(ConvGenerator(spec, width=8), ConvDiscriminator(spec, width=8, spectral_norm=True), Hinge(),
               conditional=True, spec=spec, **keys)  # fmt: skip


def gradients(objective, parameters):
    return torch.autograd.grad(objective.loss, parameters, allow_unused=True)


def test_the_discriminator_moves_first():
    assert list(ring_game().players) == ["discriminator", "generator"]


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("loss", [Minimax(), Hinge(), Relativistic()])
def test_objectives_are_the_loss_of_the_logits(loss, conditional):
    game, batch = ring_game(loss, conditional), ring_batch()
    labels = batch.labels if conditional else None
    real = game.discriminator(batch.real, labels)
    fake = game.discriminator(game.generator(batch.normal("latent", 3), labels), labels)
    d, g = (game.objective(player, batch) for player in ("discriminator", "generator"))
    assert torch.allclose(d.loss, loss.discriminator(real, fake))
    assert torch.allclose(g.loss, loss.generator(real, fake))
    for objective, margins in ((d, loss.discriminator_margins), (g, loss.generator_margins)):
        logits, targets = margins(real, fake)
        assert torch.allclose(objective.logits, logits) and torch.equal(objective.targets, targets)
    assert torch.allclose(d.scores["real"], real) and torch.allclose(d.scores["fake"], fake)
    assert torch.allclose(g.scores["fake"], fake)
    for a, b in zip(gradients(g, game.players["generator"].parameters),
                    torch.autograd.grad(loss.generator(real, fake), game.players["generator"].parameters),
                    strict=True):  # fmt: skip
        assert torch.allclose(a, b, atol=1e-7)


def test_wasserstein_has_no_classification():
    objective = ring_game(Wasserstein()).objective("discriminator", ring_batch())
    assert objective.logits is None and objective.targets is None


@pytest.mark.parametrize(
    ("loss", "signs"), [(Hinge(), [1, -1, 0]), (LeastSquares(), [1, -1, -1]), (Wasserstein(), [1, 1, -1])]
)
def test_the_sign_of_real_samples_is_that_beyond_the_boundary(loss, signs):
    real, fake = torch.tensor([0.6, -0.1, 0.0]), torch.tensor([0.5, -0.2, 0.1])
    assert discriminator_scores(loss, real, fake)["real_sign"].tolist() == signs


def test_augmentations_are_told_how_far_real_samples_are_beyond_the_boundary():
    class Told(Augmentation):
        def __call__(self, images, batch):
            return images

        def observe(self, logits, batch):
            self.logits = logits

    told = Told()
    for loss, boundary in ((Hinge(), 0.0), (LeastSquares(), 0.5), (Relativistic(), None)):
        game = GAN(*networks(RING.spec.unconditional()), loss, spec=RING.spec, augmentations=[told])
        scores = game.objective("discriminator", ring_batch()).scores
        expected = scores["real"] - (scores["fake"] if boundary is None else boundary)
        assert torch.equal(told.logits, expected) and not told.logits.requires_grad


def test_no_graph_where_none_is_needed():
    game = ring_game(Relativistic(), penalties=[R1(), WGANGP()])
    d = game.objective("discriminator", ring_batch())
    assert all(g is None for g in gradients(d, game.players["generator"].parameters))
    assert all(not s.requires_grad for s in d.scores.values())
    assert set(d.scores) == {"real", "fake", "real_sign", "r1", "wgangp"}
    g = game.objective("generator", ring_batch())
    assert all(not s.requires_grad for s in g.scores.values())


@pytest.mark.parametrize("loss, passes", [(Hinge(), 1), (Relativistic(), 2)])
def test_the_generator_scores_real_samples_only_if_its_loss_needs_them(loss, passes):
    game, calls = ring_game(loss), []
    game.discriminator.register_forward_hook(lambda *_: calls.append(1))
    game.objective("generator", ring_batch())
    assert len(calls) == passes


def test_labels_matter_in_a_conditional_game():
    game, batch = digit_game(), Batches(Digits(), 8, seed=0)(0, 0)
    other = Batch(batch.real, (batch.labels + 1) % 10, 0, 0, seed=0)
    for player in game.players:
        assert game.objective(player, batch).loss != game.objective(player, other).loss


def test_the_game_trains_on_two_processes_as_on_one():
    game = ring_game(penalties=[R1(), WGANGP()])
    for player in game.players:
        parameters = game.players[player].parameters
        whole = gradients(game.objective(player, ring_batch(3)), parameters)
        shares = [
            gradients(game.objective(player, Batches(RING, 16, 0, rank=r, world_size=2)(3, 0)), parameters)
            for r in range(2)
        ]
        for expected, *parts in zip(whole, *shares, strict=True):
            if expected is not None:
                assert torch.allclose(sum(parts) / 2, expected, atol=1e-6)


DIFF_AUGMENT = [Color(), Crop(1, fill=0.0), Cutout(4)]


class TestAugmentations:
    batch = Batches(Digits(), 8, seed=0)(3, 0)

    @staticmethod
    def game(loss=None, **keys):
        spec = Digits().spec.unconditional()
        torch.manual_seed(0)
        return GAN(ConvGenerator(spec, width=4, norm="none"), ConvDiscriminator(spec, width=4), loss or Relativistic(),
                   spec=spec, augmentations=DIFF_AUGMENT, **keys)  # fmt: skip

    @staticmethod
    def augmented(samples, batch):
        for augmentation in DIFF_AUGMENT:
            samples = augmentation(samples, batch)
        return samples

    @pytest.mark.parametrize("loss", [Hinge(), Relativistic()])
    def test_both_players_see_real_and_fake_samples_augmented_by_different_draws(self, loss):
        game, batch = self.game(loss), self.batch
        fakes = game.generator(batch.normal("latent", 64))
        real = game.discriminator(self.augmented(batch.real, batch.under("real")))
        fake = game.discriminator(self.augmented(fakes, batch.under("fake")))
        d, g = (game.objective(player, batch) for player in ("discriminator", "generator"))
        assert torch.allclose(d.loss, loss.discriminator(real, fake))
        assert torch.allclose(g.loss, loss.generator(real, fake))
        assert not torch.allclose(d.scores["real"], game.discriminator(batch.real), atol=1e-4)
        alike = self.augmented(batch.real, batch.under("fake"))
        assert not torch.allclose(alike, self.augmented(batch.real, batch.under("real")))

    def test_the_generator_learns_through_them(self):
        game, batch = self.game(Hinge()), self.batch
        parameters = game.players["generator"].parameters
        fakes = game.generator(batch.normal("latent", 64))
        logits = game.discriminator(self.augmented(fakes, batch.under("fake")))
        expected = torch.autograd.grad(-logits.mean(), parameters)
        for a, b in zip(gradients(game.objective("generator", batch), parameters), expected, strict=True):
            assert torch.allclose(a, b, atol=1e-7) and a.any()

    def test_penalties_differentiate_through_them(self):
        game, batch = self.game(penalties=[R1(1.0), WGANGP(2.0)]), self.batch
        x = batch.real.clone().requires_grad_(True)
        logits = game.discriminator(self.augmented(x, batch.under("real")))
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        objective = game.objective("discriminator", batch)
        r1 = slope.flatten(1).square().sum(1).mean() / 2
        assert torch.allclose(objective.scores["r1"], r1)

        u = batch.uniform("interpolates", 1, 1, 1)
        between = (u * batch.real + (1 - u) * game.generator(batch.normal("latent", 64)).detach()).requires_grad_(True)
        logits = game.discriminator(self.augmented(between, batch.under("penalty")))
        (slope,) = torch.autograd.grad(logits.sum(), between, create_graph=True)
        gp = 2 * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        assert torch.allclose(objective.scores["wgangp"], gp)

        real = game.discriminator(self.augmented(batch.real, batch.under("real")))
        fakes = game.generator(batch.normal("latent", 64)).detach()
        loss = game.loss.discriminator(real, game.discriminator(self.augmented(fakes, batch.under("fake"))))
        parameters = game.players["discriminator"].parameters
        expected = torch.autograd.grad(loss + r1 + gp, parameters)
        for a, b in zip(gradients(objective, parameters), expected, strict=True):
            assert torch.allclose(a, b, atol=1e-6)

    def test_samples_are_not_augmented(self):
        game = self.game()
        plain = GAN(game.generator, game.discriminator, Hinge())
        assert torch.equal(game.sample(4, seed=0), plain.sample(4, seed=0))

    def test_shares_on_two_processes_are_the_whole(self):
        game = self.game(Hinge(), penalties=[R1()])
        parameters = game.players["discriminator"].parameters
        whole = gradients(game.objective("discriminator", self.batch), parameters)
        shares = [gradients(game.objective("discriminator", Batches(Digits(), 8, 0, r, 2)(3, 0)), parameters)
                  for r in range(2)]  # fmt: skip
        for expected, *parts in zip(whole, *shares, strict=True):
            assert torch.allclose(sum(parts) / 2, expected, atol=1e-6)

    def test_points_are_refused_before_any_step(self):
        with pytest.raises(UserError, match="augmentation color: expected images"):
            GAN(*networks(RING.spec.unconditional()), Hinge(), spec=RING.spec, augmentations=DIFF_AUGMENT)


class TestSample:
    def test_is_a_function_of_the_seed_and_leaves_no_trace(self):
        game = digit_game()
        game.generator.layers[1].eval()  # a frozen batch norm stays one
        Batches(Digits(), 8, seed=0)
        game.objective("generator", Batches(Digits(), 8, seed=0)(0, 0))
        modes = [m.training for m in game.generator.modules()]
        assert not all(modes) and any(modes)
        state = copy.deepcopy(game.generator.state_dict())
        random = torch.get_rng_state()
        first, again, other = game.sample(12, seed=1), game.sample(12, seed=1), game.sample(12, seed=2)
        assert first.shape == (12, 1, 8, 8) and not first.requires_grad
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert [m.training for m in game.generator.modules()] == modes
        assert all(torch.equal(v, state[k]) for k, v in game.generator.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)

    def test_does_not_depend_on_the_chunks(self):
        game = digit_game()
        assert torch.allclose(game.sample(10, seed=0, chunk=3), game.sample(10, seed=0), atol=1e-6)

    def test_takes_labels_and_by_default_the_classes_in_turn(self):
        game = digit_game()
        turn = torch.arange(12) % 10
        assert torch.equal(game.sample(12, seed=0), game.sample(12, seed=0, labels=turn))
        assert not torch.equal(game.sample(12, seed=0), game.sample(12, seed=0, labels=(turn + 1) % 10))

    def test_takes_another_network(self):
        game = ring_game()
        average = copy.deepcopy(game.generator)
        with torch.no_grad():
            for p in average.parameters():
                p.mul_(0.5)
        assert not torch.equal(game.sample(5, seed=0), game.sample(5, seed=0, network=average))
        assert average.training

    def test_restores_modes_and_random_state_when_the_network_fails(self):
        game = ring_game()
        random = torch.get_rng_state()
        game.generator.forward = lambda *_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            game.sample(2, seed=0)
        assert game.generator.training and torch.equal(torch.get_rng_state(), random)

    def test_noise_of_the_networks_own_repeats(self):
        class Noisy(nn.Linear):
            latent_dim = 3

            def forward(self, z, labels=None):
                return super().forward(z) + torch.randn(len(z), 2)

        game = GAN(Noisy(3, 2), networks(RING.spec.unconditional())[1], Hinge())
        random = torch.get_rng_state()
        assert torch.equal(game.sample(4, seed=0), game.sample(4, seed=0))
        assert torch.equal(torch.get_rng_state(), random)

    def test_refuses_labels_that_would_be_ignored(self):
        with pytest.raises(UserError, match="not conditional"):
            ring_game().sample(2, seed=0, labels=torch.zeros(2, dtype=torch.int64))


class TestWrongUse:
    def test_conditional_on_data_without_labels(self):
        spec = RING.spec.unconditional()
        with pytest.raises(UserError, match="game.conditional: the data have no classes"):
            GAN(*networks(spec), Hinge(), conditional=True, spec=spec)
        game = GAN(*networks(), Hinge(), conditional=True)
        with pytest.raises(UserError, match="game.conditional: the data have no labels"):
            game.objective("generator", Batch(RING.samples, None, 0, 0, seed=0))

    def test_class_conditional_networks_in_an_unconditional_game(self):
        with pytest.raises(UserError, match="needs labels; set game.conditional"):
            GAN(*networks(), Hinge())

    def test_a_generator_of_the_wrong_shape(self):
        generator, _ = networks(DataSpec((3,)))
        with pytest.raises(UserError, match=r"MLPGenerator: expected .* shape \(2, 2\), .* shape \(2, 3\)"):
            GAN(generator, networks(DataSpec((2,)))[1], Hinge(), spec=DataSpec((2,)))

    def test_a_discriminator_that_returns_a_column(self):
        class Column(nn.Linear):
            def forward(self, x, labels=None):
                return super().forward(x)

        generator, _ = networks(DataSpec((2,)))
        with pytest.raises(UserError, match=r"Column: expected one logit per sample, .* shape \(2, 1\)"):
            GAN(generator, Column(2, 1), Hinge())

    def test_a_network_without_labels_in_a_conditional_game(self):
        with pytest.raises(
            UserError, match=r"^game.generator.model: Unlabelled.forward takes no labels, .*conditional"
        ):
            GAN(Unlabelled(), Unlabelled(), Hinge(), conditional=True)

    def test_networks_for_labels_in_a_game_without(self):
        class Labelled(nn.Linear):
            latent_dim = 2

            def forward(self, x, labels):
                return super().forward(x + labels[:, None])

        with pytest.raises(UserError, match=r"^game.generator.model: Labelled raised .*; labels is None here, as .*"):
            GAN(Labelled(2, 2), networks(DataSpec((2,)))[1], Hinge())

    def test_a_generator_without_latent_dim(self):
        with pytest.raises(UserError, match="Linear.latent_dim: expected the length of a latent vector"):
            GAN(nn.Linear(2, 2), networks(DataSpec((2,)))[1], Hinge())

    def test_a_game_that_does_not_say_which_player_makes_samples(self):
        class Nameless(GenerativeGame):
            def objective(self, player, batch):
                raise AssertionError

        generator, discriminator = networks(DataSpec((2,)))
        game = Nameless([Player("discriminator", discriminator), Player("generator", generator)])
        with pytest.raises(UserError, match=r"^game: Nameless.evaluated_player: .* evaluated_player = \"generator\""):
            _ = game.latent_dim

    def test_a_shared_parameter(self):
        generator, discriminator = networks(DataSpec((2,)))
        discriminator.extra = generator.layers[0].weight
        with pytest.raises(UserError, match="share a parameter"):
            GAN(generator, discriminator, Hinge())

    def test_the_check_leaves_no_trace(self):
        spec = Digits().spec
        generator, discriminator = ConvGenerator(spec), ConvDiscriminator(spec, spectral_norm=True)
        state = copy.deepcopy([generator.state_dict(), discriminator.state_dict()])
        random = torch.get_rng_state()
        GAN(generator, discriminator, Hinge(), conditional=True, spec=spec)
        assert generator.training and discriminator.training
        for before, module in zip(state, (generator, discriminator), strict=True):
            assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)


def test_samples_of_given_latents_leave_no_trace_and_their_noise_is_that_of_the_seed():
    game = digit_game()
    game.generator.train()
    game.generator.layers.append(nn.Dropout(0.5))  # stays off
    before, drawn = copy.deepcopy(game.generator.state_dict()), torch.get_rng_state()
    z, labels = torch.randn(5, game.generator.latent_dim, generator=torch.Generator().manual_seed(1)), torch.arange(5)
    whole = game.generate(z, labels)
    assert torch.equal(whole, game.generate(z, labels, chunk=5)) and whole.shape == (5, *game.spec.shape)
    torch.testing.assert_close(whole, torch.cat([game.generate(z[i : i + 2], labels[i : i + 2]) for i in (0, 2, 4)]))
    assert game.generator.training and torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in game.generator.state_dict().items())
    noisy = copy.deepcopy(game.generator)
    noisy.layers.append(Noise())
    first, again, other = (game.generate(z, labels, seed, network=noisy) for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)


class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Unlabelled(nn.Module):
    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return self.linear(x)


class Optional(Unlabelled):
    def forward(self, x, temperature=1.0):
        return (temperature * self.linear(x)).sum(1)


class Demanding(Optional):
    def forward(self, x, labels):
        assert labels is None
        return super().forward(x)


@pytest.mark.parametrize("discriminator", [Optional, Demanding])
def test_networks_that_are_told_no_labels_need_not_take_them(discriminator):
    game = GAN(Unlabelled(), discriminator(), Hinge())
    batch = Batch(torch.zeros(4, 2), None, index=0, step=0, seed=0)
    assert all(game.objective(player, batch).loss.requires_grad for player in game.players)
    assert game.sample(3, seed=0).shape == (3, 2)
