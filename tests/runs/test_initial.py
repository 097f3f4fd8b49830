"""Networks that begin with the weights of another run, and parts of them that never change."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from forked import together
from tiny import DIGITS, config_of, rows, same, state
from torch import nn

import gantrain as gt
from gantrain.commands.train import make_trainer, train
from gantrain.config.loading import load as load_config
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.runs import checkpoint

FROZEN = "layers.0.parametrizations.weight.original"
SPEC = gt.data.DataSpec((1, 8, 8))
FEW = ("run.steps=3", "samples=null")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A run whose average and live weights differ, with a checkpoint at step 2, and the best at step 3."""
    where = tmp_path_factory.mktemp("source")
    return train(config_of(DIGITS, where, "run.name=a", "run.steps=4", "samples=null", "checkpoint.every=2"))


def begun(config) -> dict:
    """The state that a run of the config begins with."""
    with process_group(cpu=True, timeout=60):
        return make_trainer(config, torch.device("cpu")).state()


@pytest.mark.parametrize(
    ("init", "part", "step", "words"),
    [
        ("", "ema", 4, "step 4, ema"),
        ("weights: live", "generator", 4, "step 4, live"),
        ("weights: ema, step: 2", "ema", 2, "step 2, ema"),
    ],
)
def test_a_network_begins_with_the_weights_that_are_named(source, tmp_path, capsys, init, part, step, words):
    config = config_of(DIGITS, tmp_path, "run.seed=5", f"game.generator.init={{run: {source}, {init}}}", *FEW)
    saved = state(source, step)[part]
    first = begun(config)
    for mine in (first["generator"], first["ema"]):
        assert all(torch.equal(t, saved[name]) for name, t in mine.items() if isinstance(t, torch.Tensor))
    folder = train(config)
    assert f"generator: 8 of 8 tensors from {source} ({words})\n" in capsys.readouterr().out
    record = json.loads((folder / "init.json").read_text())["generator"]
    assert record["checkpoint"] == str(source / f"step_{step}") and record["weights"] == words.split()[-1]
    manifest = json.loads((source / f"step_{step}" / "manifest.json").read_text())
    assert record["sha256"] == manifest[f"{part}.safetensors"]


def test_what_fits_is_taken_and_what_differs_is_named(source, tmp_path, capsys):
    wide = config_of(DIGITS, tmp_path, f"game.discriminator.init={source}", "game.conditional=true", *FEW)
    train(wide)
    (line,) = re.findall(r"discriminator: .*", capsys.readouterr().out)
    taken, of = map(int, re.match(r"discriminator: (\d+) of (\d+) tensors from ", line).groups())
    assert taken == 12 < of and f"{of - 12} not there: " in line
    narrow = config_of(DIGITS, tmp_path, f"game.generator.init={source}", "game.generator.model.latent_dim=5", *FEW)
    assert same(begun(narrow)["generator"]["layers.1.weight"], state(source)["ema"]["layers.1.weight"])
    report = gt.initialise(gt.models.ConvGenerator(SPEC, width=4, latent_dim=5), source, "generator")
    assert str(report).endswith("(step 4, ema); 1 differs in shape: dense.weight")


def test_resuming_needs_the_other_run_no_more(source, tmp_path):
    there = shutil.copytree(source, tmp_path / "there")
    settings = (
        f"game.generator.init={there}",
        f"game.discriminator.init={there}",
        "game.discriminator.freeze=layers.0",
    )
    several = ("game.discriminator.sharpness=sam", "outer=rapp", "samples=null", "checkpoint.every=2")
    straight = train(config_of(DIGITS, tmp_path, "run.name=straight", "run.steps=4", *settings, *several))
    cut = train(config_of(DIGITS, tmp_path, "run.name=cut", "run.steps=2", *settings, *several))
    shutil.rmtree(there)
    train(config_of(DIGITS, tmp_path, "run.name=cut", "run.steps=4", *settings, *several), resume=True)
    assert same(state(cut), state(straight)) and rows(cut) == rows(straight)
    assert torch.equal(state(cut)["discriminator"][FROZEN], state(source)["discriminator"][FROZEN])
    assert gt.load(cut).network is not None
    with pytest.raises(UserError, match=r"^game.generator.init.run: there is nothing at there in "):
        train(config_of(DIGITS, tmp_path, "run.name=new", *settings))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("run: {0}/nothing", "init.run: there is nothing at nothing in {0}"),
        ("run: {0}, step: 3", "init: {0}: no whole checkpoint of step 3; there are [2, 4]"),
        ("run: {0}, step: best", "init: {0}: has no best checkpoint; use step: newest, or a number"),
        ("run: {0}, player: generater", "init.player: the run of {0}/step_4 has no player 'generater'; did you mean"),
        ("run: {0}, weights: emo", "init.weights: {0}/step_4 has no weights 'emo' of generator; did you mean 'ema'?"),
        ("run: {0}, player: discriminator", "init: no tensor of discriminator in {0}/step_4 fits the network: it has "),
        ("run: {0}, player: discriminator, weights: ema", "expected live"),
    ],
)
def test_what_cannot_be_had_is_one_line(source, tmp_path, init, said):
    config = config_of(DIGITS, tmp_path, f"game.generator.init={{{init.format(source)}}}")
    with pytest.raises(UserError) as refused:
        train(config)
    assert said.format(source) in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith("game.generator.init") and not (tmp_path / "digits").exists()


