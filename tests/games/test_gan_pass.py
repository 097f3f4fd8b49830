"""Both players' gradients from one pass, against the gradients of each objective by itself."""

from __future__ import annotations

import copy

import pytest
import torch
from gan_pairs import IMAGES, LOSSES, NETWORKS, POINTS, apart, batch_of, error, game_of, together
from torch import nn

import gantrain as gt
from gantrain.data import Batch, Color, Crop, Cutout
from gantrain.games import losses
from gantrain.games.gan import GAN
from gantrain.games.penalties import R1, R2, WGANGP, Penalty
from gantrain.gradients.evaluator import Evaluator
from gantrain.models import mlp
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM
from gantrain.sharpness.base import Plain


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("networks", "conditional"), [(name, False) for name in NETWORKS] + [(name, True) for name in ("mlp", "conv")]
)
def test_gradients_are_those_of_the_objectives_by_themselves(networks, loss, conditional):
    game = game_of(networks, loss, conditional)
    if loss == "relativistic" and networks in ("sngan", "sndcgan", "mlp with spectral norm"):
        # By itself the generator's objective takes fakes before reals; without updates the order does not matter.
        game.discriminator.eval()
    batch = batch_of(game.spec)
    expected, objectives = apart(game, batch)
    found, shared = together(game, batch)
    assert error(found, expected) < 2e-5
    for name, objective in objectives.items():
        assert torch.allclose(shared[name].loss, objective.loss, rtol=1e-5, atol=1e-6)
        assert shared[name].scores.keys() == objective.scores.keys()
        assert not shared[name].loss.requires_grad
        for key, score in objective.scores.items():
            assert torch.allclose(shared[name].scores[key], score, rtol=1e-4, atol=1e-5)


class Tanh(Penalty):
    """A penalty of the user's own on the logits of both."""

    def value(self, discriminator, real, fake, batch):
        return real.logits.tanh().square().mean() + fake.logits.tanh().square().mean()


@pytest.mark.parametrize("penalties", [[R1(1.0)], [R2(1.0)], [WGANGP(1.0)], [R1(1.0), R2(2.0), Tanh(3.0)]])
@pytest.mark.parametrize("step", [0, 1])
def test_penalties_are_the_discriminators_alone(penalties, step):
    penalties = [copy.copy(penalty) for penalty in penalties]
    for penalty in penalties:
        penalty.every = 2
    game = game_of("conv", augmentations=[Color(), Crop(2), Cutout(8)], penalties=penalties)
    batch = batch_of(game.spec, step)
    expected, objectives = apart(game, batch)
    found, shared = together(game, batch)
    assert error(found, expected) < 2e-5
    assert torch.allclose(shared["discriminator"].loss, objectives["discriminator"].loss, rtol=1e-5)
    assert set(shared["discriminator"].scores) == set(objectives["discriminator"].scores)


class Shifted(nn.Module):
    """A discriminator whose logits lie around a given number."""

    independent_samples = True

    def __init__(self, inner, shift):
        super().__init__()
        self.inner, self.shift = inner, shift

    def forward(self, samples, labels=None):
        return self.inner(samples) + self.shift


@pytest.mark.parametrize("shift", [-100.0, -15.0, 15.0, 100.0])
@pytest.mark.parametrize("loss", LOSSES)
def test_logits_far_from_zero_lose_no_digits(loss, shift):
    game = game_of("mlp", loss)
    game = GAN(game.generator, Shifted(game.discriminator, shift), game.loss, spec=game.spec)
    batch = batch_of(game.spec)
    found, _ = together(game, batch)
    # The reference in double precision; derivatives below the range of single precision are zero there.
    twin = copy.deepcopy(game)
    for player in twin.players.values():
        player.module.double()
    real = batch.real.double()
    fake = twin.discriminator(twin.generator(batch.normal("latent", 3).double()))
    real = twin.discriminator(real)
    for name, value in (
        ("generator", twin.loss.generator(real.detach(), fake)),
        ("discriminator", twin.loss.discriminator(real, fake)),
    ):
        expected = torch.autograd.grad(value, list(twin.players[name].module.parameters()), retain_graph=True)
        for a, b in zip(found[name], expected, strict=True):
            assert a.isfinite().all()
            assert torch.allclose(a.double(), b, rtol=1e-4, atol=1e-6 * float(b.abs().max()) + 1e-22)


