"""Diagnosis of a run under way and afterwards."""

from __future__ import annotations

import copy
import json
import re

import pytest
import torch
from forked import Command, gantrain
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import DIGITS, RING, config_of, rows, same, state, write

from gantrain.commands.diagnose import diagnose_run
from gantrain.commands.train import train
from gantrain.runs.saved import load

DIAGNOSE = "diagnose={every: 3, batches: 1, eigenvalues: 2}"
LAZY = "game.penalties=[{name: r1, weight: 1, every: 4}, {name: wgan_gp, weight: 1}]"
# A diagnosis takes hundreds of derivatives of the penalties' gradients.
SMALL = ("data.batch_size=8", "game.generator.model.width=2", "game.discriminator.model.width=2")
CLASSIFICATION = {
    "run": {"name": "c", "steps": 4},
    "data": {"name": "digits", "split": "train", "batch_size": 32},
    "game": {
        "name": "classification",
        "classifier": {"model": {"name": "conv", "width": 4}, "optimizer": {"name": "sgd", "lr": 0.1}},
    },
    "ema": {"decay": 0.9},
    "log": {"every": 2},
}


@pytest.mark.parametrize(
    ("base", "overrides"),
    [
        pytest.param(
            DIGITS,
            ["game.conditional=true", LAZY, "game.generator.sharpness={name: sampa}", *SMALL],
            marks=pytest.mark.slow,
        ),
        (CLASSIFICATION, []),
    ],
    ids=["conditional gan with batch and spectral norm", "classification"],
)
def test_a_run_is_the_same_with_and_without_diagnosis(tmp_path, base, overrides):
    overrides = ["run.steps=4", *overrides]
    torch.manual_seed(0)
    with_it = train(config_of(base, tmp_path / "with", DIAGNOSE, *overrides))
    drawn = torch.rand(3)
    torch.manual_seed(0)
    without = train(config_of(base, tmp_path / "without", *overrides))
    assert same(state(with_it), state(without)) and torch.equal(drawn, torch.rand(3))
    name = "diagnose/lipschitz"
    assert [row for row in rows(with_it) if name not in row] == rows(without)
    assert [row["step"] for row in rows(with_it) if name in row] == [3, 4]
    events = EventAccumulator(str(with_it))
    events.Reload()
    assert "diagnose/spectrum" in events.Tags()["images"] and f"health/{name}" in events.Tags()["scalars"]
    assert "diagnose/advice/text_summary" in events.Tags()["tensors"]


def test_a_part_of_the_config_that_may_change_when_a_run_goes_on(tmp_path):
    train(config_of(RING, tmp_path, "run.steps=2", "checkpoint.every=2"))
    folder = train(config_of(RING, tmp_path, "run.steps=3", DIAGNOSE), resume=True)
    assert [row["step"] for row in rows(folder) if "diagnose/rho" in row] == [3]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(config_of(RING, tmp_path_factory.mktemp("finished"), "run.steps=6", "checkpoint={every: 3, keep: 5}"))


def test_the_command_says_what_training_logs(finished, tmp_path):
    logged = train(config_of(RING, tmp_path, "run.steps=6", DIAGNOSE, "diagnose.every=6"))
    (row,) = (row for row in rows(logged) if row["step"] == 6 and "diagnose/rho" in row)
    before = state(finished)
    options = ["--batches", "1", "--eigenvalues", "2", "--json"]
    found = json.loads(gantrain(finished.parent, "diagnose", str(finished), *options).output)
    assert found["batches"]["rho"] == [pytest.approx(row["diagnose/rho"], rel=1e-4)]
    assert found["batches"]["lipschitz"] == [pytest.approx(row["diagnose/lipschitz"], rel=1e-4)]
    assert found["hessians"]["generator"][-1] == pytest.approx(row["diagnose/hessian/generator/largest"], rel=1e-3)
    assert same(state(finished), before)
    assert found["about"]["step"] == 6 and found["angles"] == []


def test_the_command_begins_in_plain_words_and_leaves_a_picture(finished):
    rows_before = rows(finished)
    options = ["--step", "3", "--to", "6", "--batches", "2", "--eigenvalues", "2"]
    said = gantrain(finished.parent, "diagnose", str(finished), *options).output
    report = json.loads((finished / "diagnosis" / "step_3" / "report.json").read_text())
    assert said.splitlines()[:4] == [*report["plain"], ""] and len(report["plain"]) == 3
    assert "dominates" in said or "neither rotation" in said
    assert "keep outer: {name: gda, order: alternating}" in said and "Stay with plain steps" in said
    assert ", not adam: " in said and "What would change this:" in said and "along the path" in said
    folder = finished / "diagnosis" / "step_3"
    # Once more, in the place of the first.
    assert diagnose_run(str(finished), step=3, to=6, batches=2, eigenvalues=2) + "\n" == said
    assert (folder / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    assert report["about"]["to"] == 6 and len(report["batches"]["rho"]) == 2
    assert len(list(folder.glob("events.*"))) == 1 and not list(folder.parent.glob("*.tmp"))
    assert rows(finished) == rows_before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nowhere"],
            "nowhere: no run here: there is nothing at nowhere in .*; expected a folder with .*",
        ),
        (["SWEEP"], ".*: is a folder of 1 run; expected one run, such as .*"),
        (["RUN", "--step", "77"], r".*: no whole checkpoint of step 77; there are \[3, 6\]"),
        (["RUN", "--to", "6"], "--to: expected a step after 6, that of the checkpoint, got 6"),
        (["RUN", "--step", "3", "--to", "5"], r".*: no whole checkpoint of step 5; there are \[3, 6\]"),
        (["RUN", "--radius", "0"], "Invalid value for '--radius': '0': expected a number above 0 .*"),
        (["RUN", "--radius", "nan"], "Invalid value for '--radius': 'nan': expected a finite number .*"),
        (["RUN", "--eigenvalues", "9" * 30], "diagnose: eigenvalues: expected a whole number .*"),
    ],
)
def test_what_cannot_be_diagnosed_is_one_line(finished, tmp_path, arguments, message):
    places = {"RUN": str(finished), "SWEEP": str(finished.parent)}
    command = Command(tmp_path, "diagnose", *(places.get(a, a) for a in arguments))
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert re.fullmatch(f"gantrain: {message}", line), line


def test_a_diverged_run_is_said(tmp_path):
    folder = train(config_of(RING, tmp_path, "run.steps=2"))
    from gantrain.runs import checkpoint

    broken = copy.deepcopy(state(folder))
    next(iter(broken["generator"].values())).fill_(torch.nan)
    checkpoint.save(folder, 3, broken, 2)
    command = Command(tmp_path, "diagnose", str(folder))
    assert command.wait() == 2
    assert "the weights of player generator hold NaN or infinity" in command.errors
    assert not (folder / "diagnosis").exists()


def test_a_section_that_is_wrong_is_refused_before_anything_is_written(tmp_path):
    name = write(tmp_path, RING, "diagnose={evry: 3}")
    command = Command(tmp_path, "train", name)
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert "diagnose.evry: unknown key" in line and "did you mean 'every'" in line
    assert not (tmp_path / "ring").exists()


def test_the_live_weights_of_all_players_are_looked_at(finished):
    # The average of the generator was never played against this discriminator.
    assert "ema" in state(finished) and load(finished).weights == "ema"
    assert "live weights in evaluation mode" in diagnose_run(str(finished), batches=1, eigenvalues=1)
