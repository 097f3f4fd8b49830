"""The sample command: samples of a run's generator, as a grid or as files."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from gantrain.compute import memory
from gantrain.compute.device import exact_arithmetic, find_device
from gantrain.data.dataset import DataSet
from gantrain.errors import NotFound, Notice, UserError
from gantrain.plotting.images import quantised, save_png
from gantrain.runs.saved import Classes, SavedRun, load
from gantrain.train.callbacks.samples import draw
from gantrain.utils.system_files import is_hidden_or_system

_SAMPLE = re.compile(r"\d{5,}\.png")


def sample_run(
    run: str,
    number: int,
    seed: int,
    step: int | None,
    weights: str | None,
    output: str | None,
    images: bool,
    overwrite: bool = False,
    trust: bool = False,
    classes: Classes | None = None,
    data: str | None = None,
    device: str = "auto",
) -> Path:
    """Sample the generator of a run and write a grid, or a folder of PNG files.

    Args:
        run: the run's folder, or that of one of its checkpoints.
        number: the number of samples.
        seed: the seed of the latents; the same seed gives the same samples on the same device.
        step: the step of the checkpoint; the newest by default.
        weights: as in :func:`~gantrain.runs.saved.load`.
        output: the path of the file or folder to write; by default it lies beside the run's own samples.
        images: whether each sample becomes a PNG file in a folder; else all of them become one grid.
        overwrite: whether earlier samples in the folder are deleted.
        trust: as in :func:`~gantrain.runs.saved.load`.
        classes: as in :meth:`~gantrain.runs.saved.SavedRun.sample`.
        data: where the training data lie now, if not where the run's config says. Only a plot of points shows some of
            them; where they are missing, it is drawn without.
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Samples of the two differ by rounding.

    Returns:
        The path of the file or folder.

    Raises:
        UserError: there is no such run, checkpoint or weights; the run trains no generator; ``images`` is asked for and
            the data are points; the folder holds earlier samples that are not to be deleted, or anything else; there
            is no such device, or it has not enough memory.
    """
    if overwrite and not images:
        raise UserError("--overwrite goes with --images; a grid takes the place of an earlier one of its name")
    place = find_device(device, "--device")
    cpu = "" if place.type == "cpu" else ", or --device cpu"
    with (
        exact_arithmetic(place),
        memory.out_of_memory(lambda: "sample", lambda: f"for {number} samples; try fewer{cpu}"),
    ):
        saved = load(run, weights=weights, step=step, device=place, trust=trust, data=data)
        saved.require_generator()
        if images and not saved.spec.image:
            raise UserError("--images: the samples are points, not images; leave the option out to get a plot")
        name = f"{saved.weights}_step_{saved.step}_seed_{seed}"
        target = Path(output) if output else saved.folder / "samples" / (name if images else f"{name}.png")
        earlier = _earlier_samples(target, overwrite) if images else []
        samples = saved.sample(number, seed, classes).cpu()
    if not images:
        if target.is_dir():
            raise UserError(
                f"{target}: is a folder; name a file for the grid, or add --images for a file of each sample"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        save_png(draw(samples, saved.form.spec, _real_points(saved)), target)
        return target
    target.mkdir(parents=True, exist_ok=True)
    for file in earlier:
        file.unlink()
    for i, image in enumerate(quantised(samples)):
        save_png(image, target / f"{i:05d}.png")
    return target


def _real_points(saved: SavedRun) -> DataSet | None:
    """The training data if their samples are points, beside which those of the generator are drawn."""
    if saved.form.spec.image:
        return None
    try:
        return saved.data
    except NotFound as error:
        warnings.warn(f"the samples are drawn without the data: {error}", Notice, stacklevel=2)
        return None


def _earlier_samples(folder: Path, overwrite: bool) -> list[Path]:
    """The samples in a folder, all of which are to be deleted.

    Raises:
        UserError: there are some and ``overwrite`` is false, or there is anything else in the folder.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder}: is no folder; choose another --output")
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if not is_hidden_or_system(path.name))
    foreign = next((path for path in files if not _SAMPLE.fullmatch(path.name) or not path.is_file()), None)
    if foreign is not None:
        raise UserError(f"{folder}: holds {foreign.name}, which is no sample; choose another --output")
    if files and not overwrite:
        samples = "1 earlier sample" if len(files) == 1 else f"{len(files)} earlier samples"
        raise UserError(f"{folder}: holds {samples}; add --overwrite to delete them first, or choose another --output")
    return files
