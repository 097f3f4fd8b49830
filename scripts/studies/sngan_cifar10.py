"""The SNGAN pair on CIFAR-10: methods of the RAPP paper's table take turns, in portions that go on from each other.

    python scripts/studies/sngan_cifar10.py --portion 20 [--folder checkpoints/studies/sngan_cifar10] [KEY=VALUE ...]
    python scripts/studies/sngan_cifar10.py --report     # the table and the figure, from the rows that are there
    python scripts/studies/sngan_cifar10.py --ship       # the best generator, as checkpoints/cifar10-sngan
    python scripts/studies/sngan_cifar10.py --dry-run    # what each method would cost on this machine

protocols/sngan_cifar10.md says what is compared and why. The data are CIFAR-10 as JPEG files, in the archive that
--data names. With CUDA the networks have the paper's widths, and five methods take turns; without it, two methods on
small networks.

A portion lasts so many minutes. It then stops as Ctrl-C and SIGTERM stop it: the run that trains writes a checkpoint,
and the rows of all runs go to results/sngan_cifar10.csv, where they take the place of earlier rows of the same runs.
The table (.txt), the figure (.png) and the last grids of samples follow. The checkpoints stay in --folder and are in no
repository: to go on in another clone, or on another machine, copy that folder there. Without it the runs begin anew.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import sngan_results
import sngan_shipping
import torch

from gantrain.errors import UserError
from gantrain.runs.checkpoint_files import found, numbers_of

ROOT = Path(__file__).resolve().parents[2]
# The 13 optimizers of the RAPP paper's table, and those of most interest.
METHODS = tuple(sorted(path.stem for path in (ROOT / "configs/rapp/files").glob("[!_]*.yaml")))
FIRST = ("adam", "la_adam", "extra_adam", "la_extra_adam", "rapp")


@dataclass(frozen=True)
class Scale:
    """What depends on the device.

    Attributes:
        methods: the methods that take turns, in order of interest.
        width: the width of the discriminator; the generator has twice as many channels.
        batch: the batch size.
        turn: gradients of each player from one measurement to the next, after which another method goes on. No multiple
            of Lookahead's inner steps, since after these the live weights are the anchor.
        samples: the number of samples that are measured.
        speed: keys of the config that make it fast.
        changes: further keys of a method.
    """

    methods: tuple[str, ...]
    width: int
    batch: int
    turn: int
    samples: int
    speed: tuple[str, ...]
    changes: dict[str, tuple[str, ...]]


SCALES = {
    "cuda": Scale(
        methods=FIRST,
        width=128,
        batch=128,
        turn=8000,
        samples=50_000,
        speed=(
            *("run.precision=bf16", "run.channels_last=true", "run.compile=true", "run.tf32=true"),
            "run.deterministic=false",
        ),
        changes={},
    ),
    "cpu": Scale(
        methods=("adam", "la_adam"),
        width=16,
        batch=64,
        turn=2002,
        samples=5000,
        speed=("run.precision=bf16", "run.channels_last=true", "run.threads=1"),
        changes={
            "la_adam": (
                "outer.inner_steps=5",
                *(f"game.{player}.optimizer.lr=4.0e-4" for player in ("generator", "discriminator")),
            )
        },
    ),
}


def main() -> None:
    arguments = parsed()
    folder, results = Path(arguments.folder), Path(arguments.results)
    code = 0
    try:
        if arguments.report:
            print(sngan_results.report(results))
        elif arguments.ship:
            print(sngan_shipping.ship(folder, Path(arguments.target)))
        elif arguments.dry_run:
            for method in arguments.methods:
                print(f"\n{method}", flush=True)
                code |= subprocess.run([*training(arguments, method, arguments.turn), "--dry-run"]).returncode
        else:
            code = portion(arguments)
            if sngan_results.collect(folder, results):
                print(sngan_results.report(results))
    except UserError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
    sys.exit(code)


def portion(arguments: argparse.Namespace) -> int:
    """Train the methods in turns until the time is over, and return the exit code.

    Returns:
        0; 1 if a method failed, as one that diverged does; 128 + the number of the signal that ended the portion.
    """
    end = time.monotonic() + 60 * arguments.portion
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    going = {method: turns_of(arguments, method) for method in arguments.methods}
    most = arguments.gradients // arguments.turn
    failed = False
    while not received and time.monotonic() < end:
        method = min(going, key=lambda one: going[one], default=None)
        if method is None or going[method] >= most:
            break
        target = (going[method] + 1) * arguments.turn
        print(f"{method}: to {target} gradients", flush=True)
        # In a session of its own, so that Ctrl-C in a terminal reaches the training once and not twice.
        child = subprocess.Popen([*training(arguments, method, target), "--resume"], start_new_session=True)
        while child.poll() is None:
            if received or time.monotonic() >= end:
                child.send_signal(signal.SIGTERM)
                child.wait()
            time.sleep(0.2)
        if child.returncode == 0:
            going[method] = turns_of(arguments, method)
        elif child.returncode not in (-signal.SIGTERM, 128 + signal.SIGTERM):
            print(f"{method}: failed with the exit code {child.returncode}; the others go on", flush=True)
            failed = True
            del going[method]
    return 128 + received[0] if received else int(failed)


def training(arguments: argparse.Namespace, method: str, gradients: int) -> list[str]:
    """The command that trains a method until it has so many gradients."""
    scale = SCALES[arguments.device]
    # Of the other methods the live weights are the anchor after each step.
    weights = "[ema, live, anchor]" if method.startswith("la_") else "[ema, live]"
    every = f"every: {{gradients: {arguments.turn}}}"
    return [
        *(sys.executable, "-m", "gantrain", "train", str(ROOT / f"configs/rapp/files/{method}.yaml")),
        *(f"run.name={name(arguments, method)}", f"run.folder={arguments.folder}", f"run.seed={arguments.seed}"),
        *(f"run.device={arguments.device}", f"run.gradients={gradients}", f"data.path={arguments.data}"),
        *(f"data.batch_size={scale.batch}", *scale.speed, *scale.changes.get(method, ())),
        f"game.generator.model.width={2 * arguments.width}",
        f"game.discriminator.model.width={arguments.width}",
        "ema={half_life_kimg: 500, ramp: 0.05}",
        f"evaluate={{{every}, metrics: [fid, isc], samples: {scale.samples}, weights: {weights}, "
        "features: photos-classifier, data: {validation: 0.0}}",
        f"samples={{{every}, count: 64}}",
        f"checkpoint={{{every}, keep: 1}}",
        *arguments.overrides,
    ]


def name(arguments: argparse.Namespace, method: str) -> str:
    """The name of the run of a method."""
    return f"{method}-width{arguments.width}-seed{arguments.seed}"


def turns_of(arguments: argparse.Namespace, method: str) -> int:
    """The number of turns that a method has finished at its newest checkpoint."""
    checkpoints = found(Path(arguments.folder, name(arguments, method)))
    if not checkpoints:
        return 0
    _, state = numbers_of(checkpoints[max(checkpoints)])
    return min(state["field"]["evaluations"].values()) // arguments.turn


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="The SNGAN pair on CIFAR-10: several methods in turns, in portions that resume."
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="keys of the config, for all methods")
    parser.add_argument("--portion", type=float, default=20, metavar="MINUTES", help="20 by default")
    parser.add_argument("--folder", default="checkpoints/studies/sngan_cifar10", help="where the runs are")
    parser.add_argument("--data", default="data/cifar10-jpeg-train.tar.xz", help="the archive of training images")
    parser.add_argument("--results", default=Path(__file__).parent / "results", help="the folder of rows and figures")
    parser.add_argument("--device", choices=["auto", *SCALES], default="auto")
    parser.add_argument("--methods", metavar="METHOD,METHOD", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--width", type=int, help="that of the discriminator; the generator has twice as many channels")
    parser.add_argument("--turn", type=int, metavar="GRADIENTS", help="from one measurement to the next")
    parser.add_argument("--gradients", type=int, default=1_001_600, help="the most of each method; the paper's number")
    parser.add_argument("--seed", type=int, default=0)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--report", action="store_true", help="only write the table and the figure")
    instead.add_argument("--ship", action="store_true", help="make the shipped run of the best generator")
    instead.add_argument("--dry-run", action="store_true", help="only show what each method would cost here")
    parser.add_argument("--target", default=ROOT / "checkpoints/cifar10-sngan", help="where --ship writes")
    arguments = parser.parse_intermixed_args()
    if wrong := [word for word in arguments.overrides if "=" not in word]:
        parser.error(f"expected KEY=VALUE, got {wrong[0]!r}")
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = SCALES[arguments.device]
    arguments.methods = arguments.methods.split(",") if arguments.methods else list(scale.methods)
    if unknown := [method for method in arguments.methods if method not in METHODS]:
        parser.error(f"--methods: expected some of {', '.join(METHODS)}, got {unknown[0]!r}")
    arguments.width = arguments.width or scale.width
    arguments.turn = arguments.turn or scale.turn
    return arguments


if __name__ == "__main__":
    main()
