"""The callback that draws samples of a generator while the generator trains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from PIL.Image import DecompressionBombError
from torch import Tensor, nn

from gantrain.config.types import Interval
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.games.base import GenerativeGame
from gantrain.plotting import figures
from gantrain.plotting.images import grid, load_png, rendered, row_height, save_png, timeline
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Callback
from gantrain.utils.io import make_folder
from gantrain.utils.seeding import derive

ROWS_OVER_TIME = 10
GRID = re.compile(r"step_([0-9]{6,18})\.png")


class SampleGrid(Callback):
    """Draws samples of the same latent vectors at different times of a run, into ``samples/step_N.png``.

    Images are drawn as a grid; ``samples/over_time.png`` shows the first row of the grid over the run. Points are drawn
    as a plot.

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

    def run(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> None:
        """Draw the samples of ``network`` into the run's folder and into TensorBoard."""
        samples = self.game.sample(self.count, self.seed, network=network).cpu()
        path = folder / "samples" / f"step_{step:06d}.png"
        make_folder(path.parent)
        image = draw(samples, self.data.spec, self.data)
        save_png(image, path)
        monitor.image("samples", step, image)
        if self.data.spec.image:
            self._over_time(path.parent)

    def _over_time(self, folder: Path) -> None:
        """Write the first rows of up to ten grids, spread evenly over the run so far, below one another."""
        grids = {int(match[1]): path for path in folder.iterdir() if (match := GRID.fullmatch(path.name))}
        steps = sorted(grids)
        chosen = torch.linspace(0, len(steps) - 1, min(len(steps), ROWS_OVER_TIME)).round().int().tolist()
        height = row_height(self.data.spec.shape[1])
        rows = [(steps[i], picture[:, :height]) for i in chosen if (picture := _read(grids[steps[i]])) is not None]
        # A run may go on with another number of samples, and so with wider rows.
        rows = [(step, row) for step, row in rows if row.shape == rows[-1][1].shape]
        save_png(timeline(rows), folder / "over_time.png")


def _read(path: Path) -> Tensor | None:
    """The picture of a file; None for what is no picture, or damaged."""
    try:
        return load_png(path) if path.is_file() else None
    except (OSError, SyntaxError, ValueError, DecompressionBombError):
        return None


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
