"""The pictures of a report: samples over the training, paths between samples, and the nearest training samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from gantrain.commands.nearest_real import features_of
from gantrain.commands.nearest_real import picture as beside_neighbours
from gantrain.commands.network import offline
from gantrain.commands.report.embedded import Picture, embedded, opened
from gantrain.commands.report.reading import ReportedRun, one_line
from gantrain.compute import memory
from gantrain.data.dataset import DataSet
from gantrain.errors import Notice, UserError
from gantrain.games.base import GenerativeGame
from gantrain.metrics import Classifier, Extractor, neighbours
from gantrain.plotting.images import grid
from gantrain.runs.saved import SavedRun, load
from gantrain.train.callbacks.samples import GRID, draw

# The number of samples where the run has drawn none; of images on a path, and of paths; of samples with neighbours, and
# of the neighbours of each.
_SAMPLES, _STEPS, _PATHS, _NEIGHBOURLY, _NEAREST = 36, 8, 5, 8, 5
# Training samples are searched for neighbours if they have at most so many numbers in all, and by the features of a
# large network if there are at most so many samples: the search should take seconds.
_MOST_NUMBERS, _MOST_SAMPLES = 400_000_000, 2000


@dataclass
class Pictures:
    """The pictures of a run.

    Attributes:
        frames: the samples at different times of the training.
        over_time: the first row of samples over the training; None without such a file.
        real: training samples in the layout of the frames; None without such a file.
        step: the step of the checkpoint from which the following were made; None without one.
        parameters: the number of parameters of each player.
        drawn: samples of the checkpoint, where the run has drawn none.
        paths: paths between samples.
        near: for each kind of distance, samples beside the nearest training samples.
        notes: lines that say what is missing, and why.
    """

    frames: list[Picture] = field(default_factory=list)
    over_time: Picture | None = None
    real: Picture | None = None
    step: int | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    drawn: Picture | None = None
    paths: Picture | None = None
    near: dict[str, Picture] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def with_data_at(data: str, runs: Sequence[ReportedRun], trust: bool) -> set[Path]:
    """The folders of those runs whose training data lie at a place.

    Args:
        data: the place at which the user says that they lie.
        runs: the runs, at least one.
        trust: as in :func:`pictures`.

    Raises:
        UserError: the data of none of the runs lie there; the error is that of the first run.
    """
    found, failures = set(), []
    for run in runs:
        try:
            _read_data(run.folder, trust, data)
        except UserError as error:
            failures.append(error)
        else:
            found.add(run.folder)
    if not found:
        raise failures[0]
    return found


def _read_data(folder: Path, trust: bool, data: str) -> DataSet:
    with offline():
        return load(folder, trust=trust, data=data).data


def pictures(
    run: ReportedRun, frames: int, widest: int, device: torch.device, trust: bool, data: str | None
) -> Pictures:
    """The pictures of a run. Nothing is downloaded.

    Args:
        run: the run.
        frames: the largest number of grids over the training.
        widest: the width in pixels to which wider pictures are reduced.
        device: where the generator computes.
        trust: whether code outside gantrain is executed though the run was not trained here.
        data: where the training data lie now, if not where the config says.
    """
    found, saved = Pictures(_frames(run.folder / "samples", frames, widest)), None
    if (history := opened(run.folder / "samples" / "over_time.png")) is not None:
        found.over_time = embedded(history, widest)
    if (real := opened(run.folder / "samples" / "real.png")) is not None:
        found.real = embedded(real, widest)
    with _noting(found, run.folder, "There are no pictures from a checkpoint"):
        saved = load(str(run.folder), device=device, trust=trust, data=data)
        found.step = saved.step
        found.parameters = {
            name: sum(p.numel() for p in player.module.parameters()) for name, player in saved.game.players.items()
        }
    if saved is None or not isinstance(saved.game, GenerativeGame):
        return found
    with _noting(found, run.folder, "No samples were drawn"):
        samples = _finite(saved.sample(_NEIGHBOURLY if found.frames else _SAMPLES, seed=0))
        if not found.frames:
            found.drawn = embedded(draw(samples.cpu(), saved.spec, None), widest, f"step {saved.step}")
        if saved.spec.image:
            _of_checkpoint(found, saved, samples, run, widest, trust)
    return found


def _of_checkpoint(
    found: Pictures, saved: SavedRun, samples: Tensor, run: ReportedRun, widest: int, trust: bool
) -> None:
    """Add the paths and the neighbours."""
    with _noting(found, run.folder, "No paths were drawn"):
        paths = _finite(saved.interpolate(_STEPS, _PATHS, seed=0, closed=True))
        found.paths = embedded(grid(paths.flatten(0, 1).cpu(), _STEPS), widest)
    with _noting(found, run.folder, "The nearest training samples were not looked for"):
        if run.samples is not None and run.samples * samples[0].numel() > _MOST_NUMBERS:
            raise UserError(f"there are {run.samples} of them, and gantrain sample --neighbours takes the time for it")
        first, data = samples[:_NEIGHBOURLY], saved.data
        k = min(_NEAREST, len(data.samples))
        found.near["pixels"] = embedded(_beside(first, data, k, None), widest)
        features = features_of(saved, None, samples.device, trust)
        if isinstance(features, Classifier) or features is not None and len(data.samples) <= _MOST_SAMPLES:
            found.near[f"the features of {features.name}"] = embedded(_beside(first, data, k, features), widest)


def _beside(samples: Tensor, data: DataSet, k: int, features: Extractor | None) -> Tensor:
    return beside_neighbours(samples, data, neighbours(samples, data, k, features))


def _frames(folder: Path, most: int, widest: int) -> list[Picture]:
    """The grids of a run, spread evenly over its training, and the last of them in any case."""
    grids = {int(match[1]): path for path in _entries(folder) if (match := GRID.fullmatch(path.name))}
    steps = sorted(grids)
    chosen = torch.linspace(0, len(steps) - 1, min(len(steps), most)).round().int().tolist()
    read = [
        (image.size, embedded(image, widest, f"step {steps[i]}"))
        for i in chosen
        if (image := opened(grids[steps[i]])) is not None
    ]
    # A run may go on with another number of samples, and so with larger grids.
    return [picture for size, picture in read if size == read[-1][0]]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _finite(samples: Tensor) -> Tensor:
    if not bool(samples.isfinite().all()):
        raise UserError("the weights of the checkpoint make samples that are NaN or infinite")
    return samples


@contextmanager
def _noting(found: Pictures, folder: Path, missing: str) -> Iterator[None]:
    """Turn an error of the block into a line that says what is missing, and notices into lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        try:
            with offline(), memory.out_of_memory(lambda: "memory", lambda: "try --device cpu"):
                yield
        except (UserError, OSError) as error:
            found.notes.append(f"{missing}: {one_line(error, folder)}.")
    said = [one_line(each.message, folder) for each in caught if issubclass(each.category, Notice)]
    found.notes += [f"{line[:1].upper()}{line[1:]}." for line in said]
