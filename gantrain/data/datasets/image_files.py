"""Data sets of the user's own images: in a folder, or in an archive that is read without unpacking it."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from gantrain.config.paths import not_found
from gantrain.data.datasets.image_geometry import geometry_of
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.splits import training_part
from gantrain.data.readers.containers import Container, Folder, open_archive
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.images import Geometry, load_all, reason
from gantrain.data.readers.layout import Layout, split_named
from gantrain.data.readers.selection import select_images
from gantrain.data.storage import held_at_once
from gantrain.errors import Notice, UserError
from gantrain.utils.shared_work import shared_out

if TYPE_CHECKING:
    from gantrain.config.types import AnyPath, Fraction, ImageSize, NonNegativeInt, PositiveFloat, PositiveInt

# Number of images that a process looks at before another takes the next.
_CHUNK = 100
# After so many seconds of looking at images the user is told how far this is.
_PATIENCE = 5


class ImageFiles(ImageSet, ABC):
    """Images in folders that name the part of the data set and the class to which the images belong.

    The folders are read as :class:`gantrain.data.readers.layout.Layout` describes. Samples are in the order of their
    paths. They stay in their files until they are needed, except in a compressed tar, which is read at once.
    :func:`gantrain.data.readers.images.load` describes how grey, palette, transparent and 16-bit images are decoded.

    Args:
        path: the folder or the archive.
        split: "train", "validation" (the folder of that name or, where there is none, a fraction of the training part)
            or "test".
        size: the height and width in pixels, one number for both or a pair ``[height, width]``: the largest part of
            this shape around the centre is scaled to it. By default images are left as they are, and all must have the
            same size.
        channels: 3 for colour, 1 for grey, 4 for colour with alpha (transparency); other images are converted.
        on_error: "stop" raises an error at an image that cannot be read or has another size than the others; "skip"
            leaves such images out and says their number, for which all images are read once before the start.
        validation: the fraction of the training part that is held out for validation, the same samples in every run;
            without effect where there is a folder validation.
        label_noise: the probability that a label of the training part is replaced by a random class; validation and
            test labels stay clean.
        noise_seed: the seed of the label noise.
        resize: the length in pixels to which the shorter side is scaled before ``size`` is cut out around the centre,
            such as 256 for a size of 224. By default the largest part of the shape is scaled to ``size``.
        random_resized_crop: the range of the share of an image's area that training sees of it, such as [0.08, 1]: a
            random window, drawn anew whenever the image comes up in a batch and scaled to ``size``. Evaluations see
            what ``size`` and ``resize`` say. The images stay in their files. Default null: no random windows.
        crop_ratio: the range of the ratio of width to height of such a window, whose logarithm is uniform.

    Raises:
        UserError: the path does not exist, holds no image, or lacks the part; images lie beside class folders; the
            images of a compressed tar do not fit into memory. When the samples are read: an image cannot be read, or
            has another size than the others.

    Attributes:
        class_names: the names of the class folders, in the order of the labels.
        skipped: the number of images of the part that were skipped.
    """

    def __init__(
        self,
        path: AnyPath,
        split: Literal["train", "validation", "test"] = "train",
        size: ImageSize | None = None,
        channels: Literal[1, 3, 4] = 3,
        on_error: Literal["stop", "skip"] = "stop",
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
        resize: PositiveInt | None = None,
        random_resized_crop: tuple[Fraction, Fraction] | None = None,
        crop_ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 1.3333333333333333),
    ):
        geometry = geometry_of(size, resize, random_resized_crop, crop_ratio)
        place = Path(path)
        if not place.exists():
            raise not_found("data.path", path)
        container = self.container(place)
        layout = Layout(select_images(container), path)
        part = "train" if split == "validation" and not layout.has(split) else split
        label_of = layout.labels(part)
        names, example = list(label_of), None
        if on_error == "skip":
            names, example = usable(container, names, channels, geometry)
        samples = FileSamples(container, names, channels, geometry, example=example)
        self.in_memory_only = samples.in_memory_only
        if self.in_memory_only and samples.random_numbers:
            raise UserError(f"data.random_resized_crop: windows are read from files, but {self.in_memory_only}")

        self.class_names = layout.classes
        self.skipped = len(label_of) - len(names)
        labels = torch.tensor([label_of[name] for name in names]) if layout.classes else None
        if part == "train":
            fraction = 0.0 if layout.has("validation") else validation
            samples, labels = training_part(
                samples, labels, len(layout.classes), split, fraction, label_noise, noise_seed
            )
        super().__init__(samples, labels, len(layout.classes))
        if self.in_memory_only:
            self.samples = held_at_once(samples, "data.path", self.in_memory_only)

    @staticmethod
    @abstractmethod
    def container(path: Path) -> Container:
        """The container of the files at ``path``.

        Raises:
            UserError: it is of another kind, or damaged.
        """


class ImageFolder(ImageFiles):
    """Images in a folder. A folder whose own name is train, validation or test is that part of a data set."""

    @staticmethod
    def container(path: Path) -> Container:
        if not path.is_dir():
            raise UserError(f"data.path: {str(path)!r} is not a folder; for an archive, use image_archive")
        return Folder(path.parent, path.name) if split_named(path.name) else Folder(path)


class ImageArchive(ImageFiles):
    """Images in a .zip or .tar archive (also .tar.gz, .tar.bz2, .tar.xz), read without unpacking it to disk."""

    @staticmethod
    def container(path: Path) -> Container:
        if path.is_dir():
            raise UserError(f"data.path: {str(path)!r} is a folder; use image_folder")
        return open_archive(path)


def usable(
    container: Container, names: Sequence[str], channels: int, geometry: Geometry
) -> tuple[list[str], tuple[int, int, str]]:
    """Find the images that can be read and have the most frequent size. Processes that share work read each once.

    Returns:
        The names of these images; their height and width, and the name of the first of them.

    Raises:
        UserError: no image can be read.
    """
    sizes: dict[str, tuple[int, int]] = {}
    wrong: dict[str, str] = {}
    start, slow = time.monotonic(), False

    def looked_at(number: int) -> list[tuple[str, tuple[int, int] | str]]:
        """Each image of a chunk by its name, with its height and width, or why it cannot be read."""
        nonlocal slow
        found: list[tuple[str, tuple[int, int] | str]] = []
        chunk = names[number * at_once : (number + 1) * at_once]
        for position, image in load_all(container.contents(chunk), channels, geometry):
            what = f"cannot be read ({reason(image)})" if isinstance(image, Exception) else image.shape[:2]
            found.append((chunk[position], what))
            if not slow and time.monotonic() - start > _PATIENCE:
                slow = True
                far = f"{number * at_once + len(found)} of {len(names)} images in {_PATIENCE} seconds"
                warnings.warn(
                    Notice(f"data: looking at all images once, since data.on_error is skip: {far}"), stacklevel=2
                )
        return found

    # A compressed archive is read from its beginning, whatever is wanted of it.
    at_once = _CHUNK if container.random else len(names)
    for name, what in chain.from_iterable(shared_out(-(-len(names) // at_once), looked_at)):
        if isinstance(what, str):
            wrong[name] = what
        else:
            sizes[name] = what
    if not sizes:
        example = " ".join(next(iter(wrong.items())))
        raise UserError(f"data.path: none of the {len(wrong)} images in {container.path} can be used: {example}")
    usual = Counter(sizes.values()).most_common(1)[0][0]
    wrong |= {name: f"has {size[1]} x {size[0]} pixels" for name, size in sizes.items() if size != usual}
    if wrong:
        example = " ".join(next(iter(wrong.items())))
        skipped = f"{len(wrong)} of {len(names)} images in {container.path} skipped"
        warnings.warn(Notice(f"data: {skipped}: {example}"), stacklevel=2)
    usable = [name for name in names if name not in wrong]
    return usable, (*usual, usable[0])
