"""The same global batch gives the same run in 1, 2 and 4 processes, also if their number changes on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forked import together
from tiny import DIGITS, config_of

from gantrain.commands.train import train
from gantrain.runs import checkpoint
from gantrain.runs.monitor import WALL_CLOCK, read_metrics

# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
# In one run of ten, rounding puts an activation of the discriminator on the other side of the kink of its leaky ReLU
# (those of this seed stay away from it), and the gradient of a weight then jumps.
SEED = "run.seed=2"
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
# Batch norm in the generator, spectral norm in the discriminator.
RUNS = {
    "gda": ("outer=gda", "ema=null"),
    "rapp": ("outer={name: rapp, inner_steps: 3, relaxation: 0.9}",),
    "sampa": ("game.discriminator.sharpness={name: sampa, rho: 0.05, mix: 0.2, parallel: auto}",),
}
# Where the run whose number of processes changes is stopped, and how many processes take it there.
STAGES = {4: 2, 2: 3, 1: 4}


def runs(folder: str, world: int) -> None:
    """All runs straight through, and a stage of those that are taken on by another number of processes."""
    for name, overrides in RUNS.items():
        where = (DIGITS, Path(folder), *overrides, *SGD, SEED)
        train(config_of(*where, f"run.name={name}_{world}", f"run.steps={STAGES[1]}"))
        train(config_of(*where, f"run.name={name}_changing", f"run.steps={STAGES[world]}"), resume=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    for world in STAGES:
        together(runs, str(folder), world, world=world)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", [2, 4, "changing"])
@pytest.mark.parametrize("name", RUNS)
def test_weights_and_losses_are_those_of_one_process(folder, name, kind):
    one, other = folder / f"{name}_1", folder / f"{name}_{kind}"
    states = [checkpoint.load(run / f"step_{STAGES[1]}")[1] for run in (one, other)]
    assert states[0].keys() == states[1].keys()
    for part in states[0].keys() & {"generator", "discriminator", "ema"}:
        for key, tensor in states[0][part].items():
            torch.testing.assert_close(
                states[1][part][key], tensor, atol=1e-5, rtol=1e-5, msg=lambda m, k=key: f"{k}: {m}"
            )
    logged, again = read_metrics(one), read_metrics(other)
    # The stage that ends between two steps that are logged leaves a row of its own.
    again = [row for row in again if kind != "changing" or row["step"] % 2 == 0]
    assert [row["step"] for row in again] == [row["step"] for row in logged] and len(logged) == STAGES[1] // 2
    for row, other_row in zip(logged, again, strict=True):
        assert other_row.keys() == row.keys()
        for key in row.keys() - WALL_CLOCK:
            assert other_row[key] == pytest.approx(row[key], rel=1e-4, abs=1e-5), key
