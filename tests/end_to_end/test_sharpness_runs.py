"""Sharpness-aware players in whole runs, on one process and on several."""

from pathlib import Path

import pytest
from forked import together
from tiny import DIGITS, config_of, rows, same, state

from gantrain.commands.train import train
from gantrain.errors import UserError

# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
SAMPA = "game.discriminator.sharpness={name: sampa, rho: 0.05, cosine: true, parallel: PARALLEL}"


def config(folder, name, parallel):
    sampa = SAMPA.replace("PARALLEL", parallel)
    size = ("run.steps=10", "data.batch_size=36", "log.every=1")
    return config_of(DIGITS, Path(folder), f"run.name={name}", *size, *SGD, sampa)


def trained(folder: str, name: str, parallel: str) -> str | None:
    try:
        train(config(folder, name, parallel))
    except UserError as error:
        return str(error)


def test_two_processes_in_two_roles_do_what_one_does(tmp_path):
    assert trained(str(tmp_path), "one", "auto") is None
    assert together(trained, str(tmp_path), "two", "on") == [None, None]
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 10
    for alone, shared in zip(one, two, strict=True):
        assert alone.keys() == shared.keys() and {"cosine/discriminator", "score/real"} <= alone.keys()
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert two[-1]["gradients/discriminator"] == 21 and two[-1]["gradients/generator"] == 10


def test_three_processes_cannot_take_two_roles(tmp_path):
    answers = together(trained, str(tmp_path), "three", "on", world=3)
    for answer in answers:
        assert "player discriminator: sharpness.parallel: on needs 2 processes or a multiple of it, got 3" in answer
    assert not (tmp_path / "three").exists()


def test_a_resumed_run_goes_on_with_the_averages_and_choices_of_its_oracles(tmp_path):
    threshold = "{schedule: linear, from: 1, to: -1, kimg: 0.3}"
    overrides = (
        "data.batch_size=36",
        "log.every=1",
        f"game.discriminator.sharpness={{name: ae_sam, rho: 0.05, threshold: {threshold}}}",
        "game.generator.sharpness={name: esam, rho: 0.05, climb: tanh}",
        "game.penalties=[{name: r1, every: 2}]",
    )
    for name, stops in (("straight", [6]), ("resumed", [3, 6])):
        for stop in stops:
            train(config_of(DIGITS, tmp_path, f"run.name={name}", f"run.steps={stop}", *overrides), resume=True)
    assert same(state(tmp_path / "resumed"), state(tmp_path / "straight"))
    logged = rows(tmp_path / "straight")
    assert rows(tmp_path / "resumed") == logged
    assert 6 < logged[-1]["gradients/discriminator"] < 12 and logged[-1]["gradients/generator"] == 12
