"""Study A: what interpolation does for GANs of real images, at equal gradients and over learning rates.

    python scripts/studies/interpolation.py digits_mlp [--workers 2]
    python scripts/studies/interpolation.py digits_conv
    python scripts/studies/interpolation.py cifar16

Stop it at any time; the same command goes on. `--tables` trains nothing, and makes the tables from the CSV file alone.
`--seed 1000 --results FOLDER` repeats the study with other seeds. `cifar16` needs CIFAR-10 as JPEG files in the archive
data/cifar10-jpeg-train.tar.xz. The protocol is protocols/interpolation.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from study import HERE, Study, Trial, add_options

from gantrain.plotting import figures
from gantrain.utils.statistics import Estimate, area, holm, is_below, paired, share_below, simultaneous

ALTERNATING, SIMULTANEOUS = {"order": "alternating"}, {"order": "simultaneous"}
RAPP = {"name": "rapp", "inner_steps": 3, "relaxation": 0.9}
LOOKAHEAD = {"name": "lookahead", "inner_steps": 5, "relaxation": 0.5}
METHODS: dict[str, dict[str, object]] = {
    "gda_alternating": {"name": "gda", **ALTERNATING},
    "gda_simultaneous": {"name": "gda", **SIMULTANEOUS},
    "lookahead_alternating": {**LOOKAHEAD, "base": {"name": "gda", **ALTERNATING}},
    "lookahead_simultaneous": {**LOOKAHEAD, "base": {"name": "gda", **SIMULTANEOUS}},
    "extragradient": {"name": "extragradient"},
    "lookahead_extragradient": {**LOOKAHEAD, "base": {"name": "extragradient"}},
    "rapp_alternating": {**RAPP, **ALTERNATING},
    "rapp_simultaneous": {**RAPP, **SIMULTANEOUS},
    "optimistic": {"name": "optimistic"},
}
BASELINE = "gda_alternating"
WEIGHTS = ("live", "ema", "anchor")
# Numbers of the seeds with which the learning rates are chosen and with which the methods are reported.
CHOOSING, REPORTED = 3, 5


@dataclass(frozen=True)
class Problem:
    """What is trained.

    Attributes:
        gradients: the budget of each player.
        rates: the learning rates that every method is tried with, ascending with ratio 2.
        thresholds: weights -> the distance below which a run counts as good.
        ceiling: the distance as which a diverged run, and a worse one, counts in an area.
        features: the classifier in whose features the distance is measured.
    """

    gradients: int
    rates: tuple[float, ...]
    thresholds: Mapping[str, float]
    ceiling: float
    features: str = "digits-classifier"

    def column(self, weights: str) -> str:
        return f"frechet_distance[{self.features}][{weights}]"


PROBLEMS = {
    "digits_mlp": Problem(15000, (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032), {"live": 7.0, "ema": 5.0}, 20.0),
    "digits_conv": Problem(6000, (0.0005, 0.001, 0.002, 0.004, 0.008), {"live": 4.0, "ema": 2.5}, 10.0),
    "cifar16": Problem(
        2400, (0.0005, 0.001, 0.002, 0.004, 0.008), {"live": 4.0, "ema": 3.5}, 10.0, "photos-classifier"
    ),
}


class Interpolation:
    """The study of one problem.

    Args:
        name: the name of the problem.
        results: the folder of the results.
        runs: the folder of the runs.
        seed: the first of the seeds with which learning rates are chosen; those that are reported begin 100 later.
        workers: the number of runs that are trained at a time.
    """

    def __init__(self, name: str, results: Path, runs: Path, seed: int, workers: int):
        self.name, self.problem = name, PROBLEMS[name]
        self.study = Study(f"interpolation_{name}", ("method", "lr"), results, runs)
        self.choosing = range(seed, seed + CHOOSING)
        self.reported = range(seed + 100, seed + 100 + REPORTED)
        self.workers = workers

    def run(self) -> None:
        """Train all that is lacking: the grid, its extensions, and the reported seeds at the chosen learning rates."""
        self.measure((method, rate) for method in METHODS for rate in self.problem.rates)
        while lacking := [(m, rate) for m in METHODS for w in ("live", "ema") if (rate := self.beyond(m, w))]:
            self.measure(dict.fromkeys(lacking))
        chosen = dict.fromkeys((m, rate) for m in METHODS for w in ("live", "ema") if (rate := self.chosen(m, w)))
        self.study.measure([self.trial(*c, seed) for c in chosen for seed in self.reported], self.workers)

    def measure(self, points) -> None:
        self.study.measure([self.trial(*p, seed) for p in points for seed in self.choosing], self.workers)

    def trial(self, method: str, rate: float, seed: int) -> Trial:
        """The run of a method with a learning rate of both players."""
        overrides = (
            f"outer={json.dumps(METHODS[method])}",
            *(f"game.{player}.optimizer.lr={rate:g}" for player in ("generator", "discriminator")),
            f"run.gradients={self.problem.gradients}",
        )
        config = HERE / "configs" / f"{self.name}.yaml"
        return Trial({"method": method, "lr": f"{rate:g}"}, seed, overrides, str(config))

    def values(self, method: str, rate: float, weights: str, seeds: Sequence[int]) -> dict[int, float | None]:
        """The distances at the end by seed, of the runs that have ended; None for one that diverged."""
        return self.study.last({"method": method, "lr": f"{rate:g}"}, self.problem.column(weights), seeds)

    def fast(self, method: str, rate: float | None) -> dict[int, float | None]:
        """The live distances with the reported seeds at the last measurement but one, where Lookahead has gone on."""
        if rate is None:
            return {}
        setting = {"method": method, "lr": f"{rate:g}"}
        return self.study.last(setting, self.problem.column("live"), self.reported, before=1)

    def rates(self, method: str) -> list[float]:
        """The learning rates that a method was tried with, ascending."""
        tried = {float(row["lr"]) for row in self.study.rows if row["method"] == method}
        return sorted(
            r for r in tried if any(s in self.choosing for s in self.values(method, r, "live", self.choosing))
        )

    def chosen(self, method: str, weights: str) -> float | None:
        """The learning rate with the lowest mean distance, among those at which no run diverged."""
        means = {}
        for rate in self.rates(method):
            values = self.values(method, rate, weights, self.choosing)
            if len(values) == CHOOSING and None not in values.values():
                means[rate] = Estimate.of([v for v in values.values() if v is not None]).mean
        return min(means, key=lambda rate: means[rate]) if means else None

    def beyond(self, method: str, weights: str) -> float | None:
        """The learning rate by which a method's grid has to be extended, for its best lies at the edge; else None."""
        rates, best = self.rates(method), self.chosen(method, weights)
        if best == rates[0]:
            return best / 2
        return best * 2 if best == rates[-1] else None

    def report(self) -> str:
        """The tables as text."""
        lines = []
        for weights in ("live", "ema"):
            lines += [*self.reported_table(weights), "", *self.grid_table(weights), ""]
        return "\n".join(lines).rstrip() + "\n"

    def reported_table(self, weights: str) -> list[str]:
        """The methods at their chosen learning rates with fresh seeds, and their differences from the baseline."""
        column = {w: {} for w in WEIGHTS}
        rate = {m: self.chosen(m, weights) for m in METHODS}
        for w in WEIGHTS:
            for m in METHODS:
                column[w][m] = {} if rate[m] is None else self.values(m, rate[m], w, self.reported)
        base = finite(column[weights][BASELINE])
        others = [m for m in METHODS if m != BASELINE]
        differences = {
            m: paired(values, base) for m in others if (values := finite(column[weights][m])).keys() & base.keys()
        }
        corrected = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
        confidence = simultaneous(0.95, len(others))
        lines = [
            f"Learning rate chosen by the mean {weights} distance over seeds {spell(self.choosing)}; "
            f"distance at {self.problem.gradients} gradients with seeds {spell(self.reported)}:",
            "mean ± standard error. Difference of the "
            f"{weights} distance from {BASELINE}, paired by seed; intervals hold together with 95 % (Bonferroni),",
            f"p values are corrected for {len(others)} comparisons (Holm). fast: 6 gradients before the end, where",
            f"Lookahead is one gradient before it goes back. worst: the largest {weights} distance of the seeds.",
            f"{'method':<24}{'lr':>8}"
            + "".join(f"{w:>16}" for w in (*WEIGHTS, "live, fast"))
            + f"{'worst':>8}"
            + f"{'difference':>12}{'interval':>18}{'p':>9}",
        ]
        for m in METHODS:
            cells = "".join(f"{shown(v):>16}" for v in (*(column[w][m] for w in WEIGHTS), self.fast(m, rate[m])))
            numbers = finite(column[weights][m])
            tail = f"{max(numbers.values()):>8.2f}" if numbers else f"{'-':>8}"
            if m in differences:
                low, high = differences[m].interval(confidence)
                tail += f"{differences[m].mean:>+12.2f}{f'{low:+.2f} to {high:+.2f}':>18}{corrected[m]:>9.3g}"
            lines.append(f"{m:<24}{rate[m] if rate[m] is not None else '-':>8}{cells}{tail}")
        return lines

    def grid_table(self, weights: str) -> list[str]:
        """The distances over the learning rates with the seeds of the choice."""
        problem = self.problem
        threshold, ceiling = problem.thresholds[weights], problem.ceiling
        rates = sorted({rate for m in METHODS for rate in self.rates(m)})
        lines = [
            f"Mean {weights} distance over the learning rates, seeds {spell(self.choosing)}; in brackets: diverged.",
            f"area: mean height over log lr from {problem.rates[0]:g} to {problem.rates[-1]:g}; no run counts as more",
            f"than {ceiling:g}. good: runs below {threshold:g} in that range.",
            f"trains: learning rates whose mean is below {threshold:g}, and the largest divided by the smallest.",
            f"{'method':<24}" + "".join(f"{rate:>9g}" for rate in rates) + f"{'area':>8}{'good':>10}  trains",
        ]
        for m in METHODS:
            cells, good, heights = [], [], {}
            inside: list[float | None] = []
            for rate in rates:
                values = list(self.values(m, rate, weights, self.choosing).values())
                numbers = [v for v in values if v is not None]
                lost = len(values) - len(numbers)
                mean = Estimate.of(numbers).mean
                cells.append(f"{mean:.2f}" * bool(numbers) + f"({lost})" * bool(lost))
                if values and not lost and is_below(mean, threshold):
                    good.append(rate)
                if rate in problem.rates:
                    inside += values
                    if values:
                        heights[rate] = Estimate.of(
                            [min(v, ceiling) if v is not None else ceiling for v in values]
                        ).mean
            height = area(list(heights), list(heights.values())) if len(heights) == len(problem.rates) else math.nan
            trains = f"{good[0]:g} to {good[-1]:g}, {good[-1] / good[0]:g}x" if good else "none"
            lines.append(
                f"{m:<24}" + "".join(f"{cell:>9}" for cell in cells) + f"{height:>8.2f}"
                f"{share_below(inside, threshold)!s:>10}  {trains}"
            )
        return lines

    def picture(self) -> Figure:
        """The mean distances over the learning rates, a panel for each kind of weights."""
        panels = {}
        for weights in ("live", "ema"):
            lines = panels[f"{weights} weights"] = []
            for m in METHODS:
                rates = self.rates(m)
                values = [list(self.values(m, rate, weights, self.choosing).values()) for rate in rates]
                whole = [Estimate.of([]) if None in v else Estimate.of([x for x in v if x is not None]) for v in values]
                lost = [rate for rate, v in zip(rates, values, strict=True) if None in v]
                means, errors = [e.mean for e in whole], [e.error for e in whole]
                lines.append(figures.GridLine(m, str(METHODS[m]["name"]), rates, means, errors, lost))
        return figures.grid(panels, "learning rate", True, verdicts=dict.fromkeys(panels, "Fréchet distance"))


def finite(values: Mapping[int, float | None]) -> dict[int, float]:
    """The values of the runs that did not diverge."""
    return {seed: value for seed, value in values.items() if value is not None}


def shown(values: Mapping[int, float | None]) -> str:
    """Values of several seeds as mean ± standard error, with the number of runs that diverged in brackets."""
    numbers = finite(values)
    lost = len(values) - len(numbers)
    if not numbers:
        return f"({lost})" if lost else "-"
    estimate = Estimate.of(list(numbers.values()))
    return f"{estimate.mean:.2f} ± {estimate.error:.2f}" + f" ({lost})" * bool(lost)


def spell(seeds: range) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=list(PROBLEMS))
    add_options(parser)
    arguments = parser.parse_args()
    problem = Interpolation(arguments.problem, arguments.results, arguments.runs, arguments.seed, arguments.workers)
    if not arguments.tables:
        problem.run()
    command = f"python scripts/studies/interpolation.py {arguments.problem} --seed {arguments.seed}"
    problem.study.publish(command, problem.report(), problem.picture())


if __name__ == "__main__":
    main()
