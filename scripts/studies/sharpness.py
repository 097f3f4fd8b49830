"""Study B: what sharpness-aware minimisation does for classifiers, with clean and with noisy labels.

    python scripts/studies/sharpness.py digits_mlp [--workers 2]

Stop it at any time; the same command goes on. `--tables` trains nothing, and makes the tables from the CSV file alone.
`--seed 1000 --results FOLDER` repeats the study with other seeds. CIFAR-16 is made once from the archives of CIFAR-10's
JPEG files in `--data`. The protocol is protocols/sharpness.md.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from study import HERE, RESULTS, RUNS, Study, Trial

from gantrain.utils.io import write_file
from gantrain.utils.statistics import Difference, Estimate, holm, paired, simultaneous

# Numbers of the seeds with which values are chosen and with which the methods are reported.
CHOOSING, REPORTED = 2, 5
# Runs with a lower accuracy are at chance: they predict one class, or nearly so. Accuracies are in per cent.
CHANCE = 15.0
# By less than so many points, a method that is worse counts as not worse.
MARGIN = 1.0


@dataclass(frozen=True)
class Axis:
    """The values that a search may give to a number.

    Attributes:
        ladder: all values, ascending.
        first: the lowest and the highest of those that are tried in any case.
    """

    ladder: tuple[float, ...]
    first: tuple[float, float]

    @property
    def grid(self) -> list[float]:
        """The values that are tried in any case."""
        return [value for value in self.ladder if self.first[0] <= value <= self.first[1]]

    def around(self, value: float) -> list[float]:
        """A value and its neighbours."""
        place = self.ladder.index(value)
        return list(self.ladder[max(0, place - 1) : place + 2])


@dataclass(frozen=True)
class Method:
    """A way of training.

    Attributes:
        overrides: ``KEY=VALUE`` with ``{}`` for the value that is searched for.
        axis: the values of this number; None where there is nothing to search for but the weight decay.
        epochs: the budget in units of the problem's; None where it is this number.
    """

    overrides: tuple[str, ...] = ()
    axis: Axis | None = None
    epochs: float | None = 1


RHO = Axis((0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2), (0.05, 0.8))
RELATIVE_RHO = Axis((0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32), (0.5, 8))
RANDOM_RHO = Axis((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6), (0.4, 6.4))
SMOOTHING = Axis((0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 0.9), (0.05, 0.8))
EPOCHS = Axis((0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2), (0.125, 2))
WEIGHT_DECAY = Axis((5e-5, 0.00016, 0.0005, 0.0016, 0.005, 0.016, 0.05, 0.16), (0.0005, 0.016))
# The weight decay of the configs.
FIXED = 0.0005


def oracle(keys: str, axis: Axis = RHO) -> Method:
    """A method that differs from SGD by its gradients, which depend on a radius rho."""
    return Method((f"game.classifier.sharpness={{{{{keys}, rho: {{}}}}}}",), axis)


METHODS = {
    "sgd": Method(),
    "sgd_twice": Method(epochs=2),
    "sgd_epochs": Method(axis=EPOCHS, epochs=None),
    "label_smoothing": Method(("game.label_smoothing={}",), SMOOTHING),
    "random_sam": oracle("name: sam, direction: random", RANDOM_RHO),
    "sam": oracle("name: sam"),
    "asam": oracle("name: sam, geometry: elementwise", RELATIVE_RHO),
    "sampa_0": oracle("name: sampa, mix: 0.0"),
    "sampa_0.2": oracle("name: sampa, mix: 0.2"),
    "bisam_tanh": oracle("name: sam, climb: tanh"),
    "bisam_log": oracle("name: sam, climb: log"),
}
ORACLES = [name for name, method in METHODS.items() if method.axis in (RHO, RELATIVE_RHO, RANDOM_RHO)]
# Those that claim to improve on SAM.
VARIANTS = ("asam", "sampa_0", "sampa_0.2", "bisam_tanh", "bisam_log")
# The hypotheses: the first is better than the second, or no worse.
HYPOTHESES = (("sam", "sgd"), ("sampa_0.2", "sam"), ("bisam_tanh", "sam"))


@dataclass(frozen=True)
class Problem:
    """What is trained.

    Attributes:
        config: the file in `configs`.
        steps: the budget, in steps of SGD and of the others.
        noises: the probabilities of label noise.
        cifar: whether the data are CIFAR-16.
    """

    config: str
    steps: int
    noises: tuple[float, ...]
    cifar: bool = False


PROBLEMS = {
    "digits_mlp": Problem("digits_classifier_mlp.yaml", 1200, (0.0, 0.2, 0.4, 0.6)),
    "digits_conv": Problem("digits_classifier_conv.yaml", 600, (0.0, 0.4)),
    "digits_conv_plain": Problem("digits_classifier_conv_plain.yaml", 600, (0.0, 0.4)),
    "cifar16_conv": Problem("cifar16_classifier_conv.yaml", 800, (0.0, 0.4), cifar=True),
    "cifar16_mlp": Problem("cifar16_classifier_mlp.yaml", 800, (0.0, 0.4), cifar=True),
}


@dataclass(frozen=True)
class Point:
    """Values of the numbers that are searched for; ``value`` is None for a method without one."""

    value: float | None
    weight_decay: float


@dataclass(frozen=True)
class Search:
    """How far a search has come.

    Attributes:
        fixed: the best point with the config's weight decay; None while it is not known.
        joint: the best point of both numbers; None while it is not known.
        lacking: the points that are to be measured next.
    """

    fixed: Point | None
    joint: Point | None
    lacking: list[Point]


class Sharpness:
    """The study of one problem.

    Args:
        name: the name of the problem.
        results: the folder of the results.
        runs: the folder of the runs, and of CIFAR-16.
        seed: the first of the seeds with which values are chosen; those that are reported begin 100 later.
        workers: the number of runs that are trained at a time.
    """

    def __init__(self, name: str, results: Path, runs: Path, seed: int, workers: int):
        self.problem = PROBLEMS[name]
        settings = ("method", "noise", "value", "weight_decay", "split")
        self.study = Study(f"sharpness_{name}", settings, results, runs)
        self.choosing = range(seed, seed + CHOOSING)
        self.reported = range(seed + 100, seed + 100 + REPORTED)
        self.workers = workers
        self.images = runs.resolve() / "cifar16"

    def run(self) -> None:
        """Train all that is lacking, one noise after the other: the searches, then the reported seeds."""
        for noise in self.problem.noises:
            while lacking := [(m, point) for m in METHODS for point in self.search(m, noise).lacking]:
                self.study.measure(
                    [self.trial(m, noise, p, "validation", s) for m, p in lacking for s in self.choosing], self.workers
                )
            searches = {m: self.search(m, noise) for m in METHODS}
            chosen = dict.fromkeys((m, p) for m, found in searches.items() for p in (found.fixed, found.joint) if p)
            self.study.measure(
                [self.trial(m, noise, p, "test", s) for m, p in chosen for s in self.reported], self.workers
            )

    def trial(self, method: str, noise: float, point: Point, split: str, seed: int) -> Trial:
        """A run of a method at a point; the noise of its labels is drawn anew for each seed."""
        value, of = setting(method, noise, point, split)["value"], METHODS[method]
        epochs = point.value if of.epochs is None else of.epochs
        assert epochs is not None
        steps = round(self.problem.steps * epochs)
        data, measured = [f"data.label_noise={noise:g}", f"data.noise_seed={seed}"], {"split": split}
        if self.problem.cifar:
            data.append(f"data.path={json.dumps(str(self.images / 'train.npz'))}")
            if split == "test":
                test = {"path": str(self.images / "test.npz"), "split": "train", "validation": 0, "label_noise": 0}
                measured = test
        overrides = (
            *data,
            *(override.format(value) for override in of.overrides),
            f"game.classifier.optimizer.weight_decay={point.weight_decay:g}",
            f"game.classifier.scheduler.T_max={steps}",
            f"evaluate.data={json.dumps(measured)}",
            *(f"{key}={steps}" for key in ("run.steps", "evaluate.every", "log.every", "checkpoint.every")),
        )
        config = str(HERE / "configs" / self.problem.config)
        return Trial(setting(method, noise, point, split), seed, overrides, config)

    def accuracies(self, method: str, noise: float, point: Point, split: str) -> dict[int, float | None]:
        """The accuracies at the end in per cent, by seed, of the runs that have ended; None for one that diverged."""
        seeds = self.choosing if split == "validation" else self.reported
        found = self.study.last(setting(method, noise, point, split), "validation/accuracy", seeds)
        return {seed: None if value is None else 100 * value for seed, value in found.items()}

    def score(self, method: str, noise: float, point: Point) -> tuple[float, float, float, float]:
        """What is highest at the best point: the mean accuracy; of equal ones, the loss decides, then the numbers."""
        accuracies = list(finite(self.accuracies(method, noise, point, "validation")).values())
        order = -point.weight_decay, -(point.value or 0)
        if len(accuracies) < CHOOSING:
            return -math.inf, -math.inf, *order
        losses = self.study.last(setting(method, noise, point, "validation"), "validation/loss", self.choosing)
        # Means of the same counts of correct images differ by rounding.
        accuracy = round(Estimate.of(accuracies).mean, 6)
        return accuracy, -Estimate.of(list(finite(losses).values())).mean, *order

    def search(self, method: str, noise: float) -> Search:
        """Search along the method's number at the config's weight decay; then, from the best point, along both."""
        axis = METHODS[method].axis
        line = [Point(value, FIXED) for value in (axis.grid if axis else [None])]
        fixed, lacking = self.climb(method, noise, line, {"value": axis} if axis else {})
        if fixed is None:
            return Search(None, None, lacking)
        line = [fixed, *(Point(fixed.value, decay) for decay in WEIGHT_DECAY.grid if decay != FIXED)]
        axes = {"weight_decay": WEIGHT_DECAY} | ({"value": axis} if axis else {})
        return Search(fixed, *self.climb(method, noise, line, axes))

    def climb(
        self, method: str, noise: float, points: Sequence[Point], axes: Mapping[str, Axis]
    ) -> tuple[Point | None, list[Point]]:
        """The best point, once all its neighbours along the axes have been tried; and the points lacking until then.

        Args:
            method: the method.
            noise: the label noise.
            points: the points that are tried in any case.
            axes: the axes along which neighbours are tried, by the names of their numbers in a point.
        """
        tried = list(points)
        while True:
            lacking = [p for p in tried if len(self.accuracies(method, noise, p, "validation")) < CHOOSING]
            if lacking:
                return None, lacking
            best = max(tried, key=lambda point: self.score(method, noise, point))
            around = [
                replace(best, **{name: value})
                for name, axis in axes.items()
                for value in axis.around(getattr(best, name))
            ]
            beyond = [point for point in around if point not in tried]
            if not beyond:
                return best, []
            tried += beyond

    def report(self) -> str:
        """The tables as text, those of each noise of which all is measured."""
        lines: list[str] = []
        whole = [noise for noise in self.problem.noises if self.is_whole(noise)]
        for noise in whole:
            searches = {m: self.search(m, noise) for m in METHODS}
            title = f"{noise:.0%} label noise"
            fixed = {m: found.fixed for m, found in searches.items() if found.fixed}
            joint = {m: found.joint for m, found in searches.items() if found.joint}
            lines += [f"{title}, weight decay {FIXED:g}:", *self.reported_table(noise, fixed), ""]
            lines += [f"{title}, weight decay tuned:", *self.reported_table(noise, joint), ""]
            lines += [*self.line_table(noise), ""]
        lines += self.hypotheses(whole)
        return "\n".join(lines).rstrip() + "\n"

    def is_whole(self, noise: float) -> bool:
        """Whether all of a noise is measured."""
        for m in METHODS:
            found = self.search(m, noise)
            points = [p for p in (found.fixed, found.joint) if p]
            if len(points) < 2 or any(len(self.accuracies(m, noise, p, "test")) < REPORTED for p in points):
                return False
        return True

    def reported_table(self, noise: float, points: Mapping[str, Point]) -> list[str]:
        """The methods at chosen points with fresh seeds, and their differences from SGD and from SAM."""
        accuracies = {m: self.accuracies(m, noise, point, "test") for m, point in points.items()}
        pairs = [(m, "sgd") for m in METHODS if m != "sgd"] + [(m, "sam") for m in VARIANTS]
        compared = differences(accuracies, pairs)
        lines = [
            f"Test accuracy in %, seeds {spell(self.reported)}: mean ± standard error. Differences in points, paired by",
            "seed, with the 95 % interval of each; p values are corrected for the "
            f"{len(compared)} comparisons of the table (Holm).",
            f"{'method':<16}{'value':>9}{'decay':>9}{'accuracy':>18}{'from sgd':>26}{'p':>8}{'from sam':>26}{'p':>8}",
        ]
        for m, point in points.items():
            value = "" if point.value is None else f"{point.value:g}"
            line = f"{m:<16}{value:>9}{point.weight_decay:>9g}{shown(accuracies[m]):>18}"
            for base in ("sgd", "sam"):
                found = compared.get((m, base))
                line += f"{spelled(found[0], 0.95):>26}{found[1]:>8.2g}" if found else " " * 34
            lines.append(line.rstrip())
        return lines

    def line_table(self, noise: float) -> list[str]:
        """The accuracies of the methods with a number of their own over it, and how often they collapse."""
        lines = [
            f"{noise:.0%} label noise, weight decay {FIXED:g}: mean validation accuracy in % at each value, which is rho,",
            "the share of smoothed labels or the budget. In brackets: of the runs with seeds "
            f"{spell(self.choosing)}, those that",
            f"diverged or are at chance (below {CHANCE:g} %).",
        ]
        for m in METHODS:
            if METHODS[m].axis is not None:
                cells = []
                for value, accuracies in self.line(m, noise).items():
                    lost = sum(a is None or a < CHANCE for a in accuracies)
                    numbers = [a for a in accuracies if a is not None]
                    mean = f"{Estimate.of(numbers).mean:.1f}" if numbers else "-"
                    cells.append(f"{value:g}: {mean}" + f" ({lost})" * bool(lost))
                lines.append(f"{m:<16} " + "   ".join(cells))
        return lines

    def line(self, method: str, noise: float) -> dict[float, list[float | None]]:
        """The validation accuracies at the config's weight decay, of all values that were tried."""
        axis = METHODS[method].axis
        tried = {
            v: self.accuracies(method, noise, Point(v, FIXED), "validation") for v in (axis.ladder if axis else ())
        }
        return {value: list(accuracies.values()) for value, accuracies in tried.items() if accuracies}

    def hypotheses(self, noises: Sequence[float]) -> list[str]:
        """The answers to the protocol's hypotheses, with the weight decay tuned."""
        found = {}
        for noise in noises:
            points = {m: self.search(m, noise).joint for pair in HYPOTHESES for m in pair}
            accuracies = {m: self.accuracies(m, noise, point, "test") for m, point in points.items() if point}
            found |= {
                (noise, *pair): difference for pair, (difference, _) in differences(accuracies, HYPOTHESES).items()
            }
        if not found:
            return []
        corrected = holm([difference.p for difference in found.values()])
        confidence = simultaneous(0.95, len(found))
        lines = [
            f"Hypotheses, weight decay tuned: p is corrected for these {len(found)} comparisons (Holm); intervals hold",
            f"together with 95 % (Bonferroni). Not worse: the interval lies above -{MARGIN:g}.",
        ]
        for (noise, one, other), p in zip(found, corrected, strict=True):
            difference = found[noise, one, other]
            answer = verdict(difference, p, confidence)
            lines.append(
                f"{noise:>4.0%}  {f'{one} from {other}':<24}{spelled(difference, confidence):>28}{p:>8.2g}  {answer}"
            )
        return lines

    def figure(self) -> Figure:
        """The validation accuracy over the radius, relative to the first that is tried, for each noise."""
        noises = [noise for noise in self.problem.noises if self.line("sam", noise)]
        figure = Figure(figsize=(1.8 + 3.6 * max(1, len(noises)), 3.6), layout="constrained")
        for position, noise in enumerate(noises, start=1):
            axes = figure.add_subplot(1, len(noises), position)
            for m in ORACLES:
                axis, line = METHODS[m].axis, self.line(m, noise)
                assert axis is not None
                # The axes of ASAM and of random directions have other units.
                means = [Estimate.of([a for a in accuracies if a is not None]).mean for accuracies in line.values()]
                axes.plot([RHO.first[0] * v / axis.first[0] for v in line], means, marker="o", markersize=3, label=m)
            sgd = finite(self.accuracies("sgd", noise, Point(None, FIXED), "validation"))
            if sgd:
                axes.axhline(Estimate.of(list(sgd.values())).mean, color="grey", linestyle="--", label="sgd")
            axes.set(xscale="log", xlabel="rho (asam: / 10, random_sam: / 8)", title=f"{noise:.0%} label noise")
        if noises:
            figure.axes[0].set_ylabel(f"validation accuracy in %, weight decay {FIXED:g}")
            figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center")
        return figure


