"""The examples are whole programs and parts that run as they stand, by the commands in their first lines."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forked import gantrain

EXAMPLES = Path(__file__).parents[2] / "examples"
# The file of each example -> its commands.
COMMANDS = {
    path.name: [shlex.split(line)[1:] for line in re.findall(r"^gantrain .*$", text, re.M)]
    for path in sorted(EXAMPLES.glob("*.py"))
    for text in [path.read_text().replace("\\\n", "")]
}
SMALL = ("run.device=cpu", "samples=null")


def test_a_trainer_without_a_config_trains_and_goes_on(tmp_path):
    env = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    for steps in (8, 12):
        command = [sys.executable, str(EXAMPLES / "trainer.py"), str(steps)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert f"finished at step {steps}" in done.stdout
    assert "going on from step 8" in done.stdout
    run = tmp_path / "checkpoints" / "from_python"
    assert (run / "samples" / "step_000012.png").is_file() and (run / "step_12").is_dir()


@pytest.mark.parametrize("name", [name for name, commands in COMMANDS.items() if commands])
def test_the_commands_of_an_example_run(tmp_path, name):
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    train, *others = COMMANDS[name]
    evaluated = "evaluate.samples=64" if any("evaluate" in word for word in train) else "evaluate=null"
    assert "finished at step 2" in gantrain(tmp_path, *train, *SMALL, evaluated, "run.steps=2").output
    for command in others:
        gantrain(tmp_path, *command)


def test_examples_are_short_and_each_has_its_command():
    lengths = {name: len((EXAMPLES / name).read_text().splitlines()) for name in COMMANDS}
    assert {name: length for name, length in lengths.items() if length > 40 and name != "trainer.py"} == {}
    assert [name for name, commands in COMMANDS.items() if not commands and name != "trainer.py"] == []
