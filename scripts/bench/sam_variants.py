"""Accuracy against wall-clock time of SGD, SAM and its variants on handwritten digits.

    python scripts/bench/sam_variants.py [--methods NAME ...] [--seeds 1 2 3 4 5] [--steps 920] [--output FILE]
        [--figure FILE]

Each method trains the network of `configs/sampa/digits.yaml` with the config's optimizer, augmentation and 920 steps
(40 epochs of 1150 digits), and with the radius 0.05; the learning rate falls as a cosine over the steps. Nothing else
is chosen for a method: what its paper recommends stands in METHODS. One process and one thread take all gradients one
after the other, so that SAMPa, whose two gradients would be taken at the same time by two processes, takes SAM's time.

The methods of one seed take turns, a block of steps each, in an order that is reversed from block to block. The time of
a method is that of its blocks alone. After each block the accuracy on the test digits is measured, outside of the time.
The seeds are not that of the config. The table has the last accuracy as mean and standard error over the seeds, the
median of the seconds of a run, the median of their ratio to SGD's, and the gradients of a step as gantrain counts them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from timing import machine

from gantrain.commands.train import make_trainer
from gantrain.config import load, shipped
from gantrain.data import Digits
from gantrain.plotting.figures import GREY
from gantrain.train.callbacks.accuracy import AccuracyEvaluation

CONFIG = "configs/sampa/digits.yaml"
RESULTS = Path(__file__).parent / "results"
RHO = 0.05
# Name in the table -> the key `sharpness`.
METHODS: dict[str, dict[str, Any] | None] = {
    "SGD": None,
    "SAM": {"name": "sam"},
    "SAMPa-0": {"name": "sampa", "mix": 0.0},
    "SAMPa-0.2": {"name": "sampa", "mix": 0.2},
    "LookSAM": {"name": "sam", "every": 5, "reuse": 0.7},
    "ESAM": {"name": "esam", "beta": 0.6, "gamma": 0.5},
    "AE-SAM": {"name": "ae_sam", "threshold": {"schedule": "linear", "from": 1.0, "to": -1.0}},
    "GSAM": {"name": "gsam"},
    "gradient norm": {"name": "gradient_norm", "alpha": 0.8},
}
BLOCK = 23
COLOURS = ("#777777", "#2020E0", "#AA0055", "#E6399B", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#000000")


@dataclass
class Run:
    """What one method measured with one seed: after each block the seconds so far, and the accuracy."""

    seconds: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    gradients: float = 0.0


def sharpness(method: str, steps: int, batch_size: int) -> dict[str, Any] | None:
    """The key `sharpness` of a method; a schedule lasts for the whole run."""
    keys = METHODS[method]
    if keys is None:
        return None
    lasting = {"kimg": steps * batch_size / 1000}
    timed = {k: v | lasting if isinstance(v, dict) else v for k, v in keys.items()}
    return timed | {"rho": RHO}


def measure(methods: list[str], seed: int, steps: int) -> dict[str, Run]:
    """Train by all methods in turns."""
    test, device = Digits(split="test"), torch.device("cpu")
    evaluation = AccuracyEvaluation(test, 1, device)
    trainers, runs = {}, {method: Run() for method in methods}
    base = load(shipped.find(CONFIG))
    with ExitStack() as held:
        for method in methods:
            chosen = sharpness(method, steps, base.data.batch_size)
            overrides = [f"run.seed={seed}", f"run.steps={steps}", f"game.classifier.scheduler.T_max={steps}"]
            overrides.append(f"game.classifier.sharpness={'null' if chosen is None else chosen}")
            trainers[method] = make_trainer(load(shipped.find(CONFIG), overrides), device)
            held.enter_context(trainers[method].computing())
        for block in range(-(-steps // BLOCK)):
            for method in methods[:: 1 if block % 2 else -1]:
                trainer, run = trainers[method], runs[method]
                start = time.perf_counter()
                for _ in range(min(BLOCK, steps - trainer.step)):
                    trainer.train_step()
                passed = time.perf_counter() - start
                run.seconds.append((run.seconds or [0.0])[-1] + passed)
                run.accuracy.append(evaluation.measure(trainer.game.evaluated_network)["accuracy"])
        for method in methods:
            runs[method].gradients = trainers[method].evaluator.evaluations["classifier"] / steps
    return runs


def table(found: dict[str, list[Run]]) -> str:
    """The lines of the table."""
    lines = [f"{'':<16}{'accuracy in %':>16}{'seconds':>10}{'/ SGD':>8}{'gradients':>11}"]
    for method, runs in found.items():
        last = [100 * run.accuracy[-1] for run in runs]
        error = statistics.stdev(last) / len(last) ** 0.5 if len(last) > 1 else float("nan")
        seconds = statistics.median(run.seconds[-1] for run in runs)
        ratio = float("nan")
        if "SGD" in found:
            pairs = zip(runs, found["SGD"], strict=True)
            ratio = statistics.median(run.seconds[-1] / sgd.seconds[-1] for run, sgd in pairs)
        gradients = statistics.fmean(run.gradients for run in runs)
        accuracy = f"{statistics.fmean(last):.2f} ± {error:.2f}"
        lines.append(f"{method:<16}{accuracy:>16}{seconds:>10.1f}{ratio:>8.2f}{gradients:>11.2f}")
    return "\n".join(lines)


def draw(found: dict[str, list[Run]], path: str) -> None:
    """The error over time on the left, and at the end of the runs, with standard errors, on the right."""
    figure = Figure(figsize=(11, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, colour in zip(METHODS, COLOURS, strict=True):
        if method not in found:
            continue
        seconds = np.median([run.seconds for run in found[method]], axis=0)
        errors = 100 * (1 - np.array([run.accuracy for run in found[method]]))
        left.plot(seconds, errors.mean(axis=0), color=colour, linewidth=1.4, label=method)
        spread = errors[:, -1].std(ddof=1) / len(errors) ** 0.5 if len(errors) > 1 else 0.0
        right.errorbar(seconds[-1], errors[:, -1].mean(), yerr=spread, fmt="o", color=colour, capsize=3)
    left.set(xlabel="seconds of training", ylabel="test error in %", yscale="log")
    right.set(xlabel="seconds of a run", ylabel="test error at its end in %")
    for axes in (left, right):
        axes.tick_params(colors=GREY, labelsize=8)
        axes.grid(color="#eeeeee")
    left.legend(fontsize=8)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--steps", type=int, default=920)
    parser.add_argument("--output", default=str(RESULTS / "sam_variants.txt"))
    parser.add_argument("--figure", default=str(RESULTS / "sam_variants.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[Run]] = {method: [] for method in arguments.methods}
    for seed in arguments.seeds:
        for method, run in measure(arguments.methods, seed, arguments.steps).items():
            found[method].append(run)
            print(f"seed {seed}, {method}: {run.accuracy[-1]:.2%} after {run.seconds[-1]:.1f} s", flush=True)
    seeds = ", ".join(map(str, arguments.seeds))
    head = f"$ python scripts/bench/sam_variants.py {' '.join(sys.argv[1:])}".rstrip()
    text = f"{head}\n{machine()}\n{CONFIG}, {arguments.steps} steps, seeds {seeds}\n\n{table(found)}\n"
    Path(arguments.output).write_text(text, encoding="utf-8")
    draw(found, arguments.figure)
    print(f"\n{text}\n{arguments.output}, {arguments.figure}")


if __name__ == "__main__":
    main()