def setting(method: str, noise: float, point: Point, split: str) -> dict[str, str]:
    """The columns of the CSV file that say which run it is."""
    value = "-" if point.value is None else f"{point.value:g}"
    return {
        "method": method,
        "noise": f"{noise:g}",
        "value": value,
        "weight_decay": f"{point.weight_decay:g}",
        "split": split,
    }


def differences(
    accuracies: Mapping[str, Mapping[int, float | None]], pairs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Difference, float]]:
    """The differences of pairs of methods over the seeds with which both ended, and their p values by Holm."""
    values = {m: finite(of_method) for m, of_method in accuracies.items()}
    found = {(a, b): paired(values[a], values[b]) for a, b in pairs if values[a].keys() & values[b].keys()}
    corrected = holm([difference.p for difference in found.values()])
    return {pair: (difference, p) for (pair, difference), p in zip(found.items(), corrected, strict=True)}


def verdict(difference: Difference, p: float, confidence: float) -> str:
    """What a difference says."""
    if p < 0.05:
        return "better" if difference.mean > 0 else "worse"
    return "not worse" if difference.interval(confidence)[0] > -MARGIN else "open"


def spelled(difference: Difference, confidence: float) -> str:
    low, high = difference.interval(confidence)
    return f"{difference.mean:+.2f} ({low:+.2f} to {high:+.2f})"


