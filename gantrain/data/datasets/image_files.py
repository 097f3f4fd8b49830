"""Data sets of the user's own: a folder of images, or an archive of one that is read without unpacking it."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.datasets.splits import training_part
from gantrain.data.readers.containers import Container, Folder, archive
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.images import load_all, reason
from gantrain.data.readers.layout import Layout, part_called
from gantrain.data.storage import require_memory
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, NonNegativeInt, PositiveInt

_log = logging.getLogger(__name__)


class ImageFiles(ImageSet, ABC):
    """Images in folders that say to which part and class they belong: see :class:`gantrain.data.readers.layout.Layout`.

    Samples are in the order of their paths, and stay in their files until they are asked for; those of a compressed tar
    are read at once. For what becomes of grey, palette, transparent and 16-bit images, see
    :func:`gantrain.data.readers.load`.

    Args:
        path: of the folder or of the archive.
        split: which part: "train", "validation" (the folder of that name, or else what is held out of train) or "test".
        size: height and width in pixels: the shorter side is scaled to it and the longer one cropped around the centre;
            by default images are left as they are, and all must have one size.
        channels: 3 for colour, 1 for grey; images of the other kind are converted.
        on_error: at an image that cannot be read or has another size than the others, "stop" with an error, or "skip"
            it and log how many were skipped, for which all are read once before the start.
        validation: fraction of the training part that is held out, always the same samples; where there is a folder
            validation, nothing is.
        label_noise: probability that a label of the training part is replaced by a random class; validation and test
            labels stay clean.
        noise_seed: of the label noise.

    Raises:
        UserError: there is nothing at the path, or no image, or not the part; images lie beside class folders; the
            images of a compressed tar do not fit into memory. When the samples are read: an image cannot be read or has
            another size.

    Attributes:
        class_names: the names of the class folders, by label.
        skipped: number of images of the part that were skipped.
    """

    def __init__(
        self,
        path: str,
        split: Literal["train", "validation", "test"] = "train",
        size: PositiveInt | None = None,
        channels: Literal[1, 3] = 3,
        on_error: Literal["stop", "skip"] = "stop",
        validation: Fraction = 0.0,
        label_noise: Fraction = 0.0,
        noise_seed: NonNegativeInt = 0,
    ):
        place = Path(path)
        if not place.exists():
            raise UserError(f"data.path: there is nothing at {path!r}")
        container = self._container(place)
        layout = Layout(container.names(), path)
        part = "train" if split == "validation" and not layout.has(split) else split
        label_of = layout.labels(part)
        names, example = list(label_of), None
        if on_error == "skip":
            names, example = _usable(container, names, channels, size)
        samples: FileSamples | Tensor = FileSamples(container, names, channels, size, example=example)
        self.in_memory_only = samples.in_memory_only
        if self.in_memory_only:
            require_memory(samples, "data.path", self.in_memory_only)
            samples = samples.to("cpu")

        self.class_names = layout.classes
        self.skipped = len(label_of) - len(names)
        labels = torch.tensor([label_of[name] for name in names]) if layout.classes else None
        if part == "train":
            fraction = 0.0 if layout.has("validation") else validation
            samples, labels = training_part(
                samples, labels, len(layout.classes), split, fraction, label_noise, noise_seed
            )
        super().__init__(samples, labels, len(layout.classes))

    @staticmethod
    @abstractmethod
    def _container(path: Path) -> Container:
        """The files at that path."""


class ImageFolder(ImageFiles):
    """Images in a folder. It may itself be called train, validation or test, and then is that part."""

    @staticmethod
    def _container(path: Path) -> Container:
        if not path.is_dir():
            raise UserError(f"data.path: {str(path)!r} is not a folder; for an archive, use image_archive")
        return Folder(path.parent, path.name) if part_called(path.name) else Folder(path)


class ImageArchive(ImageFiles):
    """Images in a .zip or .tar archive (also .tar.gz, .tar.bz2, .tar.xz), read without unpacking it to disk."""

    @staticmethod
    def _container(path: Path) -> Container:
        if path.is_dir():
            raise UserError(f"data.path: {str(path)!r} is a folder; use image_folder")
        return archive(path)


def _usable(
    container: Container, names: Sequence[str], channels: int, size: int | None
) -> tuple[list[str], tuple[int, int, str]]:
    """The names of the images that can be read and have the usual size; that size, and the first that has it.

    Raises:
        UserError: there is none.
    """
    sizes: dict[str, tuple[int, int]] = {}
    wrong: dict[str, str] = {}
    for position, image in load_all(container.contents(names), channels, size):
        if isinstance(image, Exception):
            wrong[names[position]] = f"cannot be read ({reason(image)})"
        else:
            sizes[names[position]] = image.shape[:2]
    usual = Counter(sizes.values()).most_common(1)[0][0] if sizes else None
    wrong |= {
        name: f"has {width} x {height} pixels" for name, (height, width) in sizes.items() if (height, width) != usual
    }
    if wrong:
        example = " ".join(next(iter(wrong.items())))
        if not sizes:
            raise UserError(f"data.path: none of the {len(wrong)} images in {container.path} can be used: {example}")
        _log.warning("data: %d of %d images in %s skipped: %s", len(wrong), len(names), container.path, example)
    usable = [name for name in names if name not in wrong]
    return usable, (*usual, usable[0])
