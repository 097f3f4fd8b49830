"""Adversarial and domain-adversarial training in whole runs: every loop and oracle, resumed, shared, and looked at."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from cases import few
from forked import Command, together
from tiny import DIGITS, config_of, rows, same, state, write

from gantrain.commands.compare import compare_runs
from gantrain.commands.diagnose import diagnose_run
from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.compute import compile
from gantrain.config.loading import load
from gantrain.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = {"name": "sgd", "lr": 0.02, "momentum": 0.9}
BISAM = {"name": "sam", "rho": 0.05, "climb": "tanh", "ascent": "global"}
SAM = {"name": "sam", "ascent": "global"}
SAMPA = {"name": "sampa", "rho": 0.05, "climb": "log", "ascent": "global"}
CLASSIFIER = {"model": {"name": "conv", "width": 4}, "optimizer": SGD, "sharpness": BISAM}
# Without batch norm, micro-batches change nothing.
GROUPED = CLASSIFIER | {"model": {"name": "conv", "width": 4, "norm": "group"}}
BASE = copy.deepcopy(DIGITS) | {"outer": {"name": "rapp", "inner_steps": 2}, "run": {"name": "run", "steps": 3}}
BASE["log"] = {"every": 1}
del BASE["samples"]
PGD = {"name": "adversarial_training", "radius": 0.2, "ascent_steps": 2, "classifier": CLASSIFIER}
GAMES = {
    "pgd": PGD,
    "perturber": PGD
    | {
        "norm": "l2",
        "classifier": GROUPED,
        "perturber": {
            "model": {"name": "conv", "width": 4},
            "optimizer": SGD,
            "sharpness": {"name": "sam", "ascent": "global"},
        },
    },
    "domain": {
        "name": "domain_adversarial",
        "target_data": {"name": "digits", "shift": 1},
        "ramp": 4,
        "augmentations": [{"name": "crop", "padding": 1}],
        "classifier": GROUPED,
        "domain_classifier": {"model": {"name": "mlp", "width": 6}, "optimizer": SGD, "sharpness": SAMPA},
    },
}


def config(game: str, folder: str | Path, name: str, *overrides: str):
    return config_of(BASE | {"game": GAMES[game]}, Path(folder), f"run.name={name}", *overrides)


def trained(game: str, folder: str, name: str, *overrides: str) -> None:
    train(config(game, folder, name, *overrides))


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_a_run_resumes_to_the_bit_and_two_processes_or_micro_batches_do_what_one_does(tmp_path, game):
    straight = train(config(game, tmp_path, "straight"))
    train(config(game, tmp_path, "stopped", "run.steps=1"))
    assert same(state(train(config(game, tmp_path, "stopped"), resume=True)), state(straight))
    together(trained, game, str(tmp_path), "two")
    divided = [rows(tmp_path / "two")]
    if game != "pgd":
        divided.append(rows(train(config(game, tmp_path, "parts", "data.accumulation=2"))))
    one = rows(straight)
    # Ascent in the samples is not counted: SAM takes two gradients in each of two inner steps.
    assert len(one) == 3 and one[-1]["gradients/classifier"] == 3 * 2 * 2
    for other in divided:
        for alone, shared in zip(one, other, strict=True):
            assert shared == pytest.approx(alone, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("game", few(GAMES, "domain"))
def test_a_run_is_evaluated_diagnosed_and_compared_and_has_no_samples(tmp_path, game):
    evaluate = "evaluate={every: 2, data: {split: test}}"
    run = train(config(game, tmp_path, "run", evaluate, "run.steps=2", "outer={name: lookahead, inner_steps: 2}"))
    logged = {k: v for row in rows(run) for k, v in row.items() if k.startswith("validation/")}
    names = ["accuracy", "loss"] + (["accuracy[pgd]", "loss[pgd]"] if game != "domain" else [])
    report = evaluate_run(str(run), Request())
    assert list(report.values) == names
    assert {name: report[name] for name in names} == pytest.approx(
        {name: logged[f"validation/{name}"] for name in names}, rel=1e-5
    )
    best = state(run / "best")["evaluation"]
    assert best["name"] == f"validation/{[n for n in names if n.startswith('accuracy')][-1]}"
    assert "hessian" in diagnose_run(str(run), as_json=True, batches=1, eigenvalues=1)
    assert all(f"validation/{name}" in compare_runs([run]) for name in names)
    with pytest.raises(UserError, match="the game .* has no generator; it classifies: gantrain eval measures it"):
        sample_run(str(run), 4, 0, None, None, None, False)


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_it_computes_the_same_compiled_and_nearly_the_same_in_half_precision(tmp_path, monkeypatch, game):
    monkeypatch.setattr(compile, "compile_options", lambda graphs: {"backend": "aot_eager", "dynamic": False})
    # Gradients at perturbed weights are passes like any other.
    oracles = [f"game.{player}.sharpness=null" for player in GAMES[game] if player.endswith("classifier")]
    short = ("run.steps=1", "outer=gda", *oracles)
    ways = {"plain": (), "compiled": ("run.compile=true",), "half": ("run.precision=bf16", "run.channels_last=true")}
    losses = {
        way: rows(train(config(game, tmp_path, way, *short, *o)))[-1]["loss/classifier"] for way, o in ways.items()
    }
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-5)
    assert losses["half"] == pytest.approx(losses["plain"], rel=0.05)


@pytest.mark.parametrize(
    ("game", "change", "message"),
    [
        ("pgd", "game.norm=l1", "game.norm: expected 'linf' or 'l2', got 'l1'"),
        ("pgd", "game.radius=0", "game.radius: expected a number above 0, got 0"),
        ("pgd", "game.perturber={model: conf, optimizer: sgd}", "game.perturber.model: unknown perturber 'conf'"),
        (
            "perturber",
            "game.perturber.sharpness.climb=tanh",
            "game.perturber.sharpness.climb: tanh climbs the margins of a classification, but the objective of this",
        ),
        ("pgd", "game.discriminator={}", "game.discriminator: unknown key; expected one of name, classifier, radius"),
        ("pgd", "data={name: gaussian_ring}", "expected images"),
        ("domain", "game.target_data=digit", "game.target_data: unknown data set 'digit'"),
        ("domain", "game.target_data={name: digits, size: 16}", r"game.target_data: samples of shape \(1, 16, 16\)"),
        ("domain", "game.weight=-1", "game.weight: expected a number of at least 0, got -1"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_no_folder(tmp_path, game, change, message):
    command = Command(tmp_path, "train", write(tmp_path, BASE | {"game": GAMES[game]}), change)
    assert command.wait() == 2
    assert not (tmp_path / "run").exists()
    (line,) = command.errors.splitlines()
    assert re.search(message, line), line


@pytest.mark.parametrize("path", [*(CONFIGS / "adversarial").glob("*.yaml"), *(CONFIGS / "domain").glob("*.yaml")])
def test_a_shipped_config_takes_two_steps(path, tmp_path):
    changes = [f"run.folder={tmp_path}", "run.device=cpu", "run.steps=2", "evaluate.every=2"]
    found = rows(train(load(path, changes)))
    assert found[-1]["step"] == 2 and found[-1]["validation/accuracy"] > 0
