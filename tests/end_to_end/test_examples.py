"""The examples are whole programs that run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tiny import rows

from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.config.loading import load

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


def test_a_game_of_ones_own_trains_and_is_sampled(tmp_path, monkeypatch):
    assert len((ROOT / "examples" / "game.py").read_text().splitlines()) <= 40
    monkeypatch.syspath_prepend(ROOT)
    changes = ["run.steps=4", f"run.folder={tmp_path}", "run.device=cpu", "scalars.every=2"]
    run = train(load(ROOT / "examples" / "game.yaml", changes))
    assert rows(run)[-1]["game/spread[ema]"] > 0
    assert sample_run(str(run), 4, 0, None, None, None, images=False).is_file()