def test_a_discriminator_that_has_won_gets_no_gradient_of_the_hinge_loss():
    game = game_of("mlp", "hinge")

    class Won(Shifted):
        def forward(self, samples, labels=None):
            # Real samples are those that do not come from the generator, and so need no gradient.
            return self.inner(samples) * 0.01 + (-9.0 if samples.requires_grad else 9.0)

    won = GAN(game.generator, Won(game.discriminator, 0.0), game.loss, spec=game.spec)
    found, _ = together(won, batch_of(won.spec))
    assert all(not g.any() for g in found["discriminator"])
    assert any(g.any() for g in found["generator"])


class Mixing(nn.Module):
    """A discriminator in which each sample touches the logits of all; it says nothing about that."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, samples, labels=None):
        return self.inner(samples + samples.mean(0, keepdim=True))


class Derived(mlp.MLPDiscriminator):
    """A discriminator whose samples touch each other, derived from one whose samples do not."""

    def forward(self, samples, labels=None):
        return super().forward(samples + samples.std(0, keepdim=True), labels)


@pytest.mark.parametrize("own", ["discriminator", "derived discriminator", "augmentation", "batch norm"])
def test_where_samples_mix_the_gradients_are_right_all_the_same(own):
    game = game_of("dcgan" if own == "batch norm" else "conv")
    if own == "derived discriminator":
        game = game_of("mlp")
        game = GAN(game.generator, Derived(POINTS.unconditional(), width=8), game.loss, spec=game.spec)
    if own == "discriminator":
        game = GAN(game.generator, Mixing(game.discriminator), game.loss, spec=game.spec)
    if own == "augmentation":

        class Mixup(gt.Augmentation):
            def __call__(self, images, batch):
                return images + 0.5 * images.flip(0)

        game.augmentations = (Mixup(),)
    expected, _ = apart(game, batch_of(game.spec))
    found, _ = together(game, batch_of(game.spec))
    assert error(found, expected) < 2e-5


class Decayed(losses.NonSaturating):
    """A loss that depends on weights and on features of the discriminator, too."""

    proportional = True

    def __init__(self, network):
        self.network, self.features = network, []
        network.layers[1].register_forward_hook(lambda module, x, y: self.features.append(y))

    def discriminator(self, real, fake):
        decay = sum(p.square().sum() for p in self.network.parameters())
        return super().discriminator(real, fake) + 0.1 * decay + self.features[-2].square().mean()

    def generator(self, real, fake):
        return super().generator(real, fake) + self.features[-1].square().mean()


@pytest.mark.parametrize("penalties", [[], [WGANGP(1.0)]])
def test_a_loss_may_depend_on_more_than_logits(penalties):
    base = game_of("mlp")
    found = []
    for shares in (True, False):
        generator, discriminator = copy.deepcopy((base.generator, base.discriminator))
        game = GAN(generator, discriminator, Decayed(discriminator), penalties=penalties, spec=POINTS)
        if shares:
            found.append(together(game, batch_of(POINTS))[0])
        else:
            objectives = {name: game.objective(name, batch_of(POINTS)) for name in game.players}
            found.append({n: torch.autograd.grad(o.loss, game.players[n].parameters) for n, o in objectives.items()})
    assert error(*found) < 2e-5


class Reconstructing(Shifted):
    """A discriminator with a loss of its own on the real samples."""

    independent_samples = True

    def forward(self, samples, labels=None):
        return self.inner(samples, labels)

    def auxiliary_loss(self, samples, labels):
        return 0.3 * self.inner(2 * samples, labels).square().mean()


def test_a_discriminator_may_add_a_loss_of_its_own():
    own = game_of("mlp")
    own = GAN(own.generator, Reconstructing(own.discriminator, 0.0), losses.Hinge(), spec=POINTS)
    batch = batch_of(POINTS)
    own_term = 0.3 * own.discriminator.inner(2 * batch.real).square().mean()
    found = own.objective("discriminator", batch)
    hinge = GAN(own.generator, own.discriminator.inner, losses.Hinge(), spec=POINTS).objective("discriminator", batch)
    assert found.scores["auxiliary"] == own_term.detach()
    assert torch.allclose(found.loss, hinge.loss + own_term)
    objectives = {name: own.objective(name, batch) for name in own.players}
    apart = {n: torch.autograd.grad(o.loss, own.players[n].parameters) for n, o in objectives.items()}
    assert error(together(own, batch)[0], apart) < 2e-5


class Writing(Shifted):
    """A discriminator that writes into the samples that it is given."""

    independent_samples = True

    def forward(self, samples, labels=None):
        samples -= 0.1
        samples *= 1.5
        return self.inner(samples, labels)


@pytest.mark.parametrize("penalties", [[], [R1(1.0), R2(1.0)]])
def test_a_discriminator_may_write_into_its_samples(penalties):
    base = game_of("conv", "relativistic")  # images come from a tanh, whose backward pass needs them
    game = GAN(base.generator, Writing(base.discriminator, 0.0), base.loss, penalties=penalties, spec=base.spec)
    batch = batch_of(game.spec)
    before = batch.real.clone()
    expected, _ = apart(game, batch)
    found, _ = together(game, batch)
    assert torch.equal(batch.real, before)
    assert error(found, expected) < 2e-5


class Shifting(losses.Relativistic):
    """A loss that writes into the logits that it is given."""

    proportional = True

    def discriminator(self, real, fake):
        real *= 2
        fake += 1
        return super().discriminator(real, fake)

    def generator(self, real, fake):
        return super().generator(real.neg_(), fake.mul_(3))


def test_a_loss_may_write_into_the_logits():
    base = game_of("mlp")
    game = GAN(base.generator, base.discriminator, Shifting(), spec=POINTS)
    expected, objectives = apart(game, batch_of(POINTS))
    found, shared = together(game, batch_of(POINTS))
    assert error(found, expected) < 2e-5
    for name in objectives:
        for key, score in objectives[name].scores.items():
            assert torch.allclose(shared[name].scores[key], score, atol=1e-6)


@pytest.mark.parametrize("shift", [-100.0, -15.0, 0.0])
def test_in_float16_no_slope_leaves_the_range(shift):
    base = game_of("mlp")
    game = GAN(base.generator, Shifted(base.discriminator, shift), base.loss, spec=base.spec)
    with torch.autocast("cpu", torch.float16):
        shared = game.shared_pass(batch_of(game.spec))
    shared.backward({"discriminator": 2.0**16, "generator": 2.0**16})
    found = [p.grad / 2.0**16 for p in game.players["generator"].parameters]
    expected = apart(game, batch_of(game.spec))[0]["generator"]
    assert error({"generator": found}, {"generator": expected}) < 1e-2


def test_slopes_that_are_no_numbers_stay_so():
    class Broken(losses.NonSaturating):
        proportional = True

        def discriminator(self, real, fake):
            return super().discriminator(real, fake) + (0 * fake).sqrt().sum()

    base = game_of("mlp")
    found, _ = together(GAN(base.generator, base.discriminator, Broken(), spec=POINTS), batch_of(POINTS))
    assert any(g.isnan().any() for g in found["discriminator"])


def test_one_pass_serves_both_players_or_two():
    passes = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            passes.append(len(g))
            return g

    class Counting(Shifted):
        independent_samples = True

        def forward(self, samples, labels=None):
            logits = self.inner(samples)
            return Counted.apply(logits) if samples.requires_grad else logits

    for loss, expected in (("non_saturating", 1), ("wasserstein", 1), ("relativistic", 1), ("hinge", 2)):
        passes.clear()
        game = game_of("mlp", loss)
        together(GAN(game.generator, Counting(game.discriminator, 0.0), game.loss, spec=game.spec), batch_of(game.spec))
        assert len(passes) == expected


def field(game, batches, oracles=(None, None), **keys):
    learners = [
        Learner(player, torch.optim.SGD(player.parameters, lr=0.1), oracle)
        for player, oracle in zip(game.players.values(), oracles, strict=True)
    ]
    return Field(Evaluator(game, batches, **keys), learners)


def test_a_simultaneous_turn_of_plain_gradients_shares_the_pass(monkeypatch):
    calls = []
    for method in ("shared_pass", "objective"):
        original = getattr(GAN, method)

        def recorded(*args, original=original, method=method):
            calls.append(method)
            return original(*args)

        monkeypatch.setattr(GAN, method, recorded)
    batches = lambda draw, step: batch_of(POINTS)  # noqa: E731
    for order, oracles, expected in (
        ("simultaneous", (None, None), ["shared_pass"]),
        ("alternating", (None, None), ["objective", "objective"]),
        ("simultaneous", (None, SAM(0.1)), ["objective"] * 3),
    ):
        calls.clear()
        one = field(game_of(), batches, oracles)
        one.move(one.draw(), order)
        assert calls == expected
        assert one.evaluator.evaluations["discriminator"] == 1

    class Halved(Plain):
        """An oracle that is derived from the plain one, and is none."""

        def evaluate(self, context, part):
            return [[g / 2 for g in context.gradient()]]

    calls.clear()
    one = field(game_of(), batches, (Halved(), None))
    one.move(one.draw(), "simultaneous")
    assert calls == ["objective", "objective"]

    class Own(GAN):
        """A game of the user's own, whose objective the shared pass does not know."""

    calls.clear()
    base = game_of()
    one = field(Own(base.generator, base.discriminator, base.loss, spec=base.spec), batches)
    one.move(one.draw(), "simultaneous")
    assert calls == ["objective", "objective"]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_turn_counts_observes_and_moves_as_separate_turns_do(scaled, accumulation):
    source = torch.Generator().manual_seed(3)
    rows = torch.rand(6, 2, generator=source)

    def batches_for(one):
        def batches(draw, step):
            number, of = one[0].evaluator.share
            return Batch(rows.chunk(of)[number], None, draw, step, 0, number, of)

        return batches

    results = []
    for shares in (True, False):
        holder: list = []
        game = game_of()
        if not shares:
            game.__class__ = type("Apart", (GAN,), {})
        holder.append(field(game, batches_for(holder), accumulation=accumulation, scaled=scaled))
        one = holder[0]
        one.evaluator.observing = True
        for _ in range(3):
            one.move(one.draw(), "simultaneous")
        results.append(one)
    left, right = results
    assert left.evaluator.evaluations == right.evaluator.evaluations == {"discriminator": 3, "generator": 3}
    for a, b in zip(left.learners, right.learners, strict=True):
        for p, q in zip(a.parameters, b.parameters, strict=True):
            assert torch.allclose(p, q, rtol=1e-5, atol=1e-6)
    for name, observed in right.evaluator.observed.items():
        assert left.evaluator.observed[name].keys() == observed.keys()
        for key, value in observed.items():
            assert torch.allclose(left.evaluator.observed[name][key], value, rtol=1e-4, atol=1e-6)


def test_the_learners_of_a_turn_may_stand_in_any_order():
    one = field(game_of("conv"), lambda draw, step: batch_of(IMAGES))
    discriminator, generator = one.learners
    found = []
    for turn in ([discriminator, generator], [generator, discriminator], [discriminator], [generator]):
        one.evaluate(0, turn)
        found.append({learner.name: [p.grad for p in learner.parameters] for learner in turn})
    together, reverse, *alone = found
    for other in (reverse, alone[0] | alone[1]):
        assert error(together, {name: other[name] for name in together}) < 2e-5
    one.evaluate(0, [generator, generator])  # as a loop of a user's own might
    assert error({"generator": [p.grad for p in generator.parameters]}, {"generator": together["generator"]}) < 2e-5
