"""`gantrain train` itself, against the loop by hand in a process of its own.

    python scripts/bench/train_command.py [--networks quickstart sngan] [--losses non_saturating ...] [--rounds 3]

Each candidate is a program of its own with one thread, and they take turns: `gantrain train` with its log, progress and
checkpoints, in alternating and simultaneous order, and with the non-saturating loss with extragradient and RAPP, too;
and the loops by hand (`by_hand.py`) on equal networks and data. The speed of a program is the median over the rows of
its log, without the first, which includes the start; a batch that a loop draws within a step counts as images, too. The
table has the median over the rounds, and the ratios of time.
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
from functools import partial
from itertools import product
from pathlib import Path

import torch
import yaml
from by_hand import GAN, LOSSES, Step, batches
from peers import BATCH, NETWORKS, OUTER, PROXIMAL_TARGET, SHARED_TARGETS, adam, gan_of, gan_trainer
from timing import machine

from gantrain.builders import make_data
from gantrain.config.loading import load

# Networks -> the steps between two rows of the log, and the number of rows.
ROWS = {"quickstart": (20, 12), "sngan": (2, 6)}
BY_HAND = {"gda_alternating": 1, "extragradient": 2, "rapp": 3}  # the number of batches in a step
HAND = "by hand"


def command(folder: Path, networks: str, loss: str, loop: str) -> float:
    """The images a second of `gantrain train`."""
    every, rows = ROWS[networks]
    run = {"name": "run", "steps": every * rows, "device": "cpu", "threads": 1, "folder": str(folder)}
    data = {**NETWORKS[networks][0], "batch_size": BATCH}
    content = {"run": run, "data": data, "game": gan_of(networks, loss), "outer": OUTER[loop], "log": {"every": every}}
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(content))
    arguments = [sys.executable, "-m", "gantrain", "train", str(file), "--overwrite"]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return statistics.median([json.loads(row)["images_per_second"] for row in log][1:])


def by_hand(folder: Path, networks: str, loss: str, loop: str) -> float:
    """The images a second of the loop by hand."""
    arguments = [sys.executable, __file__, "--hand", networks, loss, loop, str(folder)]
    return float(subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout)


def take_steps(networks: str, loss: str, loop: str, folder: Path) -> None:
    """Be the loop by hand, and print its images a second."""
    torch.set_num_threads(1)
    game = gan_trainer(folder, networks, loss, OUTER["gda_alternating"]).game
    source = batches(make_data(load(folder / "bench.yaml")), BATCH)
    hand = GAN(game.generator, game.discriminator, source, adam, loss)
    steps: dict[str, Step] = {
        "gda_alternating": hand.alternating,
        "extragradient": partial(hand.proximal, 2),
        "rapp": partial(hand.proximal, 3, 0.9),
    }
    every, rows = ROWS[networks]
    speeds = []
    for _ in range(rows):
        start = time.perf_counter()
        for _ in range(every):
            steps[loop]()
        speeds.append(BATCH * BY_HAND[loop] * every / (time.perf_counter() - start))
    print(statistics.median(speeds[1:]))


def measure(networks: str, loss: str, rounds: int) -> None:
    """Print the speeds with a pair of networks and a loss, and the ratios that have targets."""
    speeds: dict[tuple[str, str], list[float]] = {}
    proximal = ("extragradient", "rapp") if loss == "non_saturating" else ()
    with tempfile.TemporaryDirectory() as place:
        for _, loop in product(range(rounds), ("gda_alternating", "gda_simultaneous", *proximal)):
            speeds.setdefault(("gantrain", loop), []).append(command(Path(place), networks, loss, loop))
            if loop in BY_HAND:
                speeds.setdefault((HAND, loop), []).append(by_hand(Path(place), networks, loss, loop))
    median = {key: statistics.median(values) for key, values in speeds.items()}
    print(f"\n{networks}, {loss}")
    for (who, loop), value in median.items():
        print(f"{loop:<18}{who:<10}{value:>9.1f} images/s")
    alternating, simultaneous = ("gantrain", "gda_alternating"), ("gantrain", "gda_simultaneous")
    pairs = [
        (simultaneous, alternating, SHARED_TARGETS[loss]),
        (alternating, (HAND, "gda_alternating"), 1.02),
        *((("gantrain", loop), (HAND, loop), PROXIMAL_TARGET) for loop in proximal),
    ]
    for above, below, target in pairs:
        ratio = median[below] / median[above]
        by_round = [b / a for a, b in zip(speeds[above], speeds[below], strict=True)]
        told = f"{target:.2f} {'met' if ratio <= target else 'missed'}"
        names = f"{' '.join(above)} / {' '.join(below)}"
        print(f"{names:<52}{ratio:>7.3f}  ({min(by_round):.3f} - {max(by_round):.3f})  {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hand", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hand:
        *names, folder = arguments.hand
        return take_steps(*names, Path(folder))
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"$ python scripts/bench/train_command.py {' '.join(sys.argv[1:])}".rstrip())
    print(f"{machine()}; each program with one thread", flush=True)
    for networks, loss in product(arguments.networks, arguments.losses):
        measure(networks, loss, arguments.rounds)


if __name__ == "__main__":
    main()
