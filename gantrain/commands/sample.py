"""The sample command."""

from __future__ import annotations

from pathlib import Path

from gantrain.errors import UserError
from gantrain.plotting.images import quantised, save_png
from gantrain.runs.saved import open_saved
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
    saved = open_saved(run, step, weights, expected="gan")
    if images and not saved.data.spec.image:
        raise UserError("--images: the samples are points, not images; leave it away for a plot")
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
