"""The examples are whole programs and parts that run as they stand, by the commands in their first lines."""

from __future__ import annotations

import copy
import os
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from forked import Command, gantrain
from tiny import DIGITS, config_of, rows, same, state

from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.compute.compiler_import import postpone_compiler
from gantrain.config.loading import load
from gantrain.runs.monitor import read_metrics

EXAMPLES = Path(__file__).parents[2] / "examples"
# The file of each example -> its commands.
COMMANDS = {
    path.name: [shlex.split(line)[1:] for line in re.findall(r"^gantrain .*$", text, re.M)]
    for path in sorted(EXAMPLES.glob("*.py"))
    for text in [path.read_text().replace("\\\n", "")]
}
SMALL = ("run.device=cpu", "samples=null")


def test_a_trainer_without_a_config_trains_and_goes_on(tmp_path, monkeypatch, capfd):
    command = Command(tmp_path, "8", target=from_python)
    assert command.wait() == 0, command.errors
    assert "finished at step 8" in command.output
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["trainer.py", "12"])
    runpy.run_path(str(EXAMPLES / "trainer.py"), run_name="__main__")
    printed = capfd.readouterr().out
    assert "going on from step 8" in printed and "finished at step 12" in printed
    run = tmp_path / "checkpoints" / "from_python"
    assert (run / "samples" / "step_000012.png").is_file() and (run / "step_12").is_dir()


def from_python(folder, arguments, files, environment):
    """``python examples/trainer.py ARGUMENTS`` in the folder without torch's compiler, slow to import."""
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY), descriptor)
    os.chdir(folder)
    postpone_compiler()
    sys.argv = ["trainer.py", *arguments]
    runpy.run_path(str(EXAMPLES / "trainer.py"), run_name="__main__")


@pytest.mark.parametrize("name", [name for name, commands in COMMANDS.items() if commands])
def test_the_commands_of_an_example_run(tmp_path, name):
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    train, *others = COMMANDS[name]
    evaluates = any("evaluate" in word for word in train) and "evaluate=null" not in train
    train = [word for word in train if word != "evaluate=null"]
    evaluated = "evaluate.samples=64" if evaluates else "evaluate=null"
    assert "finished at step 2" in gantrain(tmp_path, *train, *SMALL, evaluated, "run.steps=2").output
    for command in others:
        gantrain(tmp_path, *command)


TOGETHER = {
    "name": "gan",
    "conditional": False,
    "loss": {"target": "examples.loss:Smoothed"},
    "penalties": [{"target": "examples.penalty:DRAGAN", "every": 2}],
    "augmentations": [{"target": "examples.augmentation:FadingNoise"}],
    "generator": {
        "model": {"target": "examples.network:Generator", "width": 32},
        "optimizer": {"target": "examples.optimizer:Lion", "weight_decay": 0.1, "weight_decay_on": "matrices"},
    },
    "discriminator": {
        "model": {"target": "examples.network:Discriminator"},
        "optimizer": {"target": "examples.optimizer:Lion"},
        "sharpness": {"target": "examples.oracle:Clipped", "limit": 0.01},
        "constraint": {"target": "examples.constraint:MaxNorm"},
    },
}


def test_the_parts_of_all_examples_resume_together_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))
    base = copy.deepcopy(DIGITS) | {"game": TOGETHER, "checkpoint": {"every": 1, "keep": 9}}
    base["outer"] = {"target": "examples.outer_loop:Restarted", "period": 3}

    def run(name, steps, **more):
        return train(config_of(base, tmp_path, f"run.name={name}", f"run.steps={steps}"), **more)

    straight = run("straight", 5)
    for steps in (1, 4, 5):
        pieces = run("pieces", steps, resume=True)
    assert same(state(straight), state(pieces))
    found = state(straight)
    assert found["outer"]["taken"] == 2 and len(found["optimizer.generator"]["state"]) == 4
    assert read_metrics(straight)[-1]["outer_steps"] == 1


def test_examples_are_short_and_each_has_its_command():
    lengths = {name: len((EXAMPLES / name).read_text().splitlines()) for name in COMMANDS}
    assert {name: length for name, length in lengths.items() if length > 40 and name != "trainer.py"} == {}
    assert [name for name, commands in COMMANDS.items() if not commands and name != "trainer.py"] == []


def test_a_game_of_ones_own_trains_and_is_sampled(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))
    changes = ["run.steps=4", f"run.folder={tmp_path}", "run.device=cpu", "scalars.every=2"]
    run = train(load(EXAMPLES / "game.yaml", changes))
    assert rows(run)[-1]["game/spread[ema]"] > 0
    assert sample_run(str(run), 4, 0, None, None, None, images=False)[0].is_file()
