"""Study D: at which step sizes does each outer loop arrive at the solution of a toy game, from each of 16 starts?

    python scripts/studies/toy_games.py [--seed 1] [--draws 5] [--folder scripts/studies/results]

The protocol is `scripts/studies/protocols/toy_games.md`. Another seed draws other starts. The command writes
`toy_games.txt`, `toy_games.csv` and `toy_games.png` into the folder, and takes less than a minute on one core: all
games, step sizes and starts are one large game that each loop plays once. The loops are gantrain's own, run by
`gt.solve`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from gantrain.analysis.iteration_matrix import iteration_matrix, spectral_radius
from gantrain.config.parts import build, part_model
from gantrain.config.registry import kind
from gantrain.games import VectorField
from gantrain.games.toy import Bilinear, DiracGAN, Forsaken, GlobalForsaken, PolarGame, Quadratic, ToyGame
from gantrain.optim.constraints import Box, Resolvent
from gantrain.plotting.images import figure_to_png
from gantrain.solver import solve

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from timing import machine

GAMES: dict[str, ToyGame] = {
    "bilinear": Bilinear(),
    "quadratic": Quadratic(),
    "dirac": DiracGAN(r1=0.3),
    "forsaken": Forsaken(),
    "global_forsaken": GlobalForsaken(),
    "polar": PolarGame(),
}
LINEAR = ("bilinear", "quadratic")
STEP_SIZES = 2.0 ** np.arange(-8, 2.25, 0.5)
STARTS = 16
BUDGET = 1800  # gradients of each player
LOOK = 30  # gradients from one look at the iterates to the next
TOLERANCE = 1e-3


class Domains(Resolvent):
    """The projection of each game's column of players ``(games, ...)`` onto the game's domain, if it has one."""

    rows = {name: row for row, name in enumerate(GAMES)}
    box = Box(-1.5, 1.5)
    radius = 4 / 3

    @torch.no_grad()
    def apply_(self, parameters: Sequence[Tensor], step_size: float) -> None:
        self.box.apply_([p[self.rows["forsaken"]] for p in parameters], step_size)
        x, y = (p[self.rows["global_forsaken"]] for p in parameters)
        scale = (self.radius / torch.hypot(x, y)).clamp(max=1.0)
        x *= scale
        y *= scale


def loops() -> dict[str, Any]:
    """Every registered loop with the defaults of its keys, in each order that it knows, and Lookahead over each."""
    names = kind("outer").parts
    inner: dict[str, Any] = {}
    for name in names:
        keys = part_model("outer", name).model_fields
        for order in ("simultaneous", "alternating") if "order" in keys else (None,):
            if "base" not in keys:
                inner[f"{name} {order[:3]}" if order else name] = {"name": name} | ({"order": order} if order else {})
    around = [name for name in names if "base" in part_model("outer", name).model_fields]
    return inner | {f"{a} / {label}": {"name": a, "base": base} for a in around for label, base in inner.items()}


def starts(seed: int, draws: int) -> np.ndarray:
    """Starting points ``(games, draws * STARTS, 2)``, uniform on the square of each game's pictures."""
    drawn = [np.random.default_rng([seed, draw]).uniform(-1, 1, (len(GAMES), STARTS, 2)) for draw in range(draws)]
    halves = np.array([game.domain for game in GAMES.values()])
    return np.concatenate(drawn, 1) * halves[:, None, None]


