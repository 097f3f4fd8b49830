"""How long the commands take to start: wall-clock and processor time of whole processes, in turns.

Protocol. Each command runs in a process of its own, in a temporary folder, ``--rounds`` times after one run that warms
the caches of the file system; the commands take turns. A row gives the medians of the time on the wall clock and of the
processor time, user and system, of the process and its children. ``import torch`` is the part that no command that
trains can do without. The last columns come from the output of ``gantrain train``: the time to the first step, as it
reports it, and the time until the first row of the log is there.

    python scripts/bench/startup.py
"""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from timing import machine

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
TRAIN = ["-m", "gantrain", "train", str(QUICKSTART), "--overwrite", "run.folder=.", "evaluate=null", "samples=null"]
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import torch'": ["-c", "import torch"],
    "gantrain --help": ["-m", "gantrain", "--help"],
    "gantrain train --help": ["-m", "gantrain", "train", "--help"],
    "gantrain list": ["-m", "gantrain", "list", "."],
    "gantrain schema": ["-m", "gantrain", "schema"],
    "gantrain train, a wrong key": [*TRAIN, "game.generator.wide=1"],
    "gantrain train, 1 step": [*TRAIN, "run.steps=1"],
    "gantrain train, 20 steps": [*TRAIN, "run.steps=20"],
    "gantrain train, compiled, 1 step": [*TRAIN, "run.steps=1", "run.compile=true"],
}


def run(command: list[str], folder: str) -> dict[str, float]:
    """The times of one process, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 2):
        sys.exit(done.stderr)
    times = {"wall": wall, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
    first = re.search(r"first step after ([\d.]+) s", done.stdout)
    return times | ({"first step": float(first[1])} if first else {})


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Measured runs of each command.")
@click.option("--only", default="", help="Only the commands whose names contain this.")
def main(rounds: int, only: str) -> None:
    """Print a table of the times that the commands take to start."""
    chosen = {name: command for name, command in COMMANDS.items() if only in name}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a").mkdir()
        for turn in range(rounds + 1):
            for name, command in chosen.items():
                times = run(command, folder)
                if turn:
                    measured[name].append(times)
    print(machine(), f"bytecode {'compiled anew' if sys.dont_write_bytecode else 'cached'}", sep="; ")
    print(f"load {os.getloadavg()[0]:.1f}; medians of {rounds}, seconds\n")
    print("| command | wall | processor | first step, as reported |\n|---|---:|---:|---:|")
    for name, rows in measured.items():
        cells = [
            f"{statistics.median(row[key] for row in rows):.2f}" if key in rows[0] else ""
            for key in ("wall", "processor", "first step")
        ]
        print(f"| `{name}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
