"""Images in a folder or an archive as the source of an evaluation."""

from __future__ import annotations

import copy
import hashlib
import io
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gantrain.config.paths import nothing_at
from gantrain.config.shipped import is_missing
from gantrain.data.datasets.image_set import ImageSet
from gantrain.data.readers import containers
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.images import SUFFIXES, load_all, reason
from gantrain.data.readers.selection import path_parts, select_images
from gantrain.data.storage import held_at_once
from gantrain.errors import NotFound, Notice, UserError
from gantrain.metrics.sources.base import PIECE, Images, Source, subset_rows

# The number of pieces that are read before they are needed.
_AHEAD = 2


def open_images(path: str | Path, channels: Literal[1, 3] = 3) -> Source:
    """Open all images in a folder or an archive and in the folders inside it, whatever these are called.

    The images are read as they are needed; those in a compressed tar are read at once.

    Args:
        path: the path of the folder or archive.
        channels: the channels that the extractor takes, 3 for colour and 1 for grey; other images are converted.

    Raises:
        UserError: there is no such folder or archive, or it holds no image.
    """
    if not Path(path).exists():
        raise NotFound(f"{path}: {nothing_at(path)}; expected a folder or an archive")
    return Folder(path, channels) if Path(path).is_dir() else Images(_Archive(Path(path), channels), str(path))


class Folder(Source):
    """All image files in a folder and the folders in it, in the order of their paths.

    The files are read and decoded piece by piece. Transparent pixels are laid over white, as in the data sets. If all
    images lie in folders inside the folder, the outermost of these are their classes.

    Args:
        path: the path of the folder.
        channels: 3 for colour, 1 for grey; other images are converted.

    Raises:
        UserError: the folder is missing or holds no image.
    """

    def __init__(self, path: str | Path, channels: Literal[1, 3] = 3):
        self.name = str(path)
        self._path = Path(path)
        if not self._path.is_dir():
            raise UserError(f"{path}: {nothing_at(path) if is_missing(self._path) else 'is no folder'}")
        self._channels = channels
        self._container = containers.Folder(self._path)
        self._files = _names(self._container)
        self.count: int = len(self._files)
        self._class_of = dict(zip(self._files, _outermost(map(_folders, self._files)), strict=True))
        if all(self._class_of.values()):
            self.class_names = sorted({*self._class_of.values()})
        self._size: tuple[int, int] | None = None
        self._transparent = False

    @property
    def provenance(self) -> dict[str, Any]:
        kind = "RGB" if self._channels == 3 else "grey"
        return {"name": self.name, "converted": f"to {kind}, transparent pixels over white"}

    def piece(self, index: int, size: int, device: torch.device | str) -> Tensor:
        names = self._files[index * PIECE : index * PIECE + size]
        contents = [(names[i], content) for i, content in self._container.contents(names)]
        images = []
        for (name, content), (_, image) in zip(contents, load_all(contents, self._channels), strict=True):
            if isinstance(image, Exception):
                raise UserError(f"{self._path / name}: cannot be read ({reason(image)})")
            self._size = self._size or image.shape[:2]
            if image.shape[:2] != self._size:
                raise UserError(
                    f"{self._path / name}: has {_pixels(image.shape)} pixels and others in {self.name} have "
                    f"{_pixels(self._size)}; scale all to one size"
                )
            if isinstance(content, bytes):
                self._look_for_transparency(name, content)
            images.append(image)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().to(device)

    def pieces(self, sizes: Iterable[tuple[int, int]], device: torch.device | str) -> Iterator[Tensor]:
        # A thread reads and decodes the next pieces while the caller works on the last one.
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead: deque[Future[Tensor]] = deque()
            for index, size in sizes:
                ahead.append(pool.submit(self.piece, index, size, "cpu"))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft().result().to(device)
            while ahead:
                yield ahead.popleft().result().to(device)

    def take(self, samples: int | None) -> Folder:
        rows = subset_rows(self.name, self.count, samples)
        if rows is None:
            return self
        subset = copy.copy(self)
        subset._files = [self._files[i] for i in rows.tolist()]
        subset.count = len(subset._files)
        return subset

    def labels_of(self, rows: Tensor) -> Tensor | None:
        if self.class_names is None:
            return None
        numbers = {name: i for i, name in enumerate(self.class_names)}
        return torch.tensor([numbers[self._class_of[self._files[i]]] for i in rows.tolist()])

    def content(self, first: int, last: int) -> bytes:
        names = self._files[first:last]
        content = hashlib.sha256(self._form)
        for i, file in self._container.contents(names):
            if isinstance(file, Exception):
                raise UserError(f"{self._path / names[i]}: cannot be read ({reason(file)})")
            content.update(hashlib.sha256(file).digest())
        return content.digest()

    def stamp(self, first: int, last: int) -> bytes | None:
        found = self._container.stamp(self._files[first:last])
        return None if found is None else hashlib.sha256(self._form + found).digest()

    @property
    def _form(self) -> bytes:
        return f"{self._channels} channels".encode()

    def _look_for_transparency(self, name: str, content: bytes) -> None:
        if self._transparent:
            return
        with Image.open(io.BytesIO(content)) as image:
            if not image.has_transparency_data:
                return
            self._transparent = bool((np.asarray(image.convert("RGBA").getchannel("A")) < 255).any())
        if self._transparent:
            warnings.warn(
                Notice(
                    f"{self._path / name}: has transparent pixels, which are laid over white; torch-fidelity would "
                    "ignore the transparency"
                ),
                stacklevel=2,
            )


class _Archive(ImageSet):
    """All images in an archive. If all of them lie in folders, the outermost of these are their classes."""

    def __init__(self, path: Path, channels: int):
        container = containers.open_archive(path)
        names = _names(container)
        samples = FileSamples(container, names, channels, key="images")
        folders = [_folders(name) for name in names]
        # An archive that was made of a folder has this folder's name before all others.
        while min(map(len, folders)) > 1 and len({*_outermost(folders)}) == 1:
            folders = [place[1:] for place in folders]
        classes = _outermost(folders)
        self.class_names = tuple(sorted({*classes})) if all(classes) else ()
        numbers = {name: i for i, name in enumerate(self.class_names)}
        labels = torch.tensor([numbers[name] for name in classes]) if numbers else None
        super().__init__(samples, labels, len(numbers))
        if samples.in_memory_only is not None:
            self.samples = held_at_once(samples, "images", samples.in_memory_only)


def _names(container: containers.Container) -> list[str]:
    """The names of all images in a folder or an archive, in the order of their paths.

    Raises:
        UserError: there is none.
    """
    names = sorted(select_images(container))
    if not names:
        raise UserError(f"{container.path}: holds no image; expected files called {', '.join(SUFFIXES)}")
    return names


def _folders(name: str) -> Sequence[str]:
    """The folders in which an image lies, the outermost first."""
    return path_parts(name)[:-1]


def _outermost(folders: Iterable[Sequence[str]]) -> list[str]:
    """The outermost of the folders of each image, and an empty text for an image that lies in none."""
    return ["".join(place[:1]) for place in folders]


def _pixels(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"