def arrivals(outer: Any, begin: np.ndarray) -> np.ndarray:
    """The gradients after which each start has arrived, ``(games, step sizes, starts)``; infinite if it never does."""
    rates = torch.from_numpy(STEP_SIZES)[:, None]

    def field(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        parts = [game.field(*at) for game, *at in zip(GAMES.values(), x, y, strict=True)]
        fx, fy = zip(*parts, strict=True)
        return rates * torch.stack(fx), rates * torch.stack(fy)

    wide = torch.from_numpy(begin)[:, None].expand(-1, len(STEP_SIZES), -1, -1)
    strategies = {"x": wide[..., 0].clone(), "y": wide[..., 1].clone()}
    Domains().apply_(list(strategies.values()), 1.0)
    game = VectorField(field, strategies)
    parts: dict[str, Any] = {"optimizer": {"name": "sgd", "lr": 1.0}, "constraint": {"joint": Domains()}}
    cost = max(solve(game, outer, **parts, steps=1).evaluations.values())
    path = solve(game, outer, **parts, steps=BUDGET // cost, keep=max(1, LOOK // cost))
    x, y = (path[name].numpy() for name in ("x", "y"))
    centre = np.array([game.solution for game in GAMES.values()])[:, :, None, None]
    return arrived(x - centre[:, 0], y - centre[:, 1], cost * np.array(path.steps))


def arrived(x: np.ndarray, y: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The gradients at the first look from which on all points are near 0, or infinity.

    Args:
        x: the first coordinate at each look, ``(looks, ...)``.
        y: the second coordinate.
        gradients: the gradients that each player had taken before each look, ``(looks,)``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        stays = np.logical_and.accumulate((np.hypot(x, y) <= TOLERANCE)[::-1])[::-1]
    return np.where(stays[-1], gradients[stays.argmax(0)], np.inf)


def predicted(outer: Any, game: ToyGame, begin: np.ndarray) -> tuple[np.ndarray, float]:
    """What the iteration matrix says of a linear game: the arrivals, and the largest step size with a radius below 1.

    Args:
        outer: the loop.
        game: a game with a linear field and the solution 0.
        begin: the starts, ``(starts, 2)``.
    """
    unit = torch.eye(2, dtype=torch.float64)
    matrix = torch.stack(game.field(*unit)).numpy()
    loop = build("outer", outer)
    cost = max(solve(game, outer, steps=1).evaluations.values())
    step = iteration_matrix(loop, STEP_SIZES[:, None, None] * matrix, (1, 1))
    state = np.zeros((len(STEP_SIZES), step.shape[-1], len(begin)))
    state[:, :2] = begin.T
    states, gradients = [state], np.arange(0, BUDGET + 1, LOOK)
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.linalg.matrix_power(step, LOOK // cost)
        for _ in gradients[1:]:
            states.append(power @ states[-1])
    x, y = np.moveaxis(np.array(states)[:, :, :2], 2, 0)
    fine = np.geomspace(STEP_SIZES[0], STEP_SIZES[-1], 4001)
    stable = spectral_radius(iteration_matrix(loop, fine[:, None, None] * matrix, (1, 1))) < 1 - 1e-12
    return arrived(x, y, gradients), fine[stable].max(initial=0.0)


def by_draw(needed: np.ndarray) -> np.ndarray:
    """The gradients until all starts of a draw have arrived, ``(..., draws)``, from ``(..., starts)``."""
    return needed.reshape(*needed.shape[:-1], -1, STARTS).max(-1)


def share(needed: np.ndarray) -> str:
    """The mean over the draws of the share of step sizes, in per cent, from ``(step sizes, draws)``; their range."""
    shares = 100 * np.isfinite(needed).mean(0)
    low, high = shares.min(), shares.max()
    return f"{shares.mean():.0f}" + (f" ({low:.0f}-{high:.0f})" if low < high else "")


def span(needed: np.ndarray) -> str:
    """The smallest and the largest step size at which all starts ``(step sizes, starts)`` arrive."""
    good = STEP_SIZES[np.isfinite(needed).all(-1)]
    return f"{good.min():.3g} - {good.max():.3g}" if len(good) else "never"


def fewest(needed: np.ndarray) -> str:
    """The gradients until all starts ``(step sizes, starts)`` have arrived, with the best step size, and that size."""
    worst = needed.max(-1)
    return f"{worst.min():.0f} ({STEP_SIZES[worst.argmin()]:.3g})" if np.isfinite(worst.min()) else "never"


def compared(one: np.ndarray, other: np.ndarray) -> str:
    """At how many more step sizes ``one`` arrives than ``other``, ``(step sizes, draws)``, and the verdict."""
    here, there = np.isfinite(one).sum(0), np.isfinite(other).sum(0)
    if not (here.any() or there.any()):
        return "never"
    more = here - there
    verdict = "wider" if more.min() > 0 and more.mean() >= 2 else "same"
    verdict = "narrower" if more.max() < 0 and more.mean() <= -2 else verdict
    return f"{more.mean():+.1f} {verdict}"


def pairs(labels: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """The comparisons of the protocol: question -> pairs of loops, of which the first is asked about."""
    return {
        "Lookahead against the loop that it goes around": [
            (label, base) for label in labels for base in labels if label == f"lookahead / {base}"
        ],
        "RAPP against extragradient": [("rapp sim", "extragradient sim"), ("rapp alt", "extragradient alt")],
        "alternating against simultaneous": [(label, label[:-3] + "sim") for label in labels if label.endswith("alt")],
    }


def report(results: dict[str, np.ndarray], begin: np.ndarray) -> Iterator[str]:
    """The lines of all tables.

    Args:
        results: for each loop what :func:`arrivals` returns.
        begin: the starts, ``(games, starts, 2)``.
    """
    titles = {
        share: "Share of the step sizes at which all 16 starts arrive, per cent: mean over the draws (lowest-highest)",
        span: "Smallest - largest step size at which the starts of all draws arrive",
        fewest: "Gradients until the starts of all draws have arrived, at the best step size (that step size)",
    }
    for cell, title in titles.items():
        yield f"\n{title}"
        yield line("", [*GAMES, "all games"] if cell is share else GAMES)
        for label, needed in results.items():
            cells = [cell(row) for row in (by_draw(needed) if cell is share else needed)]
            total = [share(by_draw(needed).reshape(-1, needed.shape[-1] // STARTS))] if cell is share else []
            yield line(label, cells + total)
    for question, asked in pairs(list(results)).items():
        yield f"\n{question}: further step sizes, mean over the draws, and the verdict of the protocol"
        yield line("", GAMES)
        verdicts: Counter[str] = Counter()
        for one, other in asked:
            cells = [compared(a, b) for a, b in zip(by_draw(results[one]), by_draw(results[other]), strict=True)]
            verdicts.update(cell.split()[-1] for cell in cells)
            yield line(one, cells)
        yield ", ".join(f"{verdict}: {verdicts[verdict]}" for verdict in ("wider", "same", "narrower", "never"))
    yield "\nLinear games by their iteration matrices: the largest step size with a spectral radius below 1 (0: none)"
    yield "and at how many of all step sizes and starts the run arrives at the look that the powers of the matrix say"
    yield line("", LINEAR, 28)
    for label, outer in loops().items():
        cells = []
        for name in LINEAR:
            row = list(GAMES).index(name)
            expected, limit = predicted(outer, GAMES[name], begin[row])
            cells.append(f"{limit:.3f}   {(expected == results[label][row]).sum()} of {expected.size}")
        yield line(label, cells, 28)


def line(label: str, cells: Iterable[str], width: int = 17) -> str:
    """A line of a table."""
    return f"{label:<35}" + "".join(f"{cell:>{width}}" for cell in cells)


def rows(results: dict[str, np.ndarray]) -> Iterator[list[Any]]:
    """The rows of the CSV file: a head, and one for each loop, game and draw."""
    yield ["loop", "game", "draw", "share", "smallest", "largest", "gradients", "best"]
    for (label, needed), (row, name) in itertools.product(results.items(), enumerate(GAMES)):
        for draw, worst in enumerate(by_draw(needed[row]).T):
            good = STEP_SIZES[np.isfinite(worst)]
            found = [good.min(), good.max(), worst.min(), STEP_SIZES[worst.argmin()]] if len(good) else []
            yield [label, name, draw, f"{len(good) / len(worst):.4f}", *(f"{value:.5g}" for value in found)]


def figure(results: dict[str, np.ndarray]) -> Figure:
    """Draw for each game the share of starts that arrive, over the step sizes, a line for each loop."""
    picture = Figure(figsize=(13, 11), dpi=90, layout="constrained")
    grid = picture.subplots(2, 3, sharex=True, sharey=True)
    for row, (name, axes) in enumerate(zip(GAMES, grid.flat, strict=True)):
        shares = np.stack([np.isfinite(needed[row]).mean(-1) for needed in results.values()])
        image = axes.pcolormesh(
            np.log2(STEP_SIZES), np.arange(len(results)), shares, cmap="viridis", vmin=0, vmax=1, shading="nearest"
        )
        axes.set_title(name, fontsize=10)
        axes.axhline(sum("/" not in label for label in results) - 0.5, color="white", linewidth=2)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(results)), list(results), fontsize=8)
    grid[0, 0].invert_yaxis()
    for axes in grid[-1]:
        powers = range(-8, 3, 2)
        axes.set_xticks(powers, [f"$2^{{{power}}}$" for power in powers])
        axes.set_xlabel(r"step size $\gamma$")
    picture.colorbar(image, ax=grid, shrink=0.5, label="share of the starts that arrive")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="the seed of the starts")
    parser.add_argument("--draws", type=int, default=5, help=f"how often {STARTS} starts are drawn")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "results", help="where the results go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter(), time.process_time()
    begin = starts(arguments.seed, arguments.draws)
    results = {label: arrivals(outer, begin) for label, outer in loops().items()}
    tables = list(report(results, begin))
    lines = [
        f"$ python scripts/studies/toy_games.py --seed {arguments.seed} --draws {arguments.draws}",
        machine(),
        f"{len(results)} loops, {len(GAMES)} games, {len(STEP_SIZES)} step sizes from {STEP_SIZES[0]:.3g} to "
        f"{STEP_SIZES[-1]:.3g}, {arguments.draws} draws of {STARTS} starts, {BUDGET} gradients of each player; "
        f"{time.perf_counter() - began[0]:.0f} s by the clock, {time.process_time() - began[1]:.0f} s of the processor",
        *tables,
    ]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "toy_games.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (arguments.folder / "toy_games.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows(results))
    figure_to_png(figure(results), arguments.folder / "toy_games.png")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
