"""The callback that looks for signs of trouble in a GAN's training, and says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from gantrain.config.types import Interval
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError
from gantrain.games.base import GenerativeGame
from gantrain.games.gan import GAN
from gantrain.metrics.thumbnails import copied, mirrored, spread, thumbnails
from gantrain.runs.last_rows import LastRows
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback
from gantrain.train.callbacks.signs import SIGNS
from gantrain.utils.abandon import between_batches
from gantrain.utils.seeding import derive, generator

# The samples that are compared, and of a conditional game those of one class.
_COUNT, _OF_A_CLASS = 128, 8
# Copies are looked for in data of at most so many samples, each of at least so many numbers: in fewer directions,
# samples are near to real ones by chance.
_MOST, _LEAST_NUMBERS = 5000, 8
# r is the mean over so many rows of the log, and counts once each training sample was seen so often.
_ROWS, _EPOCHS = 20, 10
# The metrics by which there are signs, and which of two values is the better one. Recall says something where precision
# is at least so much.
_METRICS: Mapping[str, Callable[[Sequence[float]], float]] = {"precision": min, "recall": max, "memorised": min}
_LOOKS_REAL = 0.5
# A difference of mean logits counts if it is so many times its standard error.
_ERRORS = 4.0


class TrainingAdvice(Callback):
    """Says in one line when collapse, memorisation or a discriminator that overfits is noticed.

    What is measured is logged as ``advice/spread`` and so on, and each of :data:`~gantrain.train.callbacks.signs.SIGNS`
    as ``advice/NAME``, 1 while it is there. A line is said when a sign begins.

    Args:
        game: the game whose generator is sampled.
        data: the training data set.
        every: the interval from one look to the next.
        seed: the seed of the run.
        held_out: real samples that are not trained on; None if there are none.

    Raises:
        UserError: the samples that are held out have another shape or other classes, or the game has no discriminator.
    """

    weights = "live"
    at_end = False  # two looks are an interval apart

    def __init__(
        self, game: GenerativeGame, data: DataSet, every: Interval, seed: int, held_out: DataSet | None = None
    ):
        self.game = game
        self.data = data
        self.every = every
        self.seed = derive(seed, "advice")
        self.held_out = held_out
        if held_out is not None:
            if not isinstance(game, GAN):
                raise UserError("advice.data: the game has no discriminator that is known; leave it out")
            here, there = data.spec, held_out.spec
            if there.shape != here.shape:
                raise UserError(f"advice.data: expected samples {here.shape}, as those of data, got {there.shape}")
            if game.conditional and not 0 < there.classes <= here.classes:
                raise UserError(f"advice.data: expected the {here.classes} classes of data, got {there.classes}")

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> str | None:
        """Measure, log what was found, and return a line for each sign that begins."""
        last = dict(monitor.last or {})
        before = {name.removeprefix("advice/"): v for name, v in last.items() if name.startswith("advice/")}
        measured = {k: v for k, v in self._measured(folder, last, network).items() if math.isfinite(v)}
        now = measured | _evaluated(last, LastRows(folder))
        there = {sign.name: sign.there(now, before, was=before.get(sign.name) == 1.0) for sign in SIGNS}
        flags = {name: float(is_there) for name, is_there in there.items()}
        monitor.scalars(step, {f"advice/{name}": value for name, value in (measured | flags).items()})
        lines = []
        for sign in SIGNS:
            if there[sign.name] and before.get(sign.name) != 1.0:
                line = sign.line(now[sign.value], self._parts)
                monitor.text(f"advice/{sign.name}", line, step)
                lines.append(f"step {step}: advice: {line}")
        return "\n".join(lines) or None

    def _measured(self, folder: Path, last: Mapping[str, float], network: nn.Module) -> dict[str, float]:
        """The numbers of this look, by name; NaN for what cannot be said."""
        rows, labels, real, of_real = self._compared
        z = self.game.latents(len(rows), self.seed)
        fakes = self.game.generate(z, labels, derive(self.seed, "networks"), network, chunk=64)
        points = thumbnails(fakes)
        numbers = {"spread": spread(points, labels) / of_real if of_real > 0 else math.nan}
        if self._all_real is not None:
            image = self.data.spec.image
            mirror = mirrored(points, self.data.spec.shape) if image else None
            numbers["copies"] = copied(points, self._all_real, mirror)
        if self.held_out is not None:
            numbers["r_v"] = self._overfitting(self.held_out, real, fakes, labels)
        elif 1000 * last.get("kimg", 0.0) >= _EPOCHS * len(self.data.samples):
            signs = LastRows(folder).values("score/real_sign", _ROWS)
            numbers["r"] = sum(signs) / _ROWS if len(signs) == _ROWS else math.nan
        return numbers

    def _overfitting(self, held_out: DataSet, real: Tensor, fakes: Tensor, labels: Tensor | None) -> float:
        """``(E D(train) - E D(held out)) / (E D(train) - E D(fake))``; NaN if D does not tell training from fake."""
        assert isinstance(self.game, GAN)
        rows = _chosen(held_out, self.game.conditional, self.seed)
        others = None if labels is None or held_out.labels is None else held_out.labels.cpu()[rows]
        sets = (real, labels), (_decoded(held_out, rows), others), (fakes, labels)
        train, held, fake = (self.game.logits(samples, of, self.seed).double().cpu() for samples, of in sets)
        gap = (train.mean() - fake.mean()).item()
        error = math.sqrt(train.var().item() / len(train) + fake.var().item() / len(fake))
        return (train.mean() - held.mean()).item() / gap if gap > _ERRORS * error else math.nan

    @cached_property
    def _compared(self) -> tuple[Tensor, Tensor | None, Tensor, float]:
        """The training samples that are compared: their rows, labels, the samples, and their spread."""
        rows = _chosen(self.data, self.game.conditional, self.seed)
        labels = self.data.labels.cpu()[rows] if self.game.conditional and self.data.labels is not None else None
        real = _decoded(self.data, rows)
        return rows, labels, real, spread(thumbnails(real), labels)

    @cached_property
    def _all_real(self) -> Tensor | None:
        """The thumbnails of all training samples; None where copies are not looked for."""
        count, (_, _, real, _) = len(self.data.samples), self._compared
        if count > _MOST or thumbnails(real[:1]).numel() < _LEAST_NUMBERS:
            return None
        parts = []
        for rows in torch.arange(count).split(256):
            between_batches()
            parts.append(thumbnails(_decoded(self.data, rows)))
        return torch.cat(parts)

    @cached_property
    def _parts(self) -> set[str]:
        """The names of the game's augmentations and penalties."""
        lists = [value for value in vars(self.game).values() if isinstance(value, list | tuple)]
        return {type(part).__name__.lower() for parts in lists for part in parts}


