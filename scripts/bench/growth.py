"""How the cost of a training step grows: time and memory against parameters, players, batch, inner steps and processes.

    python scripts/bench/growth.py [--rounds 3] [--largest 1e8]

Times are processor times on one thread, the least of all steps that were measured, since what disturbs a step only
makes it longer. Each series is fitted by ``a + b x`` so that the mean of the squared relative errors is smallest; the
table has the largest of these errors. Memory is counted: the bytes of all tensors that are alive, at their peak,
without the parameters. Tables are printed; the figure is ``scripts/bench/results/growth.png``.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from timing import machine
from torch import Tensor, nn

from gantrain import Learner
from gantrain.distributed.processes import Processes
from gantrain.games import GeneralSum
from gantrain.games.base import Game
from gantrain.gradients import Evaluator
from gantrain.outer import GDA, RAPP, Extragradient, Lookahead, Outer
from gantrain.outer.field import Field
from gantrain.plotting.figures import COLOURS, GREY
from gantrain.sharpness import SAM, SAMPa
from gantrain.sharpness.base import Oracle, Plain
from gantrain.testing.copies import LiveBytes, copies

FIGURE = Path(__file__).parent / "results" / "growth.png"
FEATURES = 64
Method = tuple[Callable[[], Outer], Callable[[], Oracle]]
METHODS: dict[str, Method] = {
    "gda": (GDA, Plain),
    "extragradient": (Extragradient, Plain),
    "rapp": (partial(RAPP, inner_steps=3), Plain),
    "lookahead": (partial(Lookahead, inner_steps=5), Plain),
    "sam": (GDA, SAM),
    "sampa": (GDA, SAMPa),
}


@dataclass
class Series:
    """One line of the figure: the seconds and the bytes of a step over a quantity."""

    method: str
    label: str
    xs: list[float]
    seconds: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    fit_from: float = 0.0  # the fit takes the points from here on


def network(width: int) -> nn.Module:
    """A network of about ``width ** 2`` parameters."""
    return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def ring(players: int, parameters: float) -> Game:
    """A game in which each player's objective depends on its own network and on the next player's."""
    a = FEATURES + 3
    width = max(1, round((-a + (a * a + 4 * parameters / players) ** 0.5) / 2))
    names = [f"player{i}" for i in range(players)]

    def objective(i: int) -> Callable[..., Tensor]:
        def f(*arguments: Any) -> Tensor:
            *networks, batch = arguments
            own = networks[i](batch)
            other = networks[(i + 1) % players](batch) if players > 1 else 1.0
            return (own * other).mean() + own.square().mean()

        return f

    torch.manual_seed(0)
    return GeneralSum(
        {name: objective(i) for i, name in enumerate(names)}, {name: network(width) for name in names}, batches=[None]
    )


def stepper(game: Game, method: Method, batch: int, processes: Processes | None = None) -> Callable[[], None]:
    """A function that takes one training step with Adam on a fixed batch."""
    outer, oracle = method
    data = torch.randn(batch, FEATURES, generator=torch.Generator().manual_seed(1))
    learners = [
        Learner(player, torch.optim.Adam(player.parameters, lr=1e-5, fused=True), oracle())
        for player in game.players.values()
    ]
    moved, loop = Field(Evaluator(game, lambda draw, step: data, processes), learners), outer()

    def step() -> None:
        loop.step(moved)
        moved.evaluator.step += 1

    return step


def least(step: Callable[[], None], rounds: int, patience: float = 0.3) -> float:
    """The least processor time of ``rounds`` steps, or of more if they fit into ``patience`` seconds."""
    step()
    step()
    found, began = [], time.process_time()
    while len(found) < rounds or (time.process_time() - began < patience and len(found) < 500):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def peak(make: Callable[[], Callable[[], None]], steps: int = 2) -> int:
    """The most bytes alive in a step, beside what was there before the first."""
    step = make()
    with LiveBytes() as live:
        for _ in range(steps):
            step()
    return live.peak


def measure(series: Series, make: Callable[[float], Callable[[], None]], rounds: int, passes: int) -> Series:
    """Fill a series: ``make(x)`` returns the step at x. The points are visited several times, and forth and back."""
    found: dict[float, list[float]] = {x: [] for x in series.xs}
    for turn in range(passes):
        for x in series.xs if turn % 2 == 0 else series.xs[::-1]:
            step = make(x)
            found[x].append(least(step, rounds))
            del step
            gc.collect()
    series.seconds = [min(found[x]) for x in series.xs]
    series.bytes = [peak(partial(make, x)) for x in series.xs]
    return series


def fitted(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """``a``, ``b`` and the largest relative error of ``a + b x``, with ``a`` not negative."""
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    a, b = np.linalg.lstsq(np.stack([1 / y, x / y], axis=1), np.ones(len(y)), rcond=None)[0]
    if a < 0:
        a, b = 0.0, float((x / y).sum() / ((x / y) ** 2).sum())
    return float(a), float(b), float(np.abs((a + b * x) / y - 1).max())


def report(title: str, lines: Sequence[Series]) -> None:
    print(f"\n{title}", flush=True)
    xs = lines[0].xs
    print(f"  {'':<26}" + "".join(f"{x:>11g}" for x in xs) + "   a + b x, and its largest error")
    for line in lines:
        for name, ys, unit, scale in (("ms", line.seconds, "ms", 1e3), ("MB", line.bytes, "MB", 1e-6)):
            if not ys:
                continue
            chosen = [(x, y) for x, y in zip(line.xs, ys, strict=True) if x >= line.fit_from]
            a, b, error = fitted(*zip(*chosen, strict=True))
            numbers = "".join(f"{y * scale:>11.4g}" for y in ys)
            since = f" from {line.fit_from:g}" if line.fit_from else ""
            print(
                f"  {line.label + ', ' + name:<26}{numbers}   {a * scale:.3g} + {b * scale:.3g} x {unit}{since}: "
                f"{100 * error:.1f} %",
                flush=True,
            )


def parameters(arguments: argparse.Namespace) -> list[Series]:
    xs = [n for n in (1e4, 1e5, 1e6, 1e7, 1e8) if n <= arguments.largest]
    series = []
    for name, method in METHODS.items():
        make = partial(_with_parameters, method)
        series.append(measure(Series(name, name, xs), make, arguments.rounds, passes=1))
    return series


def _with_parameters(method: Method, n: float) -> Callable[[], None]:
    return stepper(ring(2, n), method, 32)


def players(arguments: argparse.Namespace) -> list[Series]:
    xs = [1.0, 2, 3, 4, 6, 8]
    return [
        measure(
            # A player who is alone evaluates one network, all others evaluate two.
            Series(name, name, xs, fit_from=2),
            lambda n, name=name: stepper(ring(int(n), 100_000 * n), METHODS[name], 64),
            arguments.rounds,
            passes=2,
        )
        for name in ("gda", "rapp", "sampa")
    ]


def batches(arguments: argparse.Namespace) -> list[Series]:
    xs = [16.0, 32, 64, 128, 256, 512, 1024]
    return [
        measure(
            Series(name, name, xs),
            lambda n, name=name: stepper(ring(2, 500_000), METHODS[name], int(n)),
            arguments.rounds,
            passes=2,
        )
        for name in ("gda", "rapp", "sampa")
    ]


def inner_steps(arguments: argparse.Namespace) -> list[Series]:
    xs = [1.0, 2, 4, 8, 16]
    loops: dict[str, tuple[str, Callable[[int], Outer]]] = {
        "rapp": ("rapp", lambda n: RAPP(inner_steps=n)),
        "gda": ("gda, critic_steps", lambda n: GDA(critic_steps=n)),
        "lookahead": ("lookahead over rapp", lambda n: Lookahead(inner_steps=5, base=RAPP(inner_steps=n))),
    }
    return [
        measure(
            Series(name, label, xs),
            lambda n, loop=loop: stepper(ring(2, 500_000), (lambda: loop(int(n)), Plain), 64),
            arguments.rounds,
            passes=2,
        )
        for name, (label, loop) in loops.items()
    ]


def processes(arguments: argparse.Namespace) -> list[Series]:
    """Each process has a batch of 64; the time is that of one process, the mean over all."""
    xs = [1.0, 2, 4]
    found = {name: Series(name, name, xs) for name in ("gda", "rapp", "sampa")}
    for n in xs:
        times, sizes = _together(int(n), list(found), 20)
        for name, series in found.items():
            series.seconds.append(times[name])
            series.bytes.append(sizes[name])
    return list(found.values())


def _together(n: int, names: Sequence[str], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_worker, args=(r, n, port, names, rounds, results)) for r in range(n)]
    for worker in workers:
        worker.start()
    answers = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    times = {name: sum(t[name] for t, _ in answers) / n for name in names}
    return times, {name: max(s[name] for _, s in answers) for name in names}


def _worker(rank: int, n: int, port: int, names: Sequence[str], rounds: int, results: Any) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n)}
    if n > 1:
        dist.init_process_group("gloo")
    times, sizes = {}, {}
    for name in names:
        outer, oracle = METHODS[name]
        # All processes do the same here; roles are measured by sampa_speed.py.
        method = (outer, partial(SAMPa, parallel="off") if oracle is SAMPa else oracle)

        def make(method: Method = method) -> Callable[[], None]:
            return stepper(ring(2, 500_000), method, 64, Processes.launched())

        times[name] = least(make(), rounds, patience=0)  # all processes take the same number of steps
        sizes[name] = peak(make)
    results.put((times, sizes))
    if n > 1:
        dist.destroy_process_group()


def tensors(arguments: argparse.Namespace) -> list[Series]:
    """The same parameters in more and more tensors: the price of each tensor."""
    xs = [1e2, 1e3, 1e4]

    def make(n: float, name: str) -> Callable[[], None]:
        count = int(n) // 2
        start = {who: nn.ParameterList(torch.ones(10) for _ in range(count)) for who in ("x", "y")}
        f = lambda own: sum(torch.dot(p, p) for p in own)  # noqa: E731
        game = GeneralSum({"x": lambda x, y, b: f(x), "y": lambda x, y, b: f(y)}, start, batches=[None])
        return stepper(game, METHODS[name], 1)

    return [measure(Series(name, name, xs), partial(make, name=name), 2, passes=1) for name in ("gda", "rapp", "sampa")]


def memory() -> dict[str, float]:
    """The copies of all parameters that each method holds at most, beside parameters, gradients and Adam's state."""
    adam = partial(torch.optim.Adam, fused=True)
    found = {}
    for name, (outer, oracle) in METHODS.items():
        between, at_most = copies(outer, oracle, adam)
        _, plain = copies(outer, oracle)
        found[name] = plain
        print(f"  {name:<16}{between:>10.3f}{plain:>12.3f}{at_most:>14.3f}", flush=True)
    return found


