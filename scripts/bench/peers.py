"""gantrain's training step against loops by hand, the theoretical minimum, and other libraries.

    python scripts/bench/peers.py [--networks quickstart sngan] [--losses non_saturating] [--clock processor|wall]
                                  [--rounds N] [--loops NAME ...] [--threads 1] [--output FILE]

All train the same networks on the same data, in batches of the same size, with the same loss and optimizer. A part of
the table compares one loop of gantrain, by the trainer's whole `train_step` with its batches, with

- `minimum`, the theoretical minimum: the bare forward and backward passes and optimizer steps, on one batch made
  before. It is defined for loops that evaluate one player at a time: alternating gradient descent ascent, Lookahead
  over it (which takes as many), SAM and SAMPa. Beside its target stands what the loop by hand takes of it;
- `by hand`, a minimal loop (`by_hand.py`), which takes each player's gradient by itself;
- other libraries (`other_libraries.py`): the trainers of torch-mimicry, torchgan and Lightning in their own loops, logs
  and checkpoints switched off, and the optimizers of pytorch_optimizer and cooper in the loops by hand; all are fed by
  the batches of the loop by hand;
- gantrain itself in alternating order, and with a pass for each player where players otherwise share one.

All candidates of a part have equal weights at first and take turns in one process. Lookahead is measured over five
steps, which are one of its outer steps. The table has the medians of the milliseconds of a step; the ratio of the
medians, that of the least times, which other work on the machine disturbs least, and the lowest and highest ratio of
one round; and the target of the ratio of the medians. The targets are: below 1 in the simultaneous family, where both
players are evaluated at one joint point; 1.02 of the minimum elsewhere; and those for passes that players share: 0.76
of an alternating step (0.86 with hinge), and 0.78 of extragradient and RAPP by hand (non-saturating).
Processor time (`--clock processor`, the default) leaves out waiting for a processor. On a quiet machine `--clock
wall` gives the time that passes.

The networks are those of `configs/quickstart.yaml` for digits of 8 x 8 pixels, and the SNGAN pair of widths 64 and 32
for digits of 32 x 32, both in batches of 64 with Adam. A classifier goes with each, for the sharpness-aware loops:
the convolutional one of width 32, and ResNet-20, both with SGD and momentum.

The libraries are optional; where one is missing or fails, its line says why. They need not disturb another
environment:

    python -m venv peers && peers/bin/pip install . greenlet lightning pytorch_optimizer cooper-optim
    peers/bin/pip install --no-deps torch-mimicry torchgan
    peers/bin/pip install scikit-image requests lmdb six
    peers/bin/python scripts/bench/peers.py

torch-mimicry would bring tensorflow, which its training loop does not need, and imports a module that torch 2 lacks;
a stand-in takes the place of both.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import other_libraries
import torch
import yaml
from by_hand import GAN, LOSSES, Classifier, Step, batches
from timing import CLOCKS, interleaved, machine, median_ratio

import gantrain
from gantrain.builders import make_data
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load
from gantrain.train.trainer import Trainer

BATCH = 64
ADAM: dict[str, Any] = {"lr": 1e-4, "betas": (0.0, 0.9)}
SGD: dict[str, Any] = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
RHO = 0.05
LOOKAHEAD = {"inner_steps": 5, "relaxation": 0.5}
# Name -> the data set, the models of generator, discriminator and classifier, and the number of rounds.
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any], int]] = {
    "quickstart": (
        {"name": "digits"},
        {"name": "conv", "width": 32, "latent_dim": 64, "norm": "none"},
        {"name": "conv", "width": 32},
        {"name": "conv", "width": 32},
        200,
    ),
    "sngan": (
        {"name": "digits", "size": 32},
        {"name": "sngan", "width": 64},
        {"name": "sngan", "width": 32},
        {"name": "resnet", "depth": 20},
        10,
    ),
}
EXTRAGRADIENT = {"name": "extragradient"}
# Name -> the outer loop of the config.
OUTER: dict[str, dict[str, Any]] = {
    "gda_alternating": {"name": "gda", "order": "alternating"},
    "lookahead_alternating": {"name": "lookahead", **LOOKAHEAD, "base": {"name": "gda", "order": "alternating"}},
    "gda_simultaneous": {"name": "gda", "order": "simultaneous"},
    "lookahead_simultaneous": {"name": "lookahead", **LOOKAHEAD, "base": {"name": "gda", "order": "simultaneous"}},
    "extragradient": EXTRAGRADIENT,
    "lookahead_extragradient": {"name": "lookahead", **LOOKAHEAD, "base": EXTRAGRADIENT},
    "eg_plus": {"name": "extragradient_plus", "relaxation": 0.5},
    "ceg_plus": {"name": "ceg_plus", "relaxation": 0.5},
    "optimistic": {"name": "optimistic"},
    "rapp": {"name": "rapp", "inner_steps": 3, "relaxation": 0.9},
}
# Name -> the gradient oracle of the config.
SHARPNESS: dict[str, dict[str, Any]] = {
    "sam": {"name": "sam", "rho": RHO},
    "asam": {"name": "sam", "rho": RHO, "geometry": "elementwise"},
    "sampa": {"name": "sampa", "rho": RHO, "mix": 0.2},
}
OURS, MINIMUM, HAND = "gantrain", "minimum", "by hand"
ALTERNATING, APART = "gantrain, alternating", "gantrain, separate passes"
# By loss: what a simultaneous step may take of an alternating one.
SHARED_TARGETS = {"non_saturating": 0.76, "wasserstein": 0.76, "hinge": 0.86}
# What extragradient and RAPP may take of the loop by hand, with the non-saturating loss.
PROXIMAL_TARGET = 0.78
MINIMUM_TARGET = 1.02


@dataclass
class Contest:
    """A loop of gantrain and those with which it is compared.

    Args:
        loop: its name.
        others: name -> makes the other's step, or raises why it cannot.
        steps: the number of steps in a measurement.
    """

    loop: str
    others: dict[str, Callable[[], Step]]
    steps: int = 1


@dataclass
class Row:
    """A line of the table: the seconds of a step of gantrain and of another, or the reason why there are none."""

    loop: str
    other: str
    bound: float | None  # that of the ratio of the medians
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    reason: str = ""
    note: str = ""

    @property
    def ratio(self) -> float:
        return median_ratio(self.ours, self.theirs)

    @property
    def met(self) -> bool | None:
        """Whether the ratio is below its bound; None where there is none, or nothing was measured."""
        return None if self.bound is None or self.reason else self.ratio < self.bound


def simultaneous(loop: str) -> bool:
    """Whether a loop evaluates both players at one joint point."""
    return loop in OUTER and "alternating" not in loop


def bound_of(loop: str, other: str, loss: str) -> float | None:
    if other == MINIMUM:
        return MINIMUM_TARGET
    if other == ALTERNATING:
        return SHARED_TARGETS[loss]
    if loop in ("extragradient", "rapp") and other == HAND and loss == "non_saturating":
        return PROXIMAL_TARGET
    return 1.0 if simultaneous(loop) else None


def trainer_of(folder: Path, game: dict[str, Any], outer: dict[str, Any], data: dict[str, Any]) -> Trainer:
    """The trainer of a config, on the CPU."""
    run = {"name": "bench", "steps": 10**9, "device": "cpu", "threads": torch.get_num_threads(), "folder": str(folder)}
    file = folder / "bench.yaml"
    content = {"run": run, "data": {**data, "batch_size": BATCH}, "game": game, "outer": outer}
    file.write_text(yaml.safe_dump(content))
    return make_trainer(load(file), torch.device("cpu"))


def gan_of(networks: str, loss: str) -> dict[str, Any]:
    """The section `game` of the config."""
    _, generator, discriminator, _, _ = NETWORKS[networks]
    adam = {"name": "adam", "lr": ADAM["lr"], "betas": list(ADAM["betas"])}
    players = {
        "generator": {"model": generator, "optimizer": adam},
        "discriminator": {"model": discriminator, "optimizer": adam},
    }
    return {"name": "gan", "loss": loss, **players}


def gan_trainer(folder: Path, networks: str, loss: str, outer: dict[str, Any]) -> Trainer:
    return trainer_of(folder, gan_of(networks, loss), outer, NETWORKS[networks][0])


def classifier_trainer(folder: Path, networks: str, sharpness: dict[str, Any]) -> Trainer:
    data, _, _, classifier, _ = NETWORKS[networks]
    player = {"model": classifier, "optimizer": {"name": "sgd", **SGD}, "sharpness": sharpness}
    return trainer_of(folder, {"name": "classification", "classifier": player}, {"name": "gda"}, data)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, fused=True, **ADAM)


def gan_contests(folder: Path, networks: str, loss: str) -> list[Contest]:
    """The contests of the outer loops. Other libraries take part with the non-saturating loss."""
    trainer = partial(gan_trainer, folder, networks, loss)
    twin = trainer(OUTER["gda_alternating"])
    data = make_data(load(folder / "bench.yaml"))

    def game(optimizer: Any = adam) -> GAN:
        g, d = copy.deepcopy((twin.game.generator, twin.game.discriminator))
        return GAN(g, d, batches(data, BATCH), optimizer, loss)

    def loop_of(library: Callable[..., Step]) -> Callable[[], Step]:
        def make() -> Step:
            twin = game()
            return library(twin.generator, twin.discriminator, adam, twin.source, BATCH, str(folder))

        return make

    def apart() -> Step:
        trainer = gan_trainer(folder, networks, loss, OUTER["gda_simultaneous"])
        # The objectives of a subclass are differentiated one by one.
        trainer.game.__class__ = type("Apart", (type(trainer.game),), {})
        return trainer.train_step

    def around(name: str) -> Callable[[], Step]:
        def make() -> Step:
            mine = game()
            return mine.lookahead(getattr(mine, name), **LOOKAHEAD)

        return make

    def wrapped(name: str) -> Callable[[], Step]:
        return lambda: getattr(game(other_libraries.lookahead_optimizer(adam, **LOOKAHEAD)), name)

    def extragradient_around() -> Step:
        mine = game()
        return mine.lookahead(partial(mine.proximal, 2), **LOOKAHEAD)

    def bare(*others: str) -> dict[str, Callable[[], Step]]:
        known: dict[str, Callable[[], Step]] = {
            MINIMUM: lambda: game().minimum(),
            "torch-mimicry": loop_of(other_libraries.torch_mimicry),
            "torchgan": loop_of(other_libraries.torchgan),
            "lightning": loop_of(other_libraries.lightning),
        }
        return {name: known[name] for name in others if name == MINIMUM or loss == "non_saturating"}

    def optional(name: str, make: Callable[[], Step]) -> dict[str, Callable[[], Step]]:
        return {name: make} if loss == "non_saturating" else {}

    several = LOOKAHEAD["inner_steps"]
    return [
        Contest(
            "gda_alternating",
            {HAND: lambda: game().alternating, **bare(MINIMUM, "torch-mimicry", "torchgan", "lightning")},
        ),
        Contest(
            "lookahead_alternating",
            {
                HAND: around("alternating"),
                **bare(MINIMUM),
                **optional("pytorch_optimizer", wrapped("alternating")),
            },
            several,
        ),
        Contest(
            "gda_simultaneous",
            {
                HAND: lambda: game().simultaneous,
                APART: apart,
                ALTERNATING: lambda: trainer(OUTER["gda_alternating"]).train_step,
            },
        ),
        Contest(
            "lookahead_simultaneous",
            {HAND: around("simultaneous"), **optional("pytorch_optimizer", wrapped("simultaneous"))},
            several,
        ),
        Contest(
            "extragradient",
            {
                HAND: lambda: partial(game().proximal, 2),
                **optional("cooper-optim", lambda: other_libraries.cooper_extra_adam(game(), **ADAM)),
            },
        ),
        Contest("lookahead_extragradient", {HAND: extragradient_around}, several),
        Contest("eg_plus", {HAND: lambda: partial(game().proximal, 2, 0.5)}),
        Contest("ceg_plus", {HAND: lambda: partial(game().proximal, 2, 0.5)}),
        Contest("optimistic", {HAND: lambda: game().optimistic}),
        Contest("rapp", {HAND: lambda: partial(game().proximal, 3, 0.9)}),
    ]


def sharpness_contests(folder: Path, networks: str) -> list[Contest]:
    twin = classifier_trainer(folder, networks, SHARPNESS["sam"])
    data = make_data(load(folder / "bench.yaml"))

    def classifier() -> Classifier:
        return Classifier(copy.deepcopy(twin.learners[0].player.module), batches(data, BATCH), SGD, RHO)

    def library(adaptive: bool) -> dict[str, Callable[[], Step]]:
        return {"pytorch_optimizer": lambda: other_libraries.sam_optimizer(classifier(), adaptive)}

    minimum = {MINIMUM: lambda: classifier().minimum()}
    return [
        Contest("sam", {HAND: lambda: classifier().sam, **minimum, **library(False)}),
        Contest("asam", {**minimum, **library(True)}),
        Contest("sampa", {HAND: lambda: classifier().sampa, **minimum}),
    ]


def repeated(step: Step, times: int) -> Step:
    def steps() -> None:
        for _ in range(times):
            step()

    return steps


def measured(contest: Contest, ours: Step, rounds: int, clock: str, loss: str) -> list[Row]:
    """The rows of a contest."""
    candidates, rows = {OURS: ours}, []
    for name, make in contest.others.items():
        row = Row(contest.loop, name, bound_of(contest.loop, name, loss))
        rows.append(row)
        try:
            candidates[name] = make()
            candidates[name]()
        except Exception as error:  # whatever keeps another library from running is its line's text
            candidates.pop(name, None)
            row.reason = " ".join(f"{type(error).__name__}: {error}".split())[:100]
    # A measurement of several steps begins with the first of an outer step.
    for name in candidates if contest.steps > 1 else ():
        repeated(candidates[name], contest.steps - (name != OURS))()
    chosen = {name: repeated(step, contest.steps) for name, step in candidates.items()}
    warmup = 1 if contest.steps > 1 else 3
    seconds = interleaved(chosen, max(3, rounds // contest.steps), warmup, CLOCKS[clock])
    for row in rows:
        if row.other in seconds:
            row.ours, row.theirs = ([s / contest.steps for s in seconds[name]] for name in (OURS, row.other))
        if row.other == MINIMUM and {MINIMUM, HAND} <= seconds.keys():
            row.note = f" ({HAND} {median_ratio(seconds[HAND], seconds[MINIMUM]):.3f})"
    return rows


HEAD = f"{'loop':<25}{'against':<27}{'ms':>9}{'theirs':>9}{'median':>9}{'least':>8}{'rounds':>16}   target"


def line(row: Row) -> str:
    start = f"{row.loop:<25}{row.other:<27}"
    if row.reason:
        return f"{start}   not measured: {row.reason}"
    by_round = [a / b for a, b in zip(row.ours, row.theirs, strict=True)]
    least = min(row.ours) / min(row.theirs)
    numbers = "".join(f"{1000 * statistics.median(values):>9.2f}" for values in (row.ours, row.theirs))
    spread = f"{min(by_round):.3f} - {max(by_round):.3f}"
    target = "" if row.bound is None else f"{row.bound:.2f} {'met' if row.met else 'missed'}"
    return f"{start}{numbers}{row.ratio:>9.3f}{least:>8.3f}{spread:>16}   {target}{row.note}".rstrip()


def summary(rows: list[Row]) -> list[str]:
    """The targets of the whole table, each with the highest ratio that it bounds."""
    measured = [row for row in rows if not row.reason]
    others = [row for row in measured if simultaneous(row.loop) and row.other not in (ALTERNATING, APART)]
    minimum = [row for row in measured if row.other == MINIMUM]
    lines = []
    for what, bound, chosen in (
        ("ahead of every other in the simultaneous family", 1.0, others),
        (f"at most {MINIMUM_TARGET} of the theoretical minimum elsewhere", MINIMUM_TARGET, minimum),
    ):
        if chosen:
            worst = max(chosen, key=lambda row: row.ratio)
            missed = sum(row.ratio >= bound for row in chosen)
            told = f"missed by {missed} of {len(chosen)}" if missed else "met"
            lines.append(f"{what}: {told}; the highest ratio is {worst.ratio:.3f} ({worst.loop}, {worst.other})")
    return lines


def versions() -> str:
    """The versions of the libraries that are installed."""
    found = []
    for name in ("torch-mimicry", "torchgan", "lightning", "pytorch_optimizer", "cooper-optim"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return f"gantrain {gantrain.__version__}; " + ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=["non_saturating"])
    parser.add_argument("--loops", nargs="+", choices=[*OUTER, *SHARPNESS], default=[*OUTER, *SHARPNESS])
    parser.add_argument("--rounds", type=int, help="measurements of each candidate; by default 200 and 10")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    parser.add_argument("--output", type=Path, help="file for what is printed, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.output is None:
            compare(arguments, Path(folder), [sys.stdout])
        else:
            with arguments.output.open("w", encoding="utf-8") as stream:
                compare(arguments, Path(folder), [sys.stdout, stream])


def compare(arguments: argparse.Namespace, folder: Path, streams: list[TextIO]) -> None:
    def say(text: str = "") -> None:
        for stream in streams:
            print(text, file=stream, flush=True)

    say(f"$ python scripts/bench/peers.py {' '.join(sys.argv[1:])}".rstrip())
    say(machine())
    say(versions())
    say(f"batches of {BATCH}, {arguments.clock} time")
    rows: list[Row] = []
    for networks in arguments.networks:
        rounds = arguments.rounds or NETWORKS[networks][-1]
        for loss in arguments.losses:
            say(f"\n{networks}, {loss}\n{HEAD}")
            for contest in gan_contests(folder, networks, loss):
                if contest.loop in arguments.loops:
                    ours = gan_trainer(folder, networks, loss, OUTER[contest.loop]).train_step
                    rows += (new := measured(contest, ours, rounds, arguments.clock, loss))
                    say("\n".join(map(line, new)))
        chosen = [c for c in sharpness_contests(folder, networks) if c.loop in arguments.loops]
        if chosen:
            say(f"\n{networks}, {NETWORKS[networks][3]['name']} classifier\n{HEAD}")
        for contest in chosen:
            ours = classifier_trainer(folder, networks, SHARPNESS[contest.loop]).train_step
            rows += (new := measured(contest, ours, rounds, arguments.clock, ""))
            say("\n".join(map(line, new)))
    say()
    for text in summary(rows):
        say(text)


if __name__ == "__main__":
    main()
