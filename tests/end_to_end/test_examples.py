"""The examples are whole programs that run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from forked import gantrain

ROOT = Path(__file__).parents[2]


def test_a_trainer_without_a_config_trains_and_goes_on(tmp_path):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    for steps in (8, 12):
        command = [sys.executable, str(ROOT / "examples" / "trainer.py"), str(steps)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert f"finished at step {steps}" in done.stdout
    assert "going on from step 8" in done.stdout
    run = tmp_path / "checkpoints" / "from_python"
    assert (run / "samples" / "step_000012.png").is_file() and (run / "step_12").is_dir()


def test_a_data_set_of_ones_own_trains_with_the_command_in_its_docstring(tmp_path):
    source = (ROOT / "examples" / "data_set.py").read_text()
    command = next(line for line in source.splitlines() if line.startswith("gantrain train ")).split()[1:]
    assert len(source.splitlines()) <= 40
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = gantrain(tmp_path, *command, "run.steps=6", "data.limit=100", "run.device=cpu")
    assert "data: 100 x 1x8x8, 6.4 kB, in memory" in done.output
    assert (tmp_path / "checkpoints" / "stripes" / "step_6").is_dir()
