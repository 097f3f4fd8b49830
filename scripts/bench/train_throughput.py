"""Images a second that the SNGAN pair for 32 x 32 pixels is trained on, under settings of the command line.

    python scripts/bench/train_throughput.py [--width 64] [--batch 64] [--rounds 10] [--device auto] [key=value ...]

There are two tables. The first compares the step of gantrain's trainer under settings of the command line (bf16,
channels-last, TF32, compiled) with the loop by hand of `by_hand.py` in fp32; both take turns in one process. The second
compares `gantrain train` on one process and on two, with one thread each and the same global batch; beside them two
separate runs at the same time show the most that the machine gives two processes. `peers.py` compares the outer loops.

The generator has the given width and the discriminator half of it, as 256 and 128 in the paper. The data are noise,
since only speed is measured.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from by_hand import GAN, Step, batches
from timing import interleaved, machine, median_ratio
from torch.optim import SGD

from gantrain.builders import make_data
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load
from gantrain.config.schema import Config
from gantrain.data.datasets.image_set import ImageSet
from gantrain.distributed.rendezvous import process_group

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "rapp"
TABLES = ("settings", "processes")
OURS, HAND = "gantrain", "by hand"
SETTINGS: dict[str, list[str]] = {
    "nothing else": [],
    "channels-last": ["run.channels_last=true"],
    "compiled": ["run.compile=true"],
    "bf16": ["run.precision=bf16"],
    "all three, TF32": ["run.precision=bf16", "run.channels_last=true", "run.compile=true", "run.tf32=true"],
}


class Noise(ImageSet):
    """2048 colour images of 32 x 32 pixels, without labels."""

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        super().__init__(torch.randint(256, (2048, 3, 32, 32), generator=source, dtype=torch.uint8), None, 0)


def settings(arguments: argparse.Namespace, folder: str) -> list[str]:
    """The overrides that all runs have in common."""
    return [
        f"run.folder={folder}",
        f"run.device={'cpu' if arguments.device == 'cpu' else 'cuda'}",
        *("run.gradients=null", "run.steps=1000000", "evaluate=null", "samples=null"),
        f"data={{target: 'train_throughput:Noise', batch_size: {arguments.batch}}}",
        f"game.generator.model.width={arguments.width}",
        f"game.discriminator.model.width={arguments.width // 2}",
        *arguments.overrides,
    ]


def faster_settings(accelerator: Accelerator, arguments: argparse.Namespace) -> None:
    """Print the first table: the step of GDA with settings that may make it faster."""
    device = accelerator.device
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def configured(*changes: str) -> Config:
        return load(CONFIGS / "gda.yaml", [*settings(arguments, "unused"), *changes])

    def finished(step: Step) -> Step:
        return lambda: (step(), finish())

    def sgd(parameters: Any) -> SGD:
        return SGD(parameters, lr=0.02, fused=True)

    config = configured()
    game = make_trainer(config, device).game
    source = batches(make_data(config), arguments.batch, device)
    hand = GAN(game.generator, game.discriminator, source, sgd, "hinge").alternating
    print(f"\n{'gda with':<24}{OURS:>12}{HAND:>12}{'ratio':>8}   target 1.30 on a GPU, of the best")
    for name, changes in SETTINGS.items():
        ours = make_trainer(configured(*changes), device).train_step
        candidates = {OURS: finished(ours), HAND: finished(hand)}
        seconds = interleaved(candidates, arguments.rounds, warmup=3)
        speeds = {key: arguments.batch / statistics.median(values) for key, values in seconds.items()}
        ratio = median_ratio(seconds[HAND], seconds[OURS])
        print(f"{name:<24}{speeds[OURS]:>12.1f}{speeds[HAND]:>12.1f}{ratio:>8.3f}", flush=True)


def processes(arguments: argparse.Namespace) -> None:
    """Print the second table: `gantrain train` on one process and on two, in turns; the batch is the same."""
    cases: dict[str, list[list[str]]] = {
        "one process": [[]],
        "two processes": [["--processes", "2"]],
        "two, local batch norm": [["--processes", "2", "run.batch_norm=local"]],
        "two runs side by side": [[], []],
    }
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        for turn, (name, runs) in itertools.product(range(arguments.runs), cases.items()):
            steps = [f"run.steps={8 * arguments.log}", f"log.every={arguments.log}", "run.threads=1"]
            names = [f"{name}_{turn}_{i}".replace(" ", "_") for i in range(len(runs))]
            started = [
                subprocess.Popen(
                    [sys.executable, "-m", "gantrain", "train", str(CONFIGS / "gda.yaml"), *extra]
                    + [*settings(arguments, folder), *steps, "checkpoint.every=1000000", f"run.name={run}"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ
                    | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"},
                )
                for extra, run in zip(runs, names, strict=True)
            ]
            if any(process.wait() for process in started):
                sys.exit(f"{name}: the run failed")
            logs = [(Path(folder) / run / "metrics.jsonl").read_text().splitlines() for run in names]
            # The first row includes the start. The speeds of runs at the same time are added.
            rows = [[json.loads(line)["images_per_second"] for line in log][1:] for log in logs]
            speeds[name] += [sum(together) for together in zip(*rows, strict=True)]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"\n{'gda':<24}{'images/s':>12}{'efficiency':>12}{'of the limit':>14}   target 0.85")
    for name, value in medians.items():
        efficiency = value / medians["one process"] / (1 if name == "one process" else 2)
        share = f"{value / medians['two runs side by side']:.3f}" if "two" in name else ""
        print(f"{name:<24}{value:>12.1f}{efficiency:>12.3f}{share:>14}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each kind in the second table")
    parser.add_argument("--log", type=int, default=2, help="steps between two measurements of these runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(arguments.threads)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"{machine()}; {device}")
    print(f"widths {arguments.width} and {arguments.width // 2}, batches of {arguments.batch}, SGD, hinge loss")
    if "settings" in arguments.tables:
        with process_group(arguments.device == "cpu") as accelerator:
            faster_settings(accelerator, arguments)
    if "processes" in arguments.tables:
        processes(arguments)


if __name__ == "__main__":
    main()
