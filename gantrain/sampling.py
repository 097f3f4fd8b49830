"""Samples of a generator: the gallery of a run under way, and the sample command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gantrain import checkpoint, plots
from gantrain.assembly import make_game
from gantrain.ema import EMA
from gantrain.errors import UserError
from gantrain.games.gan import GAN
from gantrain.monitor import Monitor
from gantrain.parts import build
from gantrain.runs import open_run
from gantrain.streams import derive

ROWS_OVER_TIME = 10


class Gallery:
    """Samples of the same latents at different times of a run, written as ``samples/step_N.png``.

    Images become a grid, with ``samples/over_time.png`` showing its first row over the run; points become a plot.

    Args:
        game: whose generator is sampled.
        data: the data set: points are drawn against it.
        every: training steps from one picture to the next.
        count: the number of samples.
        seed: of the latents.
    """

    def __init__(self, game: GAN, data: Any, every: int, count: int, seed: int):
        self.game = game
        self.data = data
        self.every = every
        self.count = count
        self.seed = derive(seed, "gallery")

    def show(self, folder: Path, monitor: Monitor, step: int, network: nn.Module) -> str | None:
        """Draw the samples of ``network`` into the run's folder and into TensorBoard."""
        samples = self.game.sample(self.count, self.seed, network=network).cpu()
        path = folder / "samples" / f"step_{step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        image = draw(samples, self.data)
        plots.save_png(image, path)
        monitor.image("samples", step, image)
        if self.data.spec.image:
            self._over_time(path.parent)

    def _over_time(self, folder: Path) -> None:
        """The first row of up to ten grids, spread evenly over the run so far, below one another."""
        grids = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.png")}
        steps = sorted(grids)
        chosen = torch.linspace(0, len(steps) - 1, min(len(steps), ROWS_OVER_TIME)).round().int().tolist()
        height = plots.row_height(self.data.spec.shape[1])
        rows = [(steps[i], plots.load_png(grids[steps[i]])[:, :height]) for i in chosen]
        plots.save_png(plots.timeline(rows), folder / "over_time.png")


def draw(samples: Tensor, data: Any) -> Tensor:
    """Samples as one picture, uint8 CHW: a grid of images, or points against the data."""
    if data.spec.image:
        return plots.grid(samples)
    return plots.rendered(plots.scatter(samples, modes=getattr(data, "modes", None), real=data.samples[:2000]))


def sample_run(
    run: str,
    number: int,
    seed: int,
    step: int | None,
    weights: str | None,
    output: str | None,
    images: bool,
) -> Path:
    """Sample the generator of a run and write a grid, or a folder of PNG files.

    Args:
        run: the run's folder.
        number: how many samples.
        seed: of the latents; the same seed gives the same samples.
        step: of the checkpoint; the newest by default.
        weights: "ema" or "live"; by default the average where the run keeps one.
        output: where to write; by default beside the run's own samples.
        images: a folder with one PNG a sample instead of one grid.

    Returns:
        What was written.

    Raises:
        UserError: no such run, checkpoint or weights; or PNG files are asked of data that are no images.
    """
    folder, config = open_run(run)
    if config.game.name != "gan":
        raise UserError(f"{folder}: the game is a {config.game.name}, which has no generator to sample")
    path = checkpoint.newest(folder) if step is None else folder / f"step_{step}"
    if path is None or not path.is_dir():
        kept = sorted(int(p.name[5:]) for p in folder.glob("step_*") if p.name[5:].isdigit())
        wanted = "" if step is None else f" of step {step}; there are {kept}"
        raise UserError(f"{folder}: no whole checkpoint{wanted}")
    step, state = checkpoint.load(path)
    data = build("data", config.data.part)
    if images and not data.spec.image:
        raise UserError("--images: the samples are points, not images; leave it away for a plot")
    game = make_game(config, data)
    weights = weights or ("ema" if "ema" in state else "live")
    if weights == "ema" and "ema" not in state:
        raise UserError(f"{path}: this run keeps no average of its weights; use --weights live")
    game.generator.load_state_dict(state["generator"])
    network = game.generator
    if weights == "ema":
        ema = EMA(network, config.ema.decay)
        ema.load_state_dict(state["ema"])
        network = ema.module
    samples = game.sample(number, derive(seed, "sample"), network=network)
    name = f"{weights}_step_{step}_seed_{seed}"
    if not images:
        target = Path(output) if output else folder / "samples" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        plots.save_png(draw(samples, data), target)
        return target
    target = Path(output) if output else folder / "samples" / name
    target.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(plots.quantised(samples)):
        plots.save_png(image, target / f"{i:05d}.png")
    return target
