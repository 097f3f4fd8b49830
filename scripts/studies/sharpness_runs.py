"""The runs of study B: the search for each method's numbers, and the runs that are reported."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sharpness_methods import FIXED, METHODS, PROBLEMS, WEIGHT_DECAY, Axis, Point
from study import HERE, Study, Trial

from gantrain.utils.statistics import Estimate

# Numbers of the seeds with which values are chosen and with which the methods are reported.
CHOOSING, REPORTED = 2, 5


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

    def run(self, noise: float) -> None:
        """Train all that is lacking of a noise: the searches, then the reported seeds."""
        while lacking := [(m, point) for m in METHODS for point in self.search(m, noise).lacking]:
            self.study.measure(
                [self.trial(m, noise, p, "validation", s) for m, p in lacking for s in self.choosing], self.workers
            )
        found = {m: self.search(m, noise) for m in METHODS}
        chosen = dict.fromkeys((m, p) for m, search in found.items() for p in (search.fixed, search.joint) if p)
        self.study.measure([self.trial(m, noise, p, "test", s) for m, p in chosen for s in self.reported], self.workers)

    def trial(self, method: str, noise: float, point: Point, split: str, seed: int) -> Trial:
        """A run of a method at a point; the noise of its labels is drawn anew for each seed."""
        value, of = setting(method, noise, point, split)["value"], METHODS[method]
        epochs = point.value if of.epochs is None else of.epochs
        assert epochs is not None
        steps = round(self.problem.steps * epochs)
        data = [f"data.label_noise={noise:g}", f"data.noise_seed={seed}"]
        measured: dict[str, object] = {"split": split}
        if self.problem.cifar:
            data.append(f"data.path={json.dumps(str(self.images / 'train.npz'))}")
            if split == "test":
                measured = {"path": str(self.images / "test.npz"), "split": "train", "validation": 0, "label_noise": 0}
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

    def is_whole(self, noise: float) -> bool:
        """Whether all of a noise is measured."""
        for m in METHODS:
            found = self.search(m, noise)
            points = [p for p in (found.fixed, found.joint) if p]
            if len(points) < 2 or any(len(self.accuracies(m, noise, p, "test")) < REPORTED for p in points):
                return False
        return True

    def line(self, method: str, noise: float) -> dict[float, list[float | None]]:
        """The validation accuracies at the config's weight decay, of all values that were tried."""
        axis = METHODS[method].axis
        tried = {
            v: self.accuracies(method, noise, Point(v, FIXED), "validation") for v in (axis.ladder if axis else ())
        }
        return {value: list(accuracies.values()) for value, accuracies in tried.items() if accuracies}


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


def finite(values: Mapping[int, float | None]) -> dict[int, float]:
    """The values of the runs that did not diverge."""
    return {seed: value for seed, value in values.items() if value is not None}
