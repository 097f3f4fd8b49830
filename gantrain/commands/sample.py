"""The sample command: samples of a run's generator, as a grid or as files."""

from __future__ import annotations

from pathlib import Path

from gantrain.config.parts import part_name
from gantrain.errors import UserError
from gantrain.games.base import GenerativeGame
from gantrain.plotting.images import quantised, save_png
from gantrain.runs.saved import open_saved_run
from gantrain.train.callbacks.samples import draw
from gantrain.utils.seeding import derive


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
        run: the run's folder, or that of one of its checkpoints.
        number: the number of samples.
        seed: the seed of the latents; the same seed gives the same samples.
        step: the step of the checkpoint; the newest by default.
        weights: "ema" or "live"; by default the averaged weights where the run keeps an average.
        output: the path of the file or folder to write; by default it lies beside the run's own samples.
        images: whether each sample becomes a PNG file in a folder; else all of them become one grid.

    Returns:
        The path of the file or folder.

    Raises:
        UserError: there is no such run, checkpoint or weights; the run trains no generator; or ``images`` is asked for
            and the data are points.
    """
    saved = open_saved_run(run, step, weights)
    if not isinstance(saved.game, GenerativeGame):
        raise UserError(f"{saved.folder}: the game {part_name(saved.config.game)} has no generator")
    if images and not saved.data.spec.image:
        raise UserError("--images: the samples are points, not images; leave the option out to get a plot")
    samples = saved.game.sample(number, derive(seed, "sample"), network=saved.network)
    name = f"{saved.weights}_step_{saved.step}_seed_{seed}"
    if not images:
        target = Path(output) if output else saved.folder / "samples" / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        save_png(draw(samples, saved.data), target)
        return target
    target = Path(output) if output else saved.folder / "samples" / name
    target.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(quantised(samples)):
        save_png(image, target / f"{i:05d}.png")
    return target
