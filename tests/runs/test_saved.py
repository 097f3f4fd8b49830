"""gt.load: a run opened in Python gives the network, the samples and the config that the commands give."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from tiny import DIGITS, RING, config_of, state

import gantrain as gt
from gantrain.cli import cli
from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.errors import UserError
from gantrain.plotting.images import load_png, quantised

CLASSIFIER = Path(gt.__file__).parent.parent / "checkpoints" / "digits-classifier"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A conditional run that keeps an average of its weights."""
    folder = tmp_path_factory.mktemp("run")
    return train(config_of(DIGITS, folder, "run.steps=4", "checkpoint.every=2", "game.conditional=true"))


@pytest.fixture(scope="module")
def points(tmp_path_factory) -> Path:
    return train(config_of(RING, tmp_path_factory.mktemp("points"), "run.steps=2", "ema=null"))


@pytest.mark.parametrize("options", [{}, {"weights": "live", "step": 2}])
def test_samples_are_those_of_the_command_to_the_byte(run, tmp_path, options):
    samples = gt.load(run, **options).sample(5, seed=3)
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == torch.float32 and samples.abs().max() <= 1
    named = {"step": None, "weights": None} | options
    (folder,) = sample_run(str(run), 5, 3, output=str(tmp_path / "out"), images=True, **named)
    for i, image in enumerate(quantised(samples)):
        assert torch.equal(load_png(folder / f"{i:05d}.png"), image.expand(3, 8, 8))


def test_a_run_says_what_it_is(run):
    opened = gt.load(run)
    assert (opened.step, opened.weights, opened.folder) == (4, "ema", run)
    assert opened.config == yaml.safe_load((run / "config.yaml").read_text())
    assert opened.spec.classes == 10 and opened.classes == tuple("0123456789")
    average = state(run)["ema"]
    assert all(torch.equal(value, average[key]) for key, value in opened.network.state_dict().items())
    live = gt.load(run, weights="live")
    assert not opened.network.training and not live.network.training and "Linear" not in repr(opened)


def test_classes_are_numbers_or_names_taken_in_turn(run):
    opened = gt.load(run)
    labels = torch.tensor([3, 5, 3, 5, 3])
    alternating = opened.sample(5, 1, [3, 5])
    expected = opened.game.sample(5, gt.utils.seeding.derive(1, "sample"), labels, opened.network)
    assert torch.equal(alternating, expected) and not torch.equal(alternating, opened.sample(5, 1))
    for same in (("3", "5"), torch.tensor([3, 5]), labels.tolist(), [3, "5"]):
        assert torch.equal(opened.sample(5, 1, same), alternating)
    assert torch.equal(opened.sample(5, 1, 3), opened.sample(5, 1, "3"))
    assert torch.equal(opened.sample(12), opened.sample(12, classes=range(10)))


def test_classes_have_the_names_of_their_folders(run):
    opened = gt.load(run)
    names = tuple(f"kind {i}" for i in range(10))
    opened = replace(opened, form=replace(opened.form, class_names=names))
    assert opened.classes == names
    assert torch.equal(opened.sample(3, classes="kind 7"), opened.sample(3, classes=7))
    with pytest.raises(UserError, match="there is no class 'kind7'; .*; did you mean 'kind 7'?"):
        opened.sample(3, classes="kind7")


def test_own_latent_vectors(run, points):
    opened = gt.load(run)
    z = torch.randn(3, opened.game.latent_dim)
    made = opened.generate(z, 4)
    assert made.shape == (3, 1, 8, 8)
    torch.testing.assert_close(made[1:2], opened.generate(z[1:2], [4]))
    assert torch.equal(opened.generate(z), opened.generate(z, [0, 1, 2]))
    assert torch.equal(opened.generate(z), opened.generate(z.double()))
    assert gt.load(points).generate(z).shape == (3, 2)
    with pytest.raises(UserError, match=r"^z: expected latent vectors \(n, 4\), got shape \(3, 5\)$"):
        opened.generate(torch.randn(3, 5))


def test_paths_end_at_the_samples_to_the_bit(run, points):
    opened = gt.load(run)
    for more in ({"classes": [3, 5]}, {}, {"classes": 7, "truncation": 0.5}):
        samples = opened.sample(4, 1, **more)
        path = opened.interpolate(5, 4, 1, **more)
        assert path.shape == (3, 5, 1, 8, 8)
        assert torch.equal(path[:, 0], samples[:-1]) and torch.equal(path[:, -1], samples[1:])
        assert all((path[:, i + 1] - path[:, i]).abs().max() > 1e-4 for i in range(4))
        closed = opened.interpolate(5, 4, 1, **more, closed=True)
        torch.testing.assert_close(closed[:3], path)
        assert torch.equal(closed[-1, -1], samples[0])
    z = opened.game.latents(2, gt.utils.seeding.derive(1, "sample"))
    middle = opened.generate(gt.models.slerp(z[0], z[1], 0.5)[None], 7)
    torch.testing.assert_close(opened.interpolate(3, 2, 1, 7)[0, 1:2], middle)
    assert gt.load(points).interpolate(2).shape == (1, 2, 2)


def test_only_the_class_may_change_along_a_path(run):
    opened = gt.load(run)
    path = opened.interpolate(3, 3, 1, [3, 5], fixed_latent=True)
    z = opened.game.latents(1, gt.utils.seeding.derive(1, "sample"))
    torch.testing.assert_close(path[:, 0], opened.generate(z.expand(2, -1), [3, 5]))
    torch.testing.assert_close(path[1], path[0].flip(0))
    assert (path[:, 1] - path[:, 0]).abs().max() > 1e-4


