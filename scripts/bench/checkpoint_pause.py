"""How long a run stands still for a checkpoint, and how long the steps take while it is being written.

    python scripts/bench/checkpoint_pause.py [--parameters 50] [--steps 24] [--every 8] [--folder /tmp] [--against PATH]

A GAN of two MLPs with Adam and an average is trained, and the time from the end of each step to the beginning of the
next is taken, by the clock and by the processor time of the thread that trains. With ``--against`` the runs take turns
with those of another checkout of gantrain. ``--folder`` names the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from timing import machine

# Steps in which memory is allocated.
WARM_UP = 2


def measure(parameters: float, steps: int, every: int, folder: str) -> dict[str, Any]:
    """Train in this process.

    Returns:
        The seconds of each step, and of each pause after a step: by the clock, and of processor time. Those of the
        whole run by the clock. The bytes of a checkpoint.
    """
    import torch

    from gantrain.commands.train import train
    from gantrain.config.schema import Config
    from gantrain.train.trainer import Trainer

    torch.set_num_threads(1)
    # Each of the two networks has two large matrices.
    width = int((parameters * 1e6 / 4) ** 0.5)
    player = {"model": {"name": "mlp", "width": width, "depth": 3}, "optimizer": {"name": "adam", "lr": 1e-4}}
    times: list[tuple[float, float]] = []
    step = Trainer.train_step

    def timed(trainer: Trainer, observe: bool = False) -> None:
        times.append((time.perf_counter(), time.thread_time()))
        step(trainer, observe)
        times.append((time.perf_counter(), time.thread_time()))

    Trainer.train_step = timed  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        config = {
            "run": {"name": "pause", "folder": place, "steps": steps, "device": "cpu", "threads": 1},
            "data": {"name": "gaussian_ring", "batch_size": 16},
            "game": {"name": "gan", "loss": "hinge", "generator": player, "discriminator": player},
            "ema": {"decay": 0.99},
            "log": {"every": 1000},
            "samples": None,
            "checkpoint": {"every": every, "keep": 1},
        }
        begin = time.perf_counter()
        run = train(Config.model_validate(config))
        total = time.perf_counter() - begin
        size = sum(file.stat().st_size for file in (run / f"step_{steps}").iterdir())
    taken = [[b[i] - a[i] for i in (0, 1)] for a, b in zip(times[::2], times[1::2], strict=True)]
    pauses = [[b[i] - a[i] for i in (0, 1)] for a, b in zip(times[1:-1:2], times[2::2], strict=True)]
    return {"steps": taken, "pauses": pauses, "total": total, "bytes": size}


def row(runs: list[dict[str, Any]], every: int) -> str:
    """The numbers of all runs of a checkout as a row of the table."""
    pauses = [p for r in runs for n, p in enumerate(r["pauses"], start=1) if n % every == 0]
    beside = [s for r in runs for n, s in enumerate(r["steps"]) if n > WARM_UP and n % every == 0]
    alone = [s for r in runs for n, s in enumerate(r["steps"]) if n > WARM_UP and n % every == every - 1]
    numbers = [max(p[0] for p in pauses)]
    numbers += [statistics.median(p[i] for p in pauses) for i in (0, 1)]
    numbers += [statistics.median(s[i] for s in steps) for steps in (alone, beside) for i in (0, 1)]
    numbers.append(statistics.median(r["total"] for r in runs))
    return " | ".join(f"{number:.2f}" for number in numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parameters", type=float, default=50, help="millions of parameters")
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--every", type=int, default=8, help="steps between checkpoints")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--against", type=Path, help="another checkout of gantrain")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.parameters, options.steps, options.every, options.folder)))
        return
    trees = {"here": Path(__file__).parents[2]} | ({"against": options.against} if options.against else {})
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for _ in range(options.rounds):
        for name, tree in trees.items():
            environment = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, *sys.argv[1:], "--worker"]
            output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[name].append(json.loads(output.splitlines()[-1]))
    size = found["here"][0]["bytes"] / 2**20
    print(f"{machine()}\n{options.parameters:g} million parameters, {size:.0f} MiB a checkpoint; seconds\n")
    columns = ["longest pause", "pause", "processor", "step alone", "processor", "step after a checkpoint", "processor"]
    print(" | ".join(["| ", *columns, "the run |"]))
    print("|---|" + "---:|" * (len(columns) + 1))
    for name, runs in found.items():
        print(f"| {name} | {row(runs, options.every)} |")


if __name__ == "__main__":
    main()
