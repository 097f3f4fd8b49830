"""The callback that draws samples of a generator while the generator trains."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from PIL.Image import DecompressionBombError
from torch import Tensor, nn

from gantrain.config.types import Interval
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.games.base import GenerativeGame
from gantrain.plotting import figures
from gantrain.plotting.images import film, grid, load_png, rendered, row_height, save_png, timeline
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback
from gantrain.utils.io import make_folder, write_file
from gantrain.utils.seeding import derive, generator

ROWS_OVER_TIME = 10
# The most frames of the GIF, and the longest side of a frame in pixels: it has a few megabytes at most.
FRAMES, LARGEST = 50, 512
REAL = "real.png"
GRID = re.compile(r"step_([0-9]{6,18})\.png")


class SampleGrid(Callback):
    """Draws samples of the same latent vectors at different times of a run, into ``samples/step_N.png``.

    Images are drawn as a grid; ``samples/over_time.png`` shows the first row of the grid over the run, and
    ``samples/real.png`` training images in the same places, in a conditional game of the same classes. Points are drawn
    as a plot. When the run ends, ``samples/over_time.gif`` shows up to fifty of the pictures one after the other.

    Args:
        game: the game whose generator is sampled.
        data: the training data set. Points are drawn together with the data.
        every: the interval from one picture to the next.
        count: the number of samples.
        seed: the seed of the run, from which the latent vectors are derived.
        weights: as in :class:`~gantrain.train.callbacks.base.Callback`.
    """

    writes: ClassVar[Mapping[str, str]] = {"samples": "pictures of samples"}

    runs_game = False

    def __init__(
        self,
        game: GenerativeGame,
        data: DataSet,
        every: Interval,
        count: int,
        seed: int,
        weights: str | None = None,
    ):
        self.game = game
        self.data = data
        self.every = every
        self.count = count
        self.seed = derive(seed, "gallery")
        self.weights = weights
        self._compared: Monitor | None = None

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> None:
        """Draw the samples of ``network`` into the run's folder and into TensorBoard."""
        samples = self.game.sample(self.count, self.seed, network=network).cpu()
        path = folder / "samples" / f"step_{step:06d}.png"
        make_folder(path.parent, parents=False)
        image = draw(samples, self.data.spec, self.data)
        save_png(image, path)
        monitor.image("samples", step, image)
        if self.data.spec.image:
            self._over_time(path.parent)
            self._compare(path.parent, monitor, step)

    def _compare(self, folder: Path, monitor: Monitor, step: int) -> None:
        """Draw training images beside the first samples that the log gets."""
        if self._compared is monitor:
            return
        image = grid(real_images(self.data, self.count, self.seed, by_class=self.game.conditional))
        save_png(image, folder / REAL)
        monitor.image("samples/real", step, image)
        self._compared = monitor

    def _over_time(self, folder: Path) -> None:
        """Write the first rows of up to ten grids, spread evenly over the run so far, below one another."""
        grids = _grids(folder)
        chosen = _spread(sorted(grids), ROWS_OVER_TIME)
        height = row_height(self.data.spec.shape[1])
        rows = [(step, picture[:, :height]) for step in chosen if (picture := _read(grids[step])) is not None]
        # A run may go on with another number of samples, and so with wider rows.
        rows = [(step, row) for step, row in rows if row.shape == rows[-1][1].shape]
        save_png(timeline(rows), folder / "over_time.png")

    def finish(self, folder: Path) -> None:
        """Write the pictures of the run as a GIF, if there are two or more; its frames have the size of the last."""
        grids = _grids(folder / "samples")
        sizes = {step: size for step, path in grids.items() if (size := _size(path)) is not None}
        # A run may go on with another number of samples, and so with other grids.
        alike = [step for step, size in sizes.items() if size == list(sizes.values())[-1]]
        if len(alike) > 1:
            chosen = _spread(alike, FRAMES)
            pictures = ((step, picture) for step in chosen if (picture := _read(grids[step])) is not None)
            write_file(folder / "samples" / "over_time.gif", film(pictures, LARGEST))


def _grids(folder: Path) -> dict[int, Path]:
    """The files of a run's pictures by their steps, which ascend."""
    found = folder.iterdir() if folder.is_dir() else ()
    grids = {int(match[1]): path for path in found if (match := GRID.fullmatch(path.name))}
    return dict(sorted(grids.items()))


def _spread(steps: Sequence[int], most: int) -> list[int]:
    """Up to so many of the steps, the first and the last among them, spread evenly."""
    return [steps[i] for i in torch.linspace(0, len(steps) - 1, min(len(steps), most)).round().int().tolist()]


def _size(path: Path) -> tuple[int, int] | None:
    """The width and the height of a picture; None for what is no picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, DecompressionBombError):
        return None


def _read(path: Path) -> Tensor | None:
    """The picture of a file; None for what is no picture, or damaged."""
    try:
        return load_png(path) if path.is_file() else None
    except (OSError, SyntaxError, ValueError, DecompressionBombError):
        return None


def real_images(data: DataSet, count: int, seed: int, by_class: bool = False) -> Tensor:
    """``(n, *shape)``: training images at the places at which a grid has samples; at most ``count``.

    Args:
        data: the training data set.
        count: the number of samples in the grid.
        seed: the seed of the choice.
        by_class: whether the images are of all classes in turn, as the samples of a conditional game are. The images of
            a class that has too few come again, and the place of one that has none is grey.
    """
    order = torch.randperm(len(data.samples), generator=generator(seed, "real"))
    if not by_class or data.labels is None:
        return _decoded(data, order[:count])
    labels, places = data.labels.cpu()[order], torch.arange(count)
    images = data.spec.zeros(count)
    for label in range(data.spec.classes):
        rows, here = order[labels == label], places[places % data.spec.classes == label]
        if len(rows) and len(here):
            images[here] = _decoded(data, rows[torch.arange(len(here)) % len(rows)])
    return images


def _decoded(data: DataSet, rows: Tensor) -> Tensor:
    return data.decode(data.samples[rows].to("cpu"))


def draw(samples: Tensor, spec: DataSpec, data: DataSet | None) -> Tensor:
    """The samples as one picture, uint8 ``(3, height, width)``: a grid of images, or points together with the data.

    Of vectors the first two features are drawn; of single numbers a histogram.

    Args:
        samples: the samples.
        spec: the spec of the data.
        data: the training data, of which a plot of points shows some; None leaves them out.
    """
    if spec.image:
        return grid(samples)
    real = None if data is None else data.decode(data.samples[:2000].to("cpu"))
    if spec.shape == (1,):
        return rendered(figures.histogram(samples, real))
    return rendered(figures.scatter(samples, modes=getattr(data, "modes", None), real=real))
