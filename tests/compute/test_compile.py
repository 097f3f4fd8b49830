"""Compiled networks, channels last and TF32 compute what plain single precision computes, within rounding.

Parameters of runs that differ only in these are compared at 1e-5: a step of Adam moves each by about 1e-3, and
rounding, 2^-24 of each number in sums of some hundred of them, by less than a hundredth of that. In bf16 both runs
round to 2^-8, in other places: they may lie as far apart as the roundings take them from single precision.

Most compiled runs take torch's backend aot_eager, which traces and differentiates as the real one does, but in seconds.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from cases import few
from forked import together
from tiny import DIGITS, RING, back_to, config_of, rows, same, state
from torch import nn

from gantrain.commands.train import train
from gantrain.compute import compile
from gantrain.compute.precision import single_precision
from gantrain.data.batch import Batch
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.gan import GAN
from gantrain.games.losses import Hinge
from gantrain.models import MLPDiscriminator, MLPGenerator
from gantrain.models.layers.spectral_norm import spectrally_normalised
from gantrain.runs.saved import load
from gantrain.train.trainer import Trainer

AOT = {"backend": "aot_eager", "dynamic": False}
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
CLASSIFIER = {
    "run": {"name": "classifier", "steps": 20},
    "data": {"name": "digits", "batch_size": 32},
    "game": {
        "name": "classification",
        "standardise": True,
        "classifier": {"model": {"name": "conv", "width": 4}, "optimizer": SGD},
    },
    "ema": {"decay": 0.9},
    "log": {"every": 2},
    "checkpoint": {"every": 1000},
}
SAM = "{name: sam, rho: 0.05}"
RUNS = {
    "gda": (DIGITS, "outer={name: gda, order: alternating}", "game.conditional=true"),
    "extragradient": (DIGITS, "outer=extragradient", "game.penalties=[{name: r1, every: 2}]"),
    "rapp": (
        DIGITS,
        "outer=rapp",
        "game.discriminator.sharpness={name: sampa, rho: 0.01, climb: tanh}",
        f"game.generator.sharpness={SAM}",
    ),
    "random_direction": (DIGITS, "outer=gda", "game.discriminator.sharpness={name: sam, rho: 0.01, direction: random}"),
    "sam": (CLASSIFIER, f"game.classifier.sharpness={SAM}"),
    "sampa": (CLASSIFIER, "game.classifier.sharpness=sampa"),
}
LAID_OUT, COMPILED = "run.channels_last=true", "run.compile=true"


@pytest.fixture
def aot(monkeypatch):
    """The quick backend; the fixture is what the compiler counts."""
    from torch._dynamo.utils import counters  # the compiler takes seconds to import, and most tests need none

    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(compile, "compile_options", lambda graphs: AOT)
    return counters


def of(name, folder, *overrides):
    base, *changes = RUNS[name]
    return config_of(base, folder, "run.steps=6", *changes, *overrides)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The plain run of a name, which is trained once."""
    folder = tmp_path_factory.mktemp("plain")

    @functools.cache
    def trained(name):
        with pytest.MonkeyPatch.context() as patched:
            laid_out = layouts(patched)
            run = train(of(name, folder / name))
        assert laid_out and not any(laid_out)
        return run

    return trained