def finite(values: Mapping[int, float | None]) -> dict[int, float]:
    """The values of the runs that did not diverge."""
    return {seed: value for seed, value in values.items() if value is not None}


def shown(values: Mapping[int, float | None]) -> str:
    """Values of several seeds as mean ± standard error, with the number of runs that diverged in brackets."""
    numbers = list(finite(values).values())
    lost = f" ({len(values) - len(numbers)})" * (len(numbers) < len(values))
    if not numbers:
        return f"-{lost}"
    return f"{Estimate.of(numbers).mean:.2f} ± {Estimate.of(numbers).error:.2f}{lost}"


def spell(seeds: range) -> str:
    return f"{seeds[0]} to {seeds[-1]}"


def make_cifar16(archives: Path, folder: Path) -> None:
    """Write 7500 training images and the test images of CIFAR-10 at 16 pixels, unless they are there."""
    from gantrain.data.datasets.image_files import ImageArchive
    from gantrain.data.limit import limited

    folder.mkdir(parents=True, exist_ok=True)
    parts: tuple[tuple[Literal["train", "test"], int], ...] = ("train", 7500), ("test", 10000)
    for part, count in parts:
        path = folder / f"{part}.npz"
        if not path.exists():
            data = limited(ImageArchive(str(archives / f"cifar10-jpeg-{part}.tar.xz"), part, size=16), count)
            content = io.BytesIO()
            np.savez(content, images=np.asarray(data.samples), labels=np.asarray(data.labels))
            write_file(path, content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem", choices=list(PROBLEMS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the results")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of the runs")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of CIFAR-10's archives")
    parser.add_argument("--tables", action="store_true", help="train nothing; make the tables anew")
    arguments = parser.parse_args()
    problem = Sharpness(arguments.problem, arguments.results, arguments.runs, arguments.seed, arguments.workers)
    if not arguments.tables:
        if problem.problem.cifar:
            make_cifar16(arguments.data, problem.images)
        problem.run()
    problem.study.publish(problem.report(), problem.figure())


if __name__ == "__main__":
    main()
