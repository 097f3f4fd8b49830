"""Whole runs with sharpness-aware players, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gantrain

CONFIG = """
run: {name: NAME, seed: 3, steps: STEPS, folder: FOLDER, device: cpu}
data: {name: gaussian_ring, batch_size: 32, samples: 256}
game:
  name: gan
  loss: non_saturating
  generator:
    model: {name: mlp, width: 16, depth: 2, latent_dim: 4}
    optimizer: {name: adam, lr: 2.0e-3, betas: [0.0, 0.9]}
    sharpness: GENERATOR
  discriminator:
    model: {name: mlp, width: 16, depth: 2}
    optimizer: {name: adam, lr: 2.0e-3, betas: [0.0, 0.9]}
    sharpness: {name: sampa, rho: 0.05, mix: 0.2, climb: tanh, cosine: true}
outer: OUTER
ema: {decay: 0.9}
log: {every: 5}
samples: {every: 1000, count: 16}
checkpoint: {every: 10, keep: 100}
"""
NESTED = "{name: lookahead, inner_steps: 3, relaxation: 0.5, base: {name: extragradient}}"


def written(folder, name, steps, generator="null", outer="gda"):
    text = CONFIG.replace("NAME", name).replace("STEPS", str(steps)).replace("FOLDER", str(folder))
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("GENERATOR", generator).replace("OUTER", outer))
    return path


def command(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(gantrain.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "gantrain", "train", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def manifest(run, step):
    return json.loads((run / f"step_{step}" / "manifest.json").read_text())


def test_a_killed_run_resumes_bit_identically(tmp_path):
    settings = {"generator": "{name: sam, rho: 0.02, climb: log, mu: 2.0}", "outer": NESTED}
    straight = command(written(tmp_path, "straight", 100, **settings))
    killed = command(written(tmp_path, "killed", 100, **settings))
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "step_20").exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    code, output = finished(killed)
    assert code == -signal.SIGKILL, output
    assert not (tmp_path / "killed" / "step_100").exists()
    code, output = finished(command(tmp_path / "killed.yaml", "--resume"))
    assert code == 0, output
    code, output = finished(straight)
    assert code == 0, output
    assert manifest(tmp_path / "killed", 100) == manifest(tmp_path / "straight", 100)


def test_two_processes_in_two_roles_do_what_one_does(tmp_path):
    one = command(written(tmp_path, "one", 20))
    two = command(written(tmp_path, "two", 20), "--processes", 2, "game.discriminator.sharpness.parallel=on")
    rows = []
    for name, process in (("one", one), ("two", two)):
        code, output = finished(process)
        assert code == 0, output
        rows.append([json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()])
    assert len(rows[0]) == len(rows[1]) == 4
    for alone, together in zip(*rows, strict=True):
        assert alone.keys() == together.keys() and "cosine/discriminator" in alone
        for key in alone.keys() - {"time", "images_per_second"}:
            assert together[key] == pytest.approx(alone[key], rel=1e-4, abs=1e-5), key
    assert rows[1][-1]["gradients/discriminator"] == 41 and rows[1][-1]["gradients/generator"] == 20


@pytest.mark.slow
def test_three_processes_cannot_take_two_roles(tmp_path):
    config = written(tmp_path, "three", 20)
    on = "game.discriminator.sharpness.parallel=on"
    code, output = finished(command(config, "--processes", 3, "data.batch_size=33", on))
    assert code == 2 and "player discriminator: sharpness.parallel: on needs 2 processes or a multiple" in output
    assert "Traceback" not in output and not (tmp_path / "three").exists()
