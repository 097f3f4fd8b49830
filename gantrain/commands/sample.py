"""The sample command: samples of a run's generator and paths between them, as a grid, as files or as a GIF."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from gantrain.commands.nearest_real import nearest_real
from gantrain.compute import memory
from gantrain.compute.device import exact_arithmetic, find_device
from gantrain.config.shipped import outputs
from gantrain.data.dataset import DataSet
from gantrain.errors import NotFound, Notice, UserError
from gantrain.plotting.images import gif as gif_file
from gantrain.plotting.images import grid, png, quantised, save_png
from gantrain.runs.saved import Classes, SavedRun, load
from gantrain.train.callbacks.samples import draw
from gantrain.utils.io import make_folder, write_file
from gantrain.utils.system_files import is_hidden_or_system

_SAMPLE = re.compile(r"\d{5,}\.png")
# The number of samples, and of those that paths connect.
NUMBER, ENDS = 64, 8


def sample_run(
    run: str,
    number: int | None,
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
    truncation: float | None = None,
    interpolate: int | None = None,
    fixed_latent: bool = False,
    gif: str | None = None,
    neighbours: int | None = None,
    features: str | None = None,
) -> list[Path]:
    """Sample the generator of a run and write a grid, or a folder of PNG files.

    Args:
        run: the run's folder, or that of one of its checkpoints.
        number: the number of samples; by default 64, and 8 that are connected by paths.
        seed: the seed of the latents; the same seed gives the same samples on the same device.
        step: the step of the checkpoint; the newest by default.
        weights: as in :func:`~gantrain.runs.saved.load`.
        output: the path of the file or folder to write; by default it lies beside the run's own samples,
            or for a shipped run in the current directory, see :func:`gantrain.config.shipped.outputs`.
        images: whether each sample becomes a PNG file in a folder; else all of them become one grid.
        overwrite: whether files of other content, and earlier samples in the folder, are replaced.
        trust: as in :func:`~gantrain.runs.saved.load`.
        classes: as in :meth:`~gantrain.runs.saved.SavedRun.sample`.
        data: where the training data lie now, if not where the run's config says. Without ``neighbours`` only a plot of
            points shows some of them; where they are missing, it is drawn without.
        device: "cpu", "cuda", or "auto" for a GPU if there is one. Samples of the two differ by rounding.
        truncation: as in :meth:`~gantrain.runs.saved.SavedRun.sample`.
        interpolate: the number of images on the path from each sample to the next, and from the last to the first, see
            :meth:`~gantrain.runs.saved.SavedRun.interpolate`; the paths are the rows of the grid.
        fixed_latent: whether all samples have the latent vector of the first, so that only classes change.
        gif: the path of a GIF that shows the images of all paths one after the other.
        neighbours: the number of real samples, the nearest ones, that are shown beside each sample.
        features: the features in which neighbours are looked for, as ``gantrain eval --features`` names them; by
            default those of the run's section ``evaluate``.

    Returns:
        The paths of the files, or of the folder, that were written.

    Raises:
        UserError: there is no such run, checkpoint or weights; the run trains no generator; ``images`` is asked for and
            the data are points; the folder holds earlier samples that are not to be deleted, or anything else; a file
            exists; there is no such device, or it has not enough memory; options do not fit each other.
    """
    _require_together(interpolate, {"--gif": gif is not None, "--fixed-latent": fixed_latent})
    if features is not None and neighbours is None:
        raise UserError("--features: are those in which neighbours are looked for; add --neighbours")
    number = (NUMBER if interpolate is None else ENDS) if number is None else number
    if interpolate is not None and number < 2:
        raise UserError(f"--number: --interpolate connects samples, so that it needs at least 2, got {number}")
    place = find_device(device, "--device")
    cpu = "" if place.type == "cpu" else ", or --device cpu"
    with (
        exact_arithmetic(place),
        memory.out_of_memory(lambda: "sample", lambda: f"for {number} samples; try fewer{cpu}"),
    ):
        saved = load(run, weights=weights, step=step, device=place, trust=trust, data=data)
        saved.require_generator()
        if not saved.spec.image and (images or gif):
            option = "--images" if images else "--gif"
            raise UserError(f"{option}: the samples are points, not images; leave the option out to get a plot")
        name = _name(saved, seed, classes, truncation, interpolate, fixed_latent)
        target = Path(output) if output else outputs(saved.folder) / "samples" / (name if images else f"{name}.png")
        earlier = _earlier_samples(target, overwrite) if images else []
        if interpolate is None:
            samples = ends = saved.sample(number, seed, classes, truncation)
        else:
            paths = saved.interpolate(interpolate, number, seed, classes, truncation, True, fixed_latent)
            samples, ends = paths.flatten(0, 1), paths[:, 0]
        base = target.with_name(target.name.removesuffix(".png"))
        found = {} if neighbours is None else nearest_real(saved, ends, neighbours, features, base, trust)
    samples = samples.cpu()
    files = {} if images else {target: png(_picture(samples, saved, interpolate))}
    if gif is not None and interpolate is not None:
        # The last image of a path is the first of the next one.
        moving = paths[:, :-1].flatten(0, 1).cpu()
        files |= {Path(gif): gif_file(moving)}
    if len({path.absolute() for path in (target, *files, *found)}) < bool(gif) + 1 + len(found):
        raise UserError(f"--gif: {gif} is the name of another file that is written; choose another one")
    files |= found
    _require_new(files, overwrite)
    if images:
        _write_folder(target, samples, earlier)
    for path, content in files.items():
        make_folder(path.parent)
        write_file(path, content)
    return [target, *files] if images else [*files]


def _require_together(interpolate: int | None, given: Mapping[str, bool]) -> None:
    for option, is_given in given.items():
        if is_given and interpolate is None:
            raise UserError(f"{option}: goes with --interpolate N, the number of images from each sample to the next")


def _name(
    saved: SavedRun,
    seed: int,
    classes: Classes | None,
    truncation: float | None,
    interpolate: int | None,
    fixed_latent: bool,
) -> str:
    """The name of a file of samples, which says how they were made."""
    words = [f"{saved.weights}_step_{saved.step}_seed_{seed}"]
    if classes is not None:
        given = [classes] if isinstance(classes, str | int) else list(classes)
        words.append("classes_" + re.sub(r"[^\w,-]", "_", ",".join(map(str, given)))[:60])
    if truncation is not None:
        words.append(f"truncation_{truncation:g}")
    if interpolate is not None:
        words.append(f"interpolate_{interpolate}")
    return "_".join([*words, *(["fixed_latent"] if fixed_latent else [])])


def _picture(samples: Tensor, saved: SavedRun, columns: int | None) -> Tensor:
    if saved.spec.image and columns is not None:
        return grid(samples, columns)
    return draw(samples, saved.spec, _real_points(saved))


def _require_new(files: Mapping[Path, bytes], overwrite: bool) -> None:
    """Refuse to replace a file, unless its content would stay as it is.

    Raises:
        UserError: there is another file, or a folder, at one of the paths.
    """
    for path, content in files.items():
        if path.is_dir():
            raise UserError(f"{path}: is a folder; name a file for the grid, or add --images for a file of each sample")
        if not overwrite and path.is_file() and path.read_bytes() != content:
            raise UserError(f"{path}: exists, with other content; add --overwrite to replace it, or name another file")


def _write_folder(folder: Path, samples: Tensor, earlier: list[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in earlier:
        file.unlink()
    for i, image in enumerate(quantised(samples)):
        save_png(image, folder / f"{i:05d}.png")


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
