"""Study B: what sharpness-aware minimisation does for classifiers, with clean and with noisy labels.

    python scripts/studies/sharpness.py digits_mlp [--workers 2]

Stop it at any time; the same command goes on. The tables are made each time that all runs with a noise have ended.
`--tables` trains nothing, and makes them from the CSV file alone. `--seed 1000 --results FOLDER --runs FOLDER` repeats
the study with other seeds. CIFAR-16 is made once, from the archives of CIFAR-10's JPEG files in the folder `--data`.
The protocol is protocols/sharpness.md.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Literal

import numpy as np
from sharpness_methods import PROBLEMS
from sharpness_runs import Sharpness
from sharpness_tables import Tables
from study import add_options

from gantrain.data.datasets.image_files import ImageArchive
from gantrain.data.limit import limited
from gantrain.errors import UserError
from gantrain.utils.io import write_file


def make_cifar16(archives: Path, folder: Path) -> None:
    """Write 7500 training images and the test images of CIFAR-10 at 16 pixels, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: tuple[tuple[Literal["train", "test"], int], ...] = ("train", 7500), ("test", 10000)
    for part, count in parts:
        path = folder / f"{part}.npz"
        if not path.exists():
            data = limited(ImageArchive(str(archives / f"cifar10-jpeg-{part}.tar.xz"), part, size=16), count)
            content = io.BytesIO()
            np.savez(content, images=np.asarray(data.samples), labels=np.asarray(data.labels))
            write_file(path, content.getvalue())


def train(study: Sharpness, archives: Path, command: str) -> None:
    """Train all that is lacking. A study that is stopped has the tables of each noise of which all runs have ended."""
    if study.problem.cifar:
        make_cifar16(archives, study.images)
    *others, last = study.problem.noises
    for noise in others:
        study.run(noise)
        publish(study, command)
    study.run(last)


def publish(study: Sharpness, command: str) -> None:
    """Print and write the tables and the picture."""
    tables = Tables(study)
    study.study.publish(command, tables.report(), tables.picture())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=list(PROBLEMS))
    add_options(parser)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of CIFAR-10's archives")
    arguments = parser.parse_args()
    study = Sharpness(arguments.problem, arguments.results, arguments.runs, arguments.seed, arguments.workers)
    command = f"python scripts/studies/sharpness.py {arguments.problem} --seed {arguments.seed}"
    try:
        if not arguments.tables:
            train(study, arguments.data, command)
        publish(study, command)
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
