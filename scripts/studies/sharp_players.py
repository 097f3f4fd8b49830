"""Study C: sharpness-aware gradients of the players of a GAN, per step and at equal gradients.

    python scripts/studies/sharp_players.py [--workers 2]

Stop it at any time; the same command goes on. `--tables` trains nothing, and makes tables and picture from the CSV file
alone. `--seed 1000 --results FOLDER` repeats the study with other seeds. The protocol is protocols/sharp_players.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from study import HERE, Study, Trial, add_options

from gantrain.utils.statistics import Difference, Estimate, capped, holm, paired, simultaneous

NAME = "sharp_players"
CONFIG = HERE / "configs" / "digits_mlp.yaml"
ALTERNATING = {"name": "gda", "order": "alternating"}
LOOPS: dict[str, dict[str, object]] = {
    "gda": ALTERNATING,
    "lookahead": {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5, "base": ALTERNATING},
    "rapp": {"name": "rapp", "inner_steps": 3, "relaxation": 0.9},
}
# Plain gradients of each player in a step of a loop.
COST = {"gda": 1, "lookahead": 1, "rapp": 3}
RATES = (0.002, 0.016)
# Plain gradients of each player in a run; all runs of a loop take the same number of steps.
GRADIENTS = 6000
ORACLES: dict[str, dict[str, object]] = {
    "sam": {"name": "sam"},
    "sampa": {"name": "sampa", "mix": 0.2},
    "bisam": {"name": "sam", "climb": "tanh"},
}
PLAYERS = {
    "generator": ("generator",),
    "discriminator": ("discriminator",),
    "both": ("generator", "discriminator"),
}
RADII = (0.025, 0.05, 0.1)
REPORTED = 5
DISTANCE = "frechet_distance[digits-classifier][live]"
AVERAGED = "frechet_distance[digits-classifier][ema]"
# Diverged runs and worse distances count as this one.
CEILING = 40.0
SHAPE = {
    "Hessian D": "diagnose/hessian/discriminator/largest",
    "Hessian G": "diagnose/hessian/generator/largest",
    "sharpness D": "diagnose/sharpness/discriminator",
    "sharpness G": "diagnose/sharpness/generator",
    "rotation": "diagnose/rotation_share",
}
# What is equal where methods are compared: gradients are those of the player that takes most, or of both together.
PLACES = ("steps", "gradients", "all gradients")
# Where a run has taken half of its steps.
HALF = "half of the steps"
COLOURS = {"sam": "#2020E0", "sampa": "#AA0055", "bisam": "#009E73"}

Cell = tuple[str, float]
CELLS: list[Cell] = list(itertools.product(LOOPS, RATES))


@dataclass(frozen=True)
class Method:
    """A gradient oracle of some of the players; the plain gradient where both names are ``none``."""

    oracle: str
    players: str

    @property
    def name(self) -> str:
        return f"{self.oracle}, {self.players}"

    def step(self, loop: str, place: str) -> int:
        """The step of a run at which it is compared with the last step of a plain run."""
        perturbed = len(PLAYERS.get(self.players, ()))
        cost = {
            "steps": Fraction(1),
            "gradients": Fraction(2 if perturbed else 1),
            "all gradients": 1 + Fraction(perturbed, 2),
            HALF: Fraction(2),
        }
        return math.ceil(GRADIENTS // COST[loop] / cost[place])

    def overrides(self, radius: float) -> Iterator[str]:
        for player in PLAYERS.get(self.players, ()):
            yield f"game.{player}.sharpness={json.dumps({**ORACLES[self.oracle], 'rho': radius})}"


PLAIN = Method("none", "none")
METHODS = [Method(oracle, players) for oracle in ORACLES for players in PLAYERS]


class SharpPlayers:
    """The study.

    Args:
        results: the folder of the results.
        runs: the folder of the runs.
        seed: the first seed. Each loop has one of its own with which radii are chosen; the reported ones begin 100
            later.
        workers: the number of runs that are trained at a time.
    """

    def __init__(self, results: Path, runs: Path, seed: int, workers: int):
        self.study = Study(NAME, ("loop", "lr", "oracle", "players", "rho"), results, runs)
        self.choosing = {loop: seed + place for place, loop in enumerate(LOOPS)}
        self.reported = range(seed + 100, seed + 100 + REPORTED)
        self.workers = workers

    def run(self) -> None:
        """Train all that is lacking: the grid, its extensions, and the reported seeds at the chosen radii."""
        print(
            f"{len(CELLS) * (1 + len(METHODS) * len(RADII))} runs to choose rho (more where the best is the largest), "
            f"then {len(CELLS) * (1 + len(METHODS)) * REPORTED} to report",
            flush=True,
        )
        self.choose((cell, PLAIN, 0.0) for cell in CELLS)
        self.choose(itertools.product(CELLS, METHODS, RADII))
        while beyond := [(cell, m, radius) for cell in CELLS for m in METHODS if (radius := self.beyond(m, cell[1]))]:
            self.choose(beyond)
        reported = [(cell, PLAIN, 0.0) for cell in CELLS]
        reported += [(cell, m, radius) for cell in CELLS for m in METHODS if (radius := self.chosen(m, cell[1]))]
        # The game is diagnosed where plain runs end, and at the last step.
        also = (f"diagnose.every={every(GRADIENTS)}",)
        trials = [self.trial(*point, seed, also) for seed in self.reported for point in reported]
        self.study.measure(trials, self.workers)

    def choose(self, points: Iterable[tuple[Cell, Method, float]]) -> None:
        """Train runs of methods and radii with the seeds of the choice."""
        self.study.measure([self.trial(*point, self.choosing[point[0][0]]) for point in points], self.workers)

    def trial(self, cell: Cell, method: Method, radius: float, seed: int, also: Sequence[str] = ()) -> Trial:
        loop, rate = cell
        # All runs of a loop are evaluated at the same steps.
        between = GRADIENTS // (6 if method == PLAIN else 3)
        overrides = (
            f"outer={json.dumps(LOOPS[loop])}",
            *(f"game.{player}.optimizer.lr={rate:g}" for player in PLAYERS["both"]),
            *method.overrides(radius),
            *("run.gradients=null", f"run.steps={GRADIENTS // COST[loop]}"),
            *("evaluate.weights=[live, ema]", f"evaluate.every={every(between)}"),
            f"log.every={every(GRADIENTS // 10)}",
            *also,
        )
        return Trial(setting(cell, method, radius), seed, overrides, str(CONFIG))

    def radii(self, method: Method, rate: float) -> list[float]:
        """The radii that a method was tried with at a learning rate, ascending."""
        wanted = {"lr": f"{rate:g}", "oracle": method.oracle, "players": method.players}
        rows = [row for row in self.study.rows if all(row[key] == value for key, value in wanted.items())]
        return sorted({float(row["rho"]) for row in rows if int(row["seed"]) in self.choosing.values()})

    def tried(self, method: Method, rate: float, radius: float, place: str) -> float:
        """The mean logarithm of the distance over the loops, with the seeds of the choice; NaN if one lacks."""
        logs = []
        for cell in at(rate):
            found = read(self.study, cell, method, radius, DISTANCE, place, [self.choosing[cell[0]]])
            logs += [math.log(value) for value in found.values()]
        return fmean(logs) if len(logs) == len(LOOPS) else math.nan

    def chosen(self, method: Method, rate: float) -> float | None:
        """The radius with the lowest geometric mean of the distance at equal steps; None if none has all loops."""
        means = {radius: self.tried(method, rate, radius, "steps") for radius in self.radii(method, rate)}
        means = {radius: mean for radius, mean in means.items() if not math.isnan(mean)}
        return min(means, key=lambda radius: means[radius]) if means else None

    def beyond(self, method: Method, rate: float) -> float | None:
        """The radius by which the grid has to be extended, for its best is the largest; else None."""
        best = self.chosen(method, rate)
        return best * 2 if best and best == self.radii(method, rate)[-1] else None

    def results(self) -> Results:
        """The results of the runs that have ended, at the radii that are best among them."""
        radii = {(m, rate): radius for m in METHODS for rate in RATES if (radius := self.chosen(m, rate))}
        return Results(self.study, {**{(PLAIN, rate): 0.0 for rate in RATES}, **radii}, self.reported)

    def report(self) -> str:
        """All tables as text."""
        lines = self.results().tables()
        for rate in RATES:
            lines += ["", *self.radius_table(rate)]
        return "\n".join(lines) + "\n"

    def radius_table(self, rate: float) -> list[str]:
        """The distances over the radii with the seeds of the choice."""
        radii = sorted({radius for method in METHODS for radius in self.radii(method, rate)})
        lines = [
            f"lr {rate:g}: distance over rho, change in per cent, mean over the loops, seeds "
            f"{', '.join(map(str, self.choosing.values()))}; at equal steps / equal gradients",
            f"{'method':<22}" + "".join(f"{radius:>13g}" for radius in radii),
        ]
        for method in METHODS:
            line = f"{method.name:<22}"
            for radius in radii:
                changes = [
                    self.tried(method, rate, radius, place) - self.tried(PLAIN, rate, 0.0, place)
                    for place in ("steps", "gradients")
                ]
                line += f"{' / '.join(map(per_cent, changes)):>13}"
            lines.append(line)
        return lines


class Results:
    """The tables and the picture.

    Args:
        study: the runs.
        radii: the radius of each method at each learning rate, of those that have one.
        seeds: the seeds that are reported.
    """

    def __init__(self, study: Study, radii: Mapping[tuple[Method, float], float], seeds: Sequence[int]):
        self.study, self.radii, self.seeds = study, radii, seeds

    def values(self, cell: Cell, method: Method, column: str, place: str) -> dict[int, float]:
        """The values by seed of the runs of a method with its radius; none if it has no radius."""
        radius = self.radii.get((method, cell[1]))
        if radius is None:
            return {}
        return read(self.study, cell, method, radius, column, place, self.seeds)

    def logs(self, method: Method, rate: float, column: str, place: str) -> dict[int, float]:
        """The mean logarithm of a column over the loops, by seed; only seeds that all loops have."""
        found = [self.values(cell, method, column, place) for cell in at(rate)]
        seeds = [seed for seed in self.seeds if all(values.get(seed, 0.0) > 0 for values in found)]
        return {seed: fmean(math.log(values[seed]) for values in found) for seed in seeds}

    def changes(self, rate: float, column: str, place: str) -> dict[Method, Difference]:
        """The mean change of the logarithm of a column over the loops, for each method against the plain gradient."""
        return against_plain({m: self.logs(m, rate, column, place) for m in (PLAIN, *METHODS)})

    def larger_rate(self, place: str) -> dict[Method, Difference]:
        """How much more the logarithm of the distance changes at the larger rate than at the smaller one."""
        rises = {}
        for method in (PLAIN, *METHODS):
            low, high = (self.logs(method, rate, DISTANCE, place) for rate in RATES)
            rises[method] = {seed: high[seed] - low[seed] for seed in high.keys() & low.keys()}
        return against_plain(rises)

    def differences(self, cell: Cell, place: str) -> dict[Method, Difference]:
        """The differences of the distances from the plain gradient in a cell."""
        return against_plain({m: self.values(cell, m, DISTANCE, place) for m in (PLAIN, *METHODS)})

    def mean(self, cell: Cell, method: Method, column: str, place: str, digits: int = 2) -> str:
        """The mean of the reported runs with its standard error."""
        values = self.values(cell, method, column, place)
        estimate = Estimate.of(list(values.values()))
        return f"{estimate.mean:.{digits}f} ± {estimate.error:.{digits}f}" if values else "-"

    def tables(self) -> list[str]:
        """The tables as lines of text."""
        lines = [
            f"Rho is chosen for each row and learning rate, at equal steps. Reported: seeds {self.seeds[0]} to "
            f"{self.seeds[-1]}, live weights.",
            "Changes are against the plain gradient in the same loop with the same learning rate and seed. Intervals",
            f"of a column hold together with 95 % (Bonferroni), p is corrected for the {len(METHODS)} rows (Holm).",
            "Gradients are those of the player that takes most; all gradients are those of both players together.",
            "Shape of the game: the largest eigenvalues of the players' Hessians, their sharpness within 0.05, the",
            "share of rotation; D is the discriminator, G the generator.",
        ]
        for rate in RATES:
            lines += ["", *self.distance_table(rate)]
        head = "Ratio of the changes at the larger and at the smaller rate, in per cent: interval, p"
        lines += ["", *self.change_table(head, {f"equal {place}": self.larger_rate(place) for place in PLACES})]
        for rate, place in itertools.product(RATES, ("steps", "gradients")):
            columns = {name: self.changes(rate, column, place) for name, column in SHAPE.items()}
            head = f"lr {rate:g}: shape of the game at equal {place}, change in per cent, mean over the loops: interval"
            lines += ["", *self.change_table(head, columns, rate, with_p=False)]
        for cell in CELLS:
            lines += ["", *self.cell_table(cell)]
        for cell in CELLS:
            lines += ["", *self.shapes(cell)]
        return lines

    def distance_table(self, rate: float) -> list[str]:
        """The change of the distance at a rate, and that of plain runs that stop at half of their steps."""
        head = f"lr {rate:g}: distance, change in per cent, mean over the loops: interval, p"
        columns = {f"equal {place}": self.changes(rate, DISTANCE, place) for place in PLACES}
        lines = self.change_table(head, columns, rate)
        end, half = (self.logs(PLAIN, rate, DISTANCE, place) for place in ("steps", HALF))
        if end.keys() & half.keys():
            lines.append(f"plain, stopped at half of its steps: {interval(paired(half, end))}")
        return lines

    def change_table(
        self,
        head: str,
        columns: Mapping[str, Mapping[Method, Difference]],
        rate: float | None = None,
        with_p: bool = True,
    ) -> list[str]:
        """A table of changes of logarithms, in per cent; with the radii if a learning rate is given."""
        width = 25 if with_p else 19
        lines = [head, f"{'method':<21}{'rho' * (rate is not None):>6}" + "".join(f"{n:>{width}}" for n in columns)]
        corrected = {name: adjusted(column) for name, column in columns.items()}
        for method in METHODS:
            radius = "" if rate is None else self.radii.get((method, rate), "-")
            line = f"{method.name:<21}{radius:>6}"
            for name, column in columns.items():
                text = "-"
                if method in column:
                    text = interval(column[method]) + f" {p_value(corrected[name][method])}" * with_p
                line += f" {text:>{width - 1}}"
            lines.append(line)
        return lines

    def cell_table(self, cell: Cell) -> list[str]:
        """The distances of a loop at a rate."""
        loop, rate = cell
        columns = {place: self.differences(cell, place) for place in ("steps", "gradients")}
        corrected = {place: adjusted(column) for place, column in columns.items()}
        lines = [
            f"{loop}, lr {rate:g}: distance, mean ± standard error, and its difference from plain",
            f"{'method':<21}{'ema, steps':>13}"
            + "".join(f"{f'equal {place}':>17}{'difference, p':>28}" for place in columns),
        ]
        for method in (PLAIN, *METHODS):
            line = f"{method.name:<21}{self.mean(cell, method, AVERAGED, 'steps'):>13}"
            for place, column in columns.items():
                text = ""
                if method in column:
                    low, high = column[method].interval(simultaneous(0.95, len(METHODS)))
                    p = p_value(corrected[place][method])
                    text = f"{column[method].mean:+.2f} ({low:+.2f} to {high:+.2f}) {p}"
                line += f"{self.mean(cell, method, DISTANCE, place):>17}  {text:>26}"
            lines.append(line.rstrip())
        return lines

    def shapes(self, cell: Cell) -> list[str]:
        """Sharpness and spectrum beside the distance, of a loop at a rate."""
        loop, rate = cell
        columns = {"distance": DISTANCE, **SHAPE}
        lines = [
            f"{loop}, lr {rate:g}: shape of the game at equal steps, mean ± standard error",
            f"{'method':<21}" + "".join(f"{name:>18}" for name in columns),
        ]
        for method in (PLAIN, *METHODS):
            cells = "".join(f"{self.mean(cell, method, column, 'steps', 3):>18}" for column in columns.values())
            lines.append(f"{method.name:<21}{cells}")
        return lines

    def picture(self) -> Figure:
        """The differences from the plain gradient: a panel for each loop and rate, a row for each method."""
        figure = Figure(figsize=(10, 10), dpi=110, layout="constrained")
        grid = figure.subplots(len(LOOPS), len(RATES), sharex="col", sharey=True)
        confidence = simultaneous(0.95, len(METHODS))
        for (loop, rate), axes in zip(CELLS, grid.flat, strict=True):
            for place, shift, filled in (("steps", -0.15, True), ("gradients", 0.15, False)):
                for method, difference in self.differences((loop, rate), place).items():
                    colour = COLOURS[method.oracle]
                    low, high = difference.interval(confidence)
                    axes.errorbar(
                        difference.mean,
                        METHODS.index(method) + shift,
                        xerr=[[difference.mean - low], [high - difference.mean]],
                        fmt="o" if filled else "s",
                        color=colour,
                        markerfacecolor=colour if filled else "white",
                        markersize=5,
                        elinewidth=1.2 if filled else 0.7,
                    )
            axes.axvline(0, color="#777777", linewidth=1)
            axes.set_title(f"{loop}, learning rate {rate:g}", fontsize=10)
        axes.set_yticks(range(len(METHODS)), [method.name for method in METHODS])
        axes.invert_yaxis()
        for axes in grid[-1]:
            axes.set_xlabel("distance minus that of the plain gradient")
        figure.suptitle(
            "filled circles: at equal steps; open squares: at equal gradients; intervals: 95 % for the nine together",
            fontsize=10,
        )
        return figure


def at(rate: float) -> list[Cell]:
    return [cell for cell in CELLS if cell[1] == rate]


def setting(cell: Cell, method: Method, radius: float) -> dict[str, str]:
    """The columns of the CSV file that distinguish a run but for the seed."""
    loop, rate = cell
    return {
        "loop": loop,
        "lr": f"{rate:g}",
        "oracle": method.oracle,
        "players": method.players,
        "rho": f"{radius:g}",
    }


def read(
    study: Study, cell: Cell, method: Method, radius: float, column: str, place: str, seeds: Sequence[int]
) -> dict[int, float]:
    """The values by seed of the runs that have ended; distances are bounded by the ceiling."""
    found = study.at(setting(cell, method, radius), column, seeds, method.step(cell[0], place))
    if column in (DISTANCE, AVERAGED):
        found = {seed: capped(value, CEILING) for seed, value in found.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def every(gradients: int) -> str:
    return json.dumps({"gradients": gradients})


def against_plain(values: Mapping[Method, Mapping[int, float]]) -> dict[Method, Difference]:
    """The differences of values by seed from those of the plain gradient, for methods that have a seed in common."""
    base = values[PLAIN]
    return {m: paired(values[m], base) for m in METHODS if values[m].keys() & base.keys()}


def adjusted(column: Mapping[Method, Difference]) -> dict[Method, float]:
    return dict(zip(column, holm([difference.p for difference in column.values()]), strict=True))


def per_cent(log: float) -> str:
    """A change of a logarithm as one in per cent."""
    return "-" if math.isnan(log) else f"{100 * math.expm1(log):+.0f}"


def interval(difference: Difference) -> str:
    """A difference of logarithms in per cent, with its interval."""
    low, high = difference.interval(simultaneous(0.95, len(METHODS)))
    return f"{per_cent(difference.mean)} ({per_cent(low)} to {per_cent(high)})"


def p_value(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else "<.001"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    arguments = parser.parse_args()
    study = SharpPlayers(arguments.results, arguments.runs, arguments.seed, arguments.workers)
    if not arguments.tables:
        study.run()
    command = f"python scripts/studies/sharp_players.py --seed {arguments.seed}"
    study.study.publish(command, study.report(), study.results().picture())


if __name__ == "__main__":
    main()
