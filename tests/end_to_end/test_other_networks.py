"""Checkpoints of other networks than the config and the code describe, met by the commands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from forked import Command, gantrain
from tiny import DIGITS, config_of, write

from gantrain.commands.train import train
from gantrain.runs.folder import CONFIG


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return train(config_of(DIGITS, tmp_path_factory.mktemp("trained"), "run.steps=2"))


@pytest.fixture
def edited(trained, tmp_path) -> Path:
    """A run whose config was changed afterwards."""
    run = tmp_path / "digits"
    shutil.copytree(trained, run)
    text = (run / CONFIG).read_text().replace(str(trained.parent), ".")
    assert text.count("width: 4") == 2
    (run / CONFIG).write_text(text.replace("width: 4", "width: 5", 1))
    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "digits"),
        ("diagnose", "digits"),
        ("eval", "digits", "--metrics", "isc", "--features", "digits"),
        ("train", "digits/config.yaml", "--resume", "run.steps=3"),
        pytest.param(
            ("train", "--processes", "2", "digits/config.yaml", "--resume", "run.steps=3"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_config_that_was_edited_is_found_out_before_anything_is_done(edited, tmp_path, arguments):
    files = sorted(tmp_path.rglob("*"))
    command = Command(tmp_path, *arguments)
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert line.startswith("gantrain: ")
    assert "digits/step_2/generator.safetensors: dense.weight has the shape (64, 4) of float32, " in line
    assert "another network" in line
    after = {path for path in tmp_path.rglob("*") if path.suffix not in (".out", ".err")}
    assert after == set(files)


OWN = """
from gantrain.models import MLPGenerator


class Own(MLPGenerator):
    def __init__(self, spec):
        super().__init__(spec, width=WIDTH, latent_dim=4)
"""


def test_a_part_of_ones_own_whose_code_was_changed_is_found_out(tmp_path):
    config = write(tmp_path, DIGITS, "game.generator.model={target: own:Own}", "run.steps=2")
    (tmp_path / "own.py").write_text(OWN.replace("WIDTH", "6"))
    gantrain(tmp_path, "train", config)
    (tmp_path / "own.py").write_text(OWN.replace("WIDTH", "17"))
    for arguments in (("train", config, "--resume", "run.steps=3"), ("sample", "digits")):
        command = Command(tmp_path, *arguments)
        assert command.wait() == 2
        (line,) = command.errors.splitlines()
        assert "/generator.safetensors: " in line and "has the shape (6, " in line and "the code" in line