def layouts(monkeypatch):
    """For each call of a convolution from now on, whether its input has the channels last."""
    laid_out, convolve = [], nn.Conv2d.forward

    def seen(self, x):
        laid_out.append(order(x) != order(x.contiguous()))
        return convolve(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", seen)
    return laid_out


def pairs(left, right):
    """The tensors of the networks of two checkpoints."""
    players = [part for part in left if part in ("generator", "discriminator", "classifier", "ema")]
    assert len(players) in (2, 3)
    return [
        (torch.as_tensor(value), torch.as_tensor(right[part][name]))
        for part in players
        for name, value in left[part].items()
    ]


def assert_near(left, right):
    for pair in pairs(left, right):
        torch.testing.assert_close(*pair, rtol=0, atol=1e-5)


def distance(left, right):
    return torch.stack([(a.double() - b.double()).norm() for a, b in pairs(left, right)]).norm()


@pytest.mark.parametrize("name", few(RUNS, "rapp"))
def test_channels_last_agrees_with_plain_and_is_another_computation(name, tmp_path, plain, monkeypatch):
    expected = state(plain(name))
    laid_out = layouts(monkeypatch)
    other = train(of(name, tmp_path, LAID_OUT))
    assert any(laid_out)
    assert_near(expected, state(other))


# A run that goes on in another way, below, is one of extragradient.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["rapp", "extragradient", "sam"])
def test_compiled_agrees_with_plain(name, tmp_path, plain, aot):
    expected = state(plain(name))
    assert not aot["stats"]
    other = train(of(name, tmp_path, LAID_OUT, COMPILED, "run.tf32=true"))
    assert_near(expected, state(other))
    # One graph is the check that this machine can compile. How many more there are depends on torch's version.
    assert aot["stats"]["unique_graphs"] > 1
    if torch.__version__ >= "2.14":  # torch 2.9 cannot trace all of a GAN in one piece, and is right nevertheless
        assert not aot["graph_break"]


@pytest.mark.slow
@pytest.mark.usefixtures("aot")
def test_in_half_precision_they_agree_within_its_rounding(tmp_path, plain):
    single = state(plain("gda"))
    half = state(train(of("gda", tmp_path, "run.name=half", "run.precision=bf16")))
    other = state(train(of("gda", tmp_path, "run.name=other", "run.precision=bf16", LAID_OUT, COMPILED)))
    assert 0 < distance(half, other) < 2 * distance(half, single)


class Noisy(nn.Module):
    """Spectral norm and dropout: buffers that move and numbers that are drawn in a forward pass."""

    def __init__(self, spec):
        super().__init__()
        layers = nn.Linear(2, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 1)
        self.layers = draw_vectors(spectrally_normalised(nn.Sequential(*layers)))

    def forward(self, x, labels=None):
        return self.layers(x).squeeze(1)


def draw_vectors(network):
    """Move the vectors of spectral norm far from the singular vectors, so that a step too many would show."""
    for buffer in network.buffers():
        buffer.copy_(nn.functional.normalize(torch.randn(buffer.shape), dim=0))
    return network


NOISY = "game.discriminator.model={target: 'test_compile:Noisy'}"


@pytest.mark.slow
def test_the_real_compiler_draws_and_differentiates_the_same_and_resumes_to_the_last_bit(tmp_path):
    """The discriminator sees real and fake samples before either is differentiated."""
    uncompiled = train(config_of(RING, tmp_path, "run.name=plain", NOISY, "run.steps=6"))
    config = config_of(RING, tmp_path, "run.name=other", NOISY, "run.steps=6", "checkpoint.every=4", COMPILED)
    other = train(config)
    whole, logged = state(other), rows(other)
    assert_near(state(uncompiled), whole)
    back_to(other, 4)
    train(config, resume=True)
    assert same(state(other), whole) and rows(other) == logged


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rapp", "extragradient", "random_direction", "sam", "sampa"])
def test_the_real_compiler_agrees_with_plain(name, tmp_path, plain):
    for number, options in enumerate([[COMPILED], [COMPILED, LAID_OUT]]):
        assert_near(state(plain(name)), state(train(of(name, tmp_path, f"run.name=other{number}", *options))))


@pytest.mark.slow
def test_a_compiled_run_resumed_in_another_process_is_the_same_to_the_last_bit(tmp_path):
    options = ("run.name=parts", COMPILED, LAID_OUT)
    whole = train(of("rapp", tmp_path, *options, "run.name=whole"))
    together(resumed, str(tmp_path), options, 4, world=1)
    together(resumed, str(tmp_path), options, 6, world=1)
    assert same(state(whole), state(tmp_path / "parts"))


def resumed(folder, options, steps):
    train(of("rapp", Path(folder), *options, f"run.steps={steps}"), resume=True)


@pytest.mark.parametrize("name", few(["rapp", "sampa"], "sampa"))
def test_a_run_goes_on_with_channels_last_to_the_last_bit(name, tmp_path):
    config = of(name, tmp_path, LAID_OUT, "checkpoint.every=3")
    run = train(config)
    whole = state(run)
    back_to(run, 3)
    train(config, resume=True)
    assert same(state(run), whole)


@pytest.mark.parametrize(
    ("first", "then"),
    [((), (LAID_OUT, COMPILED)), pytest.param((LAID_OUT, COMPILED), (), marks=pytest.mark.slow)],
)
@pytest.mark.usefixtures("aot")
def test_a_run_goes_on_in_another_way_from_a_checkpoint_of_either(first, then, tmp_path, plain):
    """Wrong strides would give a fused Adam the moments of other weights."""
    whole = plain("extragradient")
    train(of("extragradient", tmp_path, *first, "run.steps=3"))
    parts = train(of("extragradient", tmp_path, *then), resume=True)
    assert_near(state(parts), state(whole))
    for weights in ("ema", "live"):
        samples = [load(run, weights=weights).game.sample(4, 0) for run in (whole, parts)]
        torch.testing.assert_close(*samples, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", few(RUNS, "gda"))
def test_everything_that_a_fused_optimizer_reads_lies_as_its_parameter_does(name, tmp_path, monkeypatch):
    trainers, fit = [], Trainer.fit
    monkeypatch.setattr(Trainer, "fit", lambda self, *a: (trainers.append(self), fit(self, *a))[1])
    train(of(name, tmp_path, LAID_OUT, "run.steps=3"))
    train(of(name, tmp_path, LAID_OUT, "run.steps=5"), resume=True)
    for trainer in trainers:
        seen = 0
        for learner in trainer.learners:
            assert all(a is b for a, b in zip(learner.parameters, learner.player.module.parameters(), strict=True))
            for p in learner.parameters:
                moments = [m for m in learner.optimizer.state[p].values() if m.dim() > 0]
                assert moments and {order(t) for t in [p.grad, *moments]} == {order(p)}
                assert p.dim() != 4 or p.is_contiguous(memory_format=torch.channels_last)
                seen += p.dim() == 4 and not p.is_contiguous()
        assert seen


class Colours(ImageSet):
    """Noise in three colours."""

    def __init__(self):
        noise = torch.randint(0, 256, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0))
        super().__init__(noise.to(torch.uint8), None, 0)


@pytest.mark.parametrize("option", [(), (LAID_OUT,)])
def test_batches_of_images_have_the_layout_of_the_run(option, tmp_path, monkeypatch):
    batches, objective = [], GAN.objective
    monkeypatch.setattr(GAN, "objective", lambda self, player, b: (batches.append(b), objective(self, player, b))[1])
    data = "data={target: 'test_compile:Colours', batch_size: 16}"
    train(config_of(DIGITS, tmp_path, data, "run.steps=2", *option))
    wanted = torch.channels_last if option else torch.contiguous_format
    # One for each player and step, and before that one for each player in the rehearsal.
    assert len(batches) == 6 and all(b.real.is_contiguous(memory_format=wanted) for b in batches)


def order(t):
    """Where each number of a tensor lies in memory; strides say it in several ways where a dimension has one entry."""
    return tuple(stride for size, stride in zip(t.shape, t.stride(), strict=True) if size > 1)


def test_looks_and_saved_networks_are_not_compiled(tmp_path, monkeypatch, aot):
    looked, look = [], Trainer.run_callback
    monkeypatch.setattr(Trainer, "run_callback", lambda *a: (look(*a), looked.append(aot["stats"]["unique_graphs"]))[0])
    often = train(config_of(RING, tmp_path, "run.steps=6", "samples={every: 1, count: 10}", COMPILED, "ema=null"))
    assert looked[0] == looked[5] > 1
    load(often).game.sample(3, 0)
    assert aot["stats"]["unique_graphs"] == looked[0]


def on_two_processes(folder, options):
    compile.compile_options = lambda graphs: AOT
    train(of("gda", Path(folder), "run.name=two", *options))


@pytest.mark.parametrize("options", [(LAID_OUT,), pytest.param((LAID_OUT, COMPILED), marks=pytest.mark.slow)])
def test_two_processes_with_synchronised_batch_norm_agree_with_one(options, tmp_path, plain):
    together(on_two_processes, str(tmp_path), options)
    assert_near(state(plain("gda")), state(tmp_path / "two"))


def test_points_have_no_channels(ring, tmp_path):
    with pytest.raises(UserError, match=r"^run.channels_last: expected images, got data of shape \(2,\); "):
        train(ring(LAID_OUT))
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_it_is_said_before_anything_is_written(ring, tmp_path):
    from torch._inductor import config as compiling

    torch._dynamo.reset()
    missing = compiling.patch({"cpp.cxx": (None, "a-compiler-that-is-missing")})
    with missing, pytest.raises(UserError) as caught:
        train(ring(COMPILED))
    message = str(caught.value)
    assert message.startswith("run.compile: the networks cannot be compiled (") and "\n" not in message
    assert "No working C++ compiler found" in message and "apt-get install g++ python3-dev), or set it to" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # a run with the real compiler, above, would show it too
def test_the_real_compiler_does_not_move_the_vectors_of_spectral_norm_twice():
    """They are far from the singular vectors here, so that it would show; both passes come before the backward one."""
    gradients = []
    for compiled in (False, True):
        torch.manual_seed(0)
        network = spectrally_normalised(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4)))
        draw_vectors(network)
        if compiled:
            network.compile(**compile.compile_options(False))
        loss = sum(network(torch.randn(5, 3)).square().sum() for _ in range(2))
        gradients.append(torch.autograd.grad(loss, list(network.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


class Steep(Hinge):
    """Differentiates the logits once, and is differentiated itself."""

    def discriminator(self, real, fake):
        (slope,) = torch.autograd.grad(real.sum(), [p for p in leaves(real)], create_graph=True, allow_unused=True)[:1]
        return super().discriminator(real, fake) + slope.square().sum()


def leaves(value):
    """The parameters on which a value depends."""
    found, ahead = [], [value.grad_fn]
    while ahead:
        node = ahead.pop()
        if hasattr(node, "variable") and node.variable.dim() == 2:
            found.append(node.variable)
        ahead += [after for after, _ in node.next_functions if after is not None]
    return found


def test_second_derivatives_outside_of_penalties_are_refused(ring, aot):
    loss = "game.loss={target: 'test_compile:Steep'}"
    train(ring(loss, "run.name=plain", "run.steps=2"))
    with pytest.raises(UserError, match="^run.compile: something other than a penalty differentiates .* twice"):
        train(ring(loss, "run.name=compiled", "run.steps=2", COMPILED))


def settings():
    names = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    cpu = torch.backends.mkldnn.matmul.fp32_precision
    old = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    return [s.fp32_precision for s in names], cpu, old


@pytest.mark.parametrize("before", few(["untouched", "highest", "high", "medium"], "untouched", "high"))
def test_tf32_is_set_for_the_run_alone_and_off_where_something_is_measured(before, ring, monkeypatch):
    """Also the old names of the settings can be read throughout; they raise where the new ones contradict them."""
    during, looking = [], []
    step, show = Trainer.train_step, GAN.sample
    monkeypatch.setattr(Trainer, "train_step", lambda *a, **k: (during.append(settings()), step(*a, **k)))
    monkeypatch.setattr(GAN, "sample", lambda *a, **k: (looking.append(settings()), show(*a, **k))[1])
    untouched = torch.get_float32_matmul_precision()
    try:
        if before != "untouched":
            torch.set_float32_matmul_precision(before)
        found = settings()
        for tf32, expected in (("false", "ieee"), ("true", "tf32")):
            during.clear()
            train(ring(f"run.tf32={tf32}", "run.steps=2", f"run.name=tf32_{tf32}", "samples={every: 1, count: 4}"))
            on = tf32 == "true"
            assert [(new, old[:2]) for new, _, old in during] == [([expected] * 3, (on, on))] * 2
            assert settings() == found
        assert [(new, old[:2]) for new, _, old in looking] == [(["ieee"] * 3, (False, False))] * 4
    finally:
        torch.set_float32_matmul_precision(untouched)


def test_settings_of_which_one_name_contradicts_the_other_are_put_back():
    convolutions, before = torch.backends.cudnn.conv, torch.backends.cudnn.allow_tf32
    try:
        convolutions.fp32_precision = "ieee"
        with single_precision(tf32=True):
            assert convolutions.fp32_precision == "tf32" and torch.backends.cudnn.allow_tf32
        assert convolutions.fp32_precision == "ieee"
    finally:
        torch.backends.cudnn.allow_tf32 = before  # sets the new names, too


def test_the_opponent_is_constant_for_its_own_parameters_alone():
    torch.manual_seed(0)
    spec = DataSpec((2,))
    game = GAN(MLPGenerator(spec, latent_dim=3), MLPDiscriminator(spec), Hinge())
    batch = Batch(torch.randn(4, 2), None, 0, 0, 0)
    for joint in (False, True):
        game.joint = joint
        loss = game.objective("generator", batch).loss
        own, other = game.players["generator"].parameters, game.players["discriminator"].parameters
        assert all(p.requires_grad for p in own + other)
        gradients = torch.autograd.grad(loss, own + other if joint else own)
        assert all(g.abs().sum() > 0 for g in gradients[: len(own)])
        if not joint:
            with pytest.raises(RuntimeError, match="not have been used"):
                torch.autograd.grad(game.objective("generator", batch).loss, other)