def draw(panels: dict[str, list[Series]], held: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 7), dpi=100, layout="constrained")
    for place, (title, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(2, 4, place)
        for line in lines:
            ms = [1e3 * s for s in line.seconds]
            axes.plot(line.xs, ms, "o", markersize=4, color=COLOURS[line.method], label=line.label, zorder=3)
            chosen = [(x, y) for x, y in zip(line.xs, ms, strict=True) if x >= line.fit_from]
            a, b, _ = fitted(*zip(*chosen, strict=True))
            xs = np.geomspace(chosen[0][0], chosen[-1][0], 200)
            axes.plot(xs, a + b * xs, color=COLOURS[line.method], linewidth=1.0, zorder=2)
        axes.set(xlabel=title, ylabel="ms of processor time a step")
        if title in ("parameters", "tensors"):
            axes.set(xscale="log", yscale="log")
        else:
            axes.set_ylim(bottom=0)
        axes.tick_params(colors=GREY, labelsize=8)
        axes.legend(fontsize=8)
    axes = figure.add_subplot(2, 4, 7)
    axes.bar(list(held), list(held.values()), color=[COLOURS[name] for name in held])
    axes.set_ylabel("copies of the parameters")
    axes.tick_params(colors=GREY, labelsize=7)
    figure.savefig(FIGURE)
    print(f"\n{FIGURE}")


# Name -> what is held fixed, and what measures the series.
PANELS: dict[str, tuple[str, Callable[[argparse.Namespace], list[Series]]]] = {
    "parameters": ("parameters; two networks, batch 32", parameters),
    "players": ("players; a network of 100 000 parameters each, batch 64", players),
    "batch": ("batch; two networks of 250 000 parameters", batches),
    "inner steps": ("inner steps; two networks of 250 000 parameters, batch 64", inner_steps),
    "processes": ("processes; two networks of 250 000 parameters, batch 64 for each process", processes),
    "tensors": ("tensors of ten parameters each", tensors),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="the least number of steps measured at each point")
    parser.add_argument("--largest", type=float, default=1e8, help="the largest number of parameters")
    parser.add_argument("--only", nargs="+", choices=list(PANELS), help="what is measured; all, and drawn, by default")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    chosen = arguments.only or list(PANELS)
    print(machine())

    print("\ncopies of the parameters beside parameters, gradients and the optimizer's state")
    print(f"  {'':<16}{'between':>10}{'at most':>12}{'with Adam':>14}")
    held = memory()
    panels = {}
    for name, (title, series) in PANELS.items():
        if name in chosen:
            panels[name] = series(arguments)
            report(title, panels[name])
    if len(panels) == len(PANELS):
        draw(panels, held)


if __name__ == "__main__":
    main()
