"""Sharpness-aware players in whole runs, on one process and on several."""

from pathlib import Path

import pytest
from forked import together
from tiny import DIGITS, config_of, rows

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