def test_weights_that_are_not_finite_are_refused(source, tmp_path):
    found = state(source)
    found["generator"]["dense.weight"][0, 0] = float("inf")
    (tmp_path / "broken").mkdir()
    checkpoint.save(tmp_path / "broken", 4, found, None)
    with pytest.raises(UserError, match="step_4: dense.weight of generator is not finite; take another checkpoint$"):
        gt.initialise(
            gt.models.ConvGenerator(SPEC, width=4, latent_dim=4), tmp_path / "broken", "generator", weights="live"
        )


def test_an_average_of_all_players_is_taken_apart(tmp_path):
    games = {"name": "cournot", "costs": [1.0, 2.0], "firms": {"optimizer": {"name": "sgd", "lr": 0.1}}}
    base = {"run": {"name": "firms", "steps": 3}, "game": games, "ema": {"decay": 0.9}}
    there = train(config_of(base, tmp_path))
    (name, mean), *_ = ((n, t) for n, t in state(there)["ema"].items() if n.startswith("firm2."))
    one = nn.ParameterDict({name.removeprefix("firm2."): nn.Parameter(torch.zeros_like(mean))})
    assert gt.initialise(one, there, "firm2").weights == "ema"
    assert torch.equal(next(one.parameters()), mean)


def test_an_own_run_is_not_deleted_for_itself(source, tmp_path):
    shutil.copytree(source, tmp_path / "digits")
    with pytest.raises(UserError, match="^game.generator.init.run: .* lies in the run's folder, which --overwrite"):
        train(config_of(DIGITS, tmp_path, f"game.generator.init={tmp_path / 'digits'}"), overwrite=True)


@pytest.mark.parametrize(
    "settings",
    [
        ("game.discriminator.sharpness={name: sam, geometry: elementwise}", "outer=rapp"),
        ("game.discriminator.sharpness=sampa", "outer={name: lookahead, base: extragradient}", "run.precision=fp16"),
        ("game.discriminator.optimizer={name: adamw, lr: 0.01, weight_decay: 0.5}", "outer=ceg_plus"),
        (
            "game.discriminator.optimizer={name: muon, rest: {name: adamw, lr: 0.01, weight_decay: 0.5}}",
            "outer=optimistic",
        ),
        ("game.discriminator.constraint={name: l2_ball, radius: 0.1}", "game.penalties=[r1, lecam, orthogonal]"),
    ],
    ids=["sam_rapp", "sampa_lookahead_fp16", "decay", "muon", "constraint"],
)
def test_frozen_parameters_keep_their_bits(source, tmp_path, settings):
    freeze = ("game.discriminator.freeze=layers.0", 'game.generator.freeze=["dense.*"]')
    config = config_of(DIGITS, tmp_path, f"game.discriminator.init={source}", *freeze, *settings, *FEW)
    first, last, saved = begun(config), state(train(config)), state(source)
    assert torch.equal(last["discriminator"][FROZEN], saved["discriminator"][FROZEN])
    for name, t in last["generator"].items():
        assert torch.equal(t, first["generator"][name]) == name.startswith("dense."), name
    for name, t in last["ema"].items():
        assert not name.startswith("dense.") or torch.equal(t, first["generator"][name])
    bias = "layers.2.bias"
    assert not torch.equal(last["discriminator"][bias], first["discriminator"][bias])


def _train(folder: Path, *overrides: str) -> None:
    train(config_of(DIGITS, folder, *overrides))


def test_all_processes_begin_with_the_weights_of_the_first(source, tmp_path):
    settings = (f"game.discriminator.init={source}", "game.discriminator.freeze=layers.0", *FEW)
    together(_train, tmp_path, "run.name=two", *settings)
    one = train(config_of(DIGITS, tmp_path, "run.name=one", *settings))
    (first, second), saved = (state(tmp_path / name)["discriminator"] for name in ("one", "two")), state(source)
    for name, t in first.items():
        torch.testing.assert_close(second[name], t, atol=1e-4, rtol=1e-4)
    assert torch.equal(second[FROZEN], saved["discriminator"][FROZEN]) and (one / "init.json").exists()


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (
            ["layer.0"],
            r"^freeze.0: no parameter or module .* is called 'layer.0'; it has .*; did you mean 'layers.0'\?",
        ),
        (["*"], "^freeze: all parameters of the network would be frozen"),
        (["layers.*", "head"], "^freeze: all parameters of the network would be frozen"),
    ],
)
def test_a_pattern_that_freezes_nothing_or_all_is_refused(patterns, said):
    network = nn.ModuleDict({"layers": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "head": nn.Linear(2, 1)})
    with pytest.raises(UserError, match=said):
        gt.models.freeze(network, patterns)
    assert all(p.requires_grad for p in network.parameters())


def test_patterns_name_parameters_and_modules():
    network = nn.Sequential(nn.Linear(2, 2), nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)), nn.Linear(2, 1))
    assert gt.models.freeze(network, ["[01].weight", "2"]) == [
        *("0.weight", "1.parametrizations.weight.original", "2.weight", "2.bias")
    ]
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["0.bias", "1.bias"]


def test_the_run_is_found_beside_the_file(source, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "run: {name: b, steps: 1}\ndata: digits\ngame: {name: gan, loss: hinge, generator: {model: conv, optimizer: "
        "{name: adam, lr: 1.0e-3}, init: runs/a, freeze: dense}, discriminator: {model: conv, optimizer: "
        "{name: adam, lr: 1.0e-3}}}\n"
    )
    section = load_config(tmp_path / "c.yaml").game.generator
    assert section.init.run == str(tmp_path / "runs" / "a") and section.freeze == ("dense",)
