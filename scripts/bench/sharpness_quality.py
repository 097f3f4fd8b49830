"""Test accuracy of SGD, SAM, ASAM, SAMPa and BiSAM at equal epochs, over several seeds, clean and with label noise.

    python scripts/bench/sharpness_quality.py [--config FILE] [--seeds 5] [--noise 0 0.4] [key=value …]

Every method has the config's optimizer, schedule, batches and number of epochs; only `sharpness` differs. SAM and its
variants take two gradients where SGD takes one. The accuracy is measured after the last step, on the test split.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from timing import machine

METHODS = {
    "SGD": None,
    "SAM": "{name: sam, rho: 0.05}",
    "ASAM": "{name: sam, rho: 0.5, geometry: elementwise}",
    "SAMPa-0": "{name: sampa, rho: 0.05, mix: 0.0}",
    "SAMPa-0.2": "{name: sampa, rho: 0.05, mix: 0.2}",
    "BiSAM-tanh": "{name: sam, rho: 0.05, climb: tanh, mu: 10.0, alpha: 0.1}",
    "BiSAM-log": "{name: sam, rho: 0.05, climb: log}",
}


def accuracy(task: tuple[str, str, float, int, tuple[str, ...]]) -> tuple[str, float, float]:
    """Train once; returns the method, the noise, and the accuracy at the end."""
    config, method, noise, seed, overrides = task
    from gantrain.commands.train import train
    from gantrain.config.loading import load
    from gantrain.runs.monitor import read_metrics

    torch.set_num_threads(1)
    oracle = METHODS[method]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        checked = load(
            config,
            [
                f"run.folder={folder}",
                f"run.seed={seed}",
                f"data.label_noise={noise}",
                f"data.noise_seed={seed}",
                "run.device=cpu",
                "evaluate={every: 1000000, data: {split: test}}",
                "checkpoint.every=1000000",
                f"game.classifier.sharpness={'null' if oracle is None else oracle}",
                *overrides,
            ],
        )
        rows = read_metrics(train(checked))
    return method, noise, next(row["validation/accuracy"] for row in rows[::-1] if "validation/accuracy" in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/sampa/digits.yaml")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.4])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_args()
    tasks = [
        (arguments.config, method, noise, seed, tuple(arguments.overrides))
        for seed in range(arguments.seeds)
        for noise in arguments.noise
        for method in METHODS
    ]
    accuracies: dict[tuple[str, float], list[float]] = {}
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for method, noise, value in pool.map(accuracy, tasks):
            accuracies.setdefault((method, noise), []).append(100 * value)

    torch.set_num_threads(1)  # for machine(), which reports the number of threads of each run
    print(machine())
    print(" ".join([arguments.config, *arguments.overrides]))
    print(f"test accuracy in %, mean ± standard error over {arguments.seeds} seeds")
    print(f"{'':<12}" + "".join(f"{f'label noise {noise:.0%}':>22}" for noise in arguments.noise))
    for method in METHODS:
        cells = []
        for noise in arguments.noise:
            values = accuracies[method, noise]
            error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
            cells.append(f"{statistics.fmean(values):.2f} ± {error:.2f}")
        print(f"{method:<12}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