def _chosen(data: DataSet, conditional: bool, seed: int) -> Tensor:
    """The rows of samples that are compared: any, or several of each of some classes."""
    rows = torch.randperm(len(data.samples), generator=generator(seed, "rows"))
    if not conditional or data.labels is None:
        return rows[:_COUNT]
    labels = data.labels.cpu()[rows]
    taken: dict[int, int] = {}
    chosen = []
    for place, label in enumerate(labels.tolist()):
        if taken.setdefault(label, 0) < _OF_A_CLASS and (taken[label] or len(taken) <= _COUNT // _OF_A_CLASS):
            taken[label] += 1
            chosen.append(place)
    return rows[chosen]


def _decoded(data: DataSet, rows: Tensor) -> Tensor:
    """The samples at these rows as the networks see them, on the CPU."""
    return data.decode(data.samples[rows].to("cpu"))


def _evaluated(last: Mapping[str, float], rows: LastRows) -> dict[str, float]:
    """The better of the last two values of each metric of the run's evaluation by which there is a sign.

    One value alone may be that of a generator that has only begun. Recall counts where samples look real.
    """
    found: dict[str, list[float]] = {}
    for name in last:
        metric = name.partition("[")[0]
        if metric in _METRICS and metric not in found:
            found[metric] = rows.values(name, 2)
    two = {metric: values for metric, values in found.items() if len(values) == 2}
    better = {metric: _METRICS[metric](two[metric]) for metric in two}
    if better.pop("precision", 0.0) < _LOOKS_REAL:
        better.pop("recall", None)
    return better
