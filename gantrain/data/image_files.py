"""Data sets of the user's own: a folder of images, or an archive of one that is read without unpacking it."""

from __future__ import annotations

import logging
import lzma
import os
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from gantrain.data import pictures
from gantrain.data.image_set import ImageSet
from gantrain.data.layout import Layout, part_called
from gantrain.data.splits import training_part
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.types import Fraction, NonNegativeInt, PositiveInt

_log = logging.getLogger(__name__)


class ImageFiles(ImageSet, ABC):
    """Images in folders that say to which part and class they belong: see :class:`gantrain.data.layout.Layout`.

    Samples are in the order of their paths. For what becomes of grey, palette, transparent and 16-bit images, see
    :func:`gantrain.data.pictures.load`.

    Args:
        path: of the folder or of the archive.
        split: which part: "train", "validation" (the folder of that name, or else what is held out of train) or "test".
        size: height and width in pixels: the shorter side is scaled to it and the longer one cropped around the centre;
            by default images are left as they are, and all must have one size.
        channels: 3 for colour, 1 for grey; images of the other kind are converted.
        on_error: at an image that cannot be read or has another size than the others, "stop" with an error, or "skip"
            it and log how many were skipped.
        validation: fraction of the training part that is held out, always the same samples; where there is a folder
            validation, nothing is.
        label_noise: probability that a label of the training part is replaced by a random class; validation and test
            labels stay clean.
        noise_seed: of the label noise.

    Raises:
        UserError: there is nothing at the path, or no image, or not the part; images lie beside class folders; an image
            cannot be read or has another size.

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
        self._path = Path(path)
        if not self._path.exists():
            raise UserError(f"data.path: there is nothing at {path!r}")
        layout = Layout(self._names(), path)
        part = "train" if split == "validation" and not layout.has(split) else split
        label_of = layout.labels(part)
        images = self._load(label_of, channels, size, on_error)

        self.class_names = layout.classes
        self.skipped = len(label_of) - len(images)
        names = [name for name in label_of if name in images]
        samples = torch.from_numpy(np.stack([images.pop(name) for name in names])).permute(0, 3, 1, 2).contiguous()
        labels = torch.tensor([label_of[name] for name in names]) if layout.classes else None
        if part == "train":
            fraction = 0.0 if layout.has("validation") else validation
            samples, labels = training_part(
                samples, labels, len(layout.classes), split, fraction, label_noise, noise_seed
            )
        super().__init__(samples, labels, len(layout.classes))

    @abstractmethod
    def _names(self) -> Iterator[str]:
        """The names of all files, with slashes."""

    @abstractmethod
    def _files(self, names: Collection[str]) -> Iterator[tuple[str, bytes | Exception]]:
        """Those files in any order, with their contents or with what is wrong with reading them."""

    def _load(self, names: Collection[str], channels: int, size: int | None, on_error: str) -> dict[str, np.ndarray]:
        """The images by name, all of one size.

        Raises:
            UserError: what is wrong with one of them, or with all.
        """
        images: dict[str, np.ndarray] = {}
        wrong: dict[str, str] = {}
        for name, image in pictures.load_all(self._files(names), channels, size):
            if isinstance(image, Exception):
                wrong[name] = f"cannot be read ({' '.join(str(image).split()) or type(image).__name__})"
            else:
                images[name] = image
                first = next(iter(images))
                if on_error == "stop" and image.shape != images[first].shape:
                    wrong[name] = f"has {_size(image)} pixels and {first} {_size(images[first])}; set data.size"
            if wrong and on_error == "stop":
                raise UserError(f"data.path: {name} in {self._path} {wrong[name]}, or set data.on_error to skip")
        if images:
            usual = Counter(image.shape for image in images.values()).most_common(1)[0][0]
            for name in [name for name, image in images.items() if image.shape != usual]:
                wrong[name] = f"has {_size(images.pop(name))} pixels"
        if wrong:
            example = " ".join(next(iter(wrong.items())))
            if not images:
                raise UserError(f"data.path: none of the {len(wrong)} images in {self._path} can be used: {example}")
            _log.warning("data: %d of %d images in %s skipped: %s", len(wrong), len(names), self._path, example)
        return images


class ImageFolder(ImageFiles):
    """Images in a folder. It may itself be called train, validation or test, and then is that part."""

    def _names(self) -> Iterator[str]:
        if not self._path.is_dir():
            raise UserError(f"data.path: {str(self._path)!r} is not a folder; for an archive, use image_archive")
        for folder, _, files in os.walk(self._path, followlinks=True):
            for file in files:
                yield Path(folder, file).relative_to(self._root).as_posix()

    def _files(self, names: Collection[str]) -> Iterator[tuple[str, bytes | Exception]]:
        for name in names:
            yield name, _attempt((self._root / name).read_bytes)

    @property
    def _root(self) -> Path:
        """The folder that names are relative to."""
        return self._path.parent if part_called(self._path.name) else self._path


class ImageArchive(ImageFiles):
    """Images in a .zip or .tar archive (also .tar.gz, .tar.bz2, .tar.xz), read without unpacking it to disk."""

    def _names(self) -> Iterator[str]:
        if self._path.is_dir():
            raise UserError(f"data.path: {str(self._path)!r} is a folder; use image_folder")
        with self._opened() as archive:
            if isinstance(archive, zipfile.ZipFile):
                yield from archive.namelist()
            else:
                yield from (member.name for member in archive if member.isfile())

    def _files(self, names: Collection[str]) -> Iterator[tuple[str, bytes | Exception]]:
        with self._opened() as archive:
            if isinstance(archive, zipfile.ZipFile):
                for name in names:
                    yield name, _attempt(archive.read, name)
            else:
                for member in archive:
                    if member.isfile() and member.name in names:
                        yield member.name, archive.extractfile(member).read()

    @contextmanager
    def _opened(self) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
        """The archive; a tar is a stream that is read once from front to back.

        Raises:
            UserError: it is no archive, or damaged.
        """
        try:
            if not self._zip:
                _check_end(self._path)
            with zipfile.ZipFile(self._path) if self._zip else tarfile.open(self._path, "r|*") as archive:
                yield archive
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            kind = "zip" if self._zip else "tar"
            raise UserError(f"data.path: {self._path} is not a {kind} archive, or is damaged ({error})") from error

    @property
    def _zip(self) -> bool:
        return self._path.suffix.lower() == ".zip"


def _check_end(path: Path) -> None:
    """An uncompressed tar ends with blocks of zeros; where it was cut off, tarfile may not notice.

    Raises:
        tarfile.ReadError: it was cut off.
    """
    with path.open("rb") as file:
        plain = file.read(512)[257:262] == b"ustar"
        file.seek(max(0, path.stat().st_size - 1024))
        if plain and any(file.read()):
            raise tarfile.ReadError("its end is missing")


def _attempt(read: Callable[..., bytes], *arguments: str) -> bytes | Exception:
    try:
        return read(*arguments)
    except Exception as error:
        return error


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