def test_latents_are_truncated_unless_the_generator_does_it(run, points):
    opened = gt.load(run)
    key = gt.utils.seeding.derive(2, "sample")
    source = gt.utils.seeding.generator(key, "truncation")
    z = gt.models.truncate(opened.game.latents(6, key), 0.3, source)
    assert z.abs().max() <= 0.3
    assert torch.equal(opened.sample(6, 2, truncation=0.3), opened.generate(z))
    assert torch.equal(opened.sample(6, 2, truncation=50), opened.sample(6, 2))

    class Own(type(opened.network)):
        def truncated(self, z, labels, psi):
            return psi * self(z, labels)

    network = gt.load(run).network
    network.__class__ = Own
    own = replace(opened, network=network)
    torch.testing.assert_close(own.sample(6, 2, 4, truncation=0.5), opened.sample(6, 2, 4) / 2)
    torch.testing.assert_close(own.interpolate(3, 3, 2, truncation=0), torch.zeros(2, 3, 1, 8, 8))

    class Uniform(type(opened.game)):
        def latents(self, n, seed):
            return super().latents(n, seed).erf()

    game = gt.load(points).game
    game.__class__ = Uniform
    with pytest.raises(UserError, match="^truncation: the game gan draws latent vectors of its own"):
        replace(gt.load(points), game=game).sample(3, truncation=0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda run: run.sample(3, truncation=-1),
            "^truncation: expected .* of at least 0, such as 0.7, got -1$",
        ),
        (lambda run: run.sample(3, truncation=float("nan")), "^truncation: expected a number of at least 0"),
        (lambda run: run.sample(3, truncation=True), "^truncation: expected a number of at least 0"),
        (lambda run: run.interpolate(1), "^steps: expected a whole number of at least 2, got 1$"),
        (lambda run: run.interpolate(3, 1), "^n: expected a whole number of at least 2, got 1$"),
        (lambda run: run.interpolate(3, fixed_latent=True), "^fixed_latent: the game of .* is not conditional"),
        (lambda run: run.interpolate(3, classes=1), "^classes: the game of .* is not conditional"),
    ],
)
def test_what_cannot_be_done_with_latents_is_one_line(points, call, message):
    with pytest.raises(UserError, match=message) as error:
        call(gt.load(points))
    assert "\n" not in str(error.value)


def test_a_classifier_gives_logits_and_has_no_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = gt.load("checkpoints/digits-classifier")
    samples = opened.data.decode(opened.data.samples[:50])
    assert (opened.network(samples).argmax(1) == opened.data.labels[:50]).float().mean() > 0.95
    with pytest.raises(
        UserError, match=r"the game classification has no generator; it classifies: .* network\(x\) gives logits"
    ):
        opened.sample(3)


WRONG = [
    ({}, {"n": 0}, "n: expected a whole number of at least 1, got 0"),
    (
        {},
        {"classes": 10},
        "classes: expected a number from 0 to 9 or the name of a class, got 10",
    ),
    ({}, {"classes": True}, "classes: expected a number from 0 to 9 or the name of a class, got true"),
    ({}, {"classes": [1.5]}, "classes: expected a number from 0 to 9 or the name of a class, got 1.5"),
    ({}, {"classes": []}, "classes: expected a class or more, got none"),
    ({}, {"classes": "cat"}, "classes: there is no class 'cat'; the classes are 0, 1, 2, "),
    ({}, {"seed": "one"}, "seed: expected a whole number, got 'one'"),
    ({"step": "2"}, {}, "step: expected a whole number of at least 0, got '2'"),
    ({"run": "$MISSING/run"}, {}, "^.MISSING/run: .MISSING is not set$"),
    ({"weights": "EMA"}, {}, "weights: expected one of ema, live, anchor, got 'EMA'; did you mean 'ema'?"),
    ({"device": "warp"}, {}, "device: warp: "),
    ({"step": 3}, {}, r"no whole checkpoint of step 3; there are \[2, 4\]"),
]


@pytest.mark.parametrize(("opening", "sampling", "message"), WRONG, ids=[str({**a, **b}) for a, b, _ in WRONG])
def test_what_is_wrong_is_one_line(run, opening, sampling, message):
    with pytest.raises(UserError, match=message) as caught:
        gt.load(**{"run": run} | opening).sample(**{"n": 2} | sampling)
    assert "\n" not in str(caught.value)


def test_points_have_no_classes_and_no_average(points):
    assert gt.load(points).weights == "live" and gt.load(points).sample(4).shape == (4, 2)
    with pytest.raises(UserError, match="classes: the game of .* is not conditional"):
        gt.load(points).sample(2, classes=1)
    with pytest.raises(UserError, match="this run keeps no average of its weights"):
        gt.load(points, weights="ema")


def test_commands_find_a_run_by_its_bare_name(run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "checkpoints" / "mine")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["sample", "mine", "--number", "2"], catch_exceptions=False)
    assert result.output.startswith(str(tmp_path / "checkpoints" / "mine" / "samples"))
    with pytest.raises(UserError, match="nothing at min in .*; did you mean"):
        CliRunner().invoke(cli, ["sample", "./checkpoints/min"], catch_exceptions=False)


def test_the_command_takes_classes(run, tmp_path):
    options = ["--classes", "3, 5", "--number", "4", "--images", "--output", str(tmp_path / "out")]
    assert CliRunner().invoke(cli, ["sample", str(run), *options], catch_exceptions=False).exit_code == 0
    expected = quantised(gt.load(run).sample(4, classes=[3, 5]))
    assert all(torch.equal(load_png(tmp_path / "out" / f"{i:05d}.png")[:1], image) for i, image in enumerate(expected))
