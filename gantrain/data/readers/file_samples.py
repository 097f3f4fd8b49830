"""Images that stay in their files until they are asked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import PIL
import torch
from torch import Tensor

from gantrain.data.readers.containers import Container
from gantrain.data.readers.images import AS_IT_IS, Geometry, load_all, pixels, reason, sides
from gantrain.data.readers.magic import START, kind_of
from gantrain.errors import UserError

# The largest number of files that are looked at when one of them cannot be read.
_LOOKED_AT = 10_000


class FileSamples:
    """Images in files, with the methods of a uint8 tensor ``(n, channels, height, width)`` that users of samples need.

    ``samples[rows]`` and ``samples.split(size)`` select images without reading them; ``samples.to(device)`` reads them.

    Args:
        container: the container of the files.
        names: the names of the files, in the order of the samples.
        channels: see :func:`gantrain.data.readers.images.load`.
        geometry: the part of each image that is taken, and its size.
        example: the height and the width that all images must have, and the name of an image that has them; by default
            the first image is read for this.
        key: the key of the config with which error messages begin.

    Raises:
        UserError: the first image is needed and cannot be read.
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(
        self,
        container: Container,
        names: Sequence[str],
        channels: int = 3,
        geometry: Geometry = AS_IT_IS,
        example: tuple[int, int, str] | None = None,
        key: str = "data.path",
    ):
        self._container = container
        # Forked processes share this one block of bytes. A list they would copy, by counting its references.
        self._names = np.array([os.fsencode(name) for name in names])
        self._channels, self._geometry = channels, geometry
        self._numbers: np.ndarray | None = None
        self._key = key
        if geometry.size is not None:
            example = (*sides(geometry.size), "")
        elif example is None:
            position, image = next(load_all(islice(container.contents(names), 1), channels, geometry))
            if isinstance(image, Exception):
                raise self._unreadable(position, image)
            height, width = image.shape[:2]
            example = height, width, names[position]
        self._height, self._width, self._example = example

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._names), self._channels, self._height, self._width

    @property
    def in_memory_only(self) -> str | None:
        """The reason why the samples must be read all at once; None where they can be read one by one."""
        if self._container.random:
            return None
        return "a compressed tar cannot be read at random places; unpack it, or make a .zip or plain .tar of it"

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, rows: slice | Tensor) -> FileSamples:
        part = object.__new__(FileSamples)
        part.__dict__.update(self.__dict__)
        chosen = rows if isinstance(rows, slice) else rows.cpu().numpy()
        part._names = self._names[chosen]
        part._numbers = None if self._numbers is None else self._numbers[chosen]
        return part

    @property
    def random_numbers(self) -> int:
        """How many random numbers the window of an image takes in training; 0 where training sees the images as they
        are."""
        return 0 if self._geometry.windows is None else self._geometry.windows.NUMBERS

    def with_windows(self, numbers: Tensor) -> FileSamples:
        """The same images, of which random windows are read.

        Args:
            numbers: ``(n, random_numbers)``, uniform in [0, 1).
        """
        part = self[:]
        part._numbers = numbers.cpu().double().numpy()
        return part

    def split(self, size: int) -> Iterator[FileSamples]:
        """Parts of ``size`` samples; the last part may be smaller."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def to(self, device: torch.device | str) -> Tensor:
        """Read the images into a uint8 tensor ``(n, channels, height, width)`` on ``device``.

        Raises:
            UserError: an image cannot be read, or has another size than the example.
        """
        images = np.empty(self.shape, np.uint8)
        windows = None if self._numbers is None else dict(enumerate(self._numbers.tolist()))
        for position, image in load_all(self._container.contents(self.names), self._channels, self._geometry, windows):
            if isinstance(image, Exception):
                raise self._unreadable(position, image)
            if image.shape[:2] != (self._height, self._width):
                sizes = f"{pixels(image)} pixels and {self._example} {self._width} x {self._height}"
                raise self._wrong(position, f"has {sizes}; set data.size")
            images[position] = image.transpose(2, 0, 1)
        return torch.from_numpy(images).to(device)

    @property
    def names(self) -> list[str]:
        """The names of the files in their container, in the order of the samples."""
        return [os.fsdecode(name) for name in self._names]

    def sizes(self) -> list[int]:
        """The size of each file in bytes; -1 for a file that is missing."""
        return self._container.sizes(self.names)

    def stamp(self) -> bytes | None:
        """What the images depend on, without reading them: their files and how these are decoded.

        Returns:
            A digest; None where the files have changed too lately, see
            :meth:`gantrain.data.readers.containers.Container.stamp`.
        """
        files = self._container.stamp(self.names)
        if files is None:
            return None
        decoding = f"{self._channels} {self._geometry} {self._height} {self._width} Pillow {PIL.__version__}"
        return hashlib.sha256(files + decoding.encode()).digest()

    def _unreadable(self, position: int, error: Exception) -> UserError:
        """The error about a file that cannot be read, which also counts the files that are no images at all."""
        names = self.names[:_LOOKED_AT]
        others = 0
        if self._container.random:
            starts = self._container.contents(names, START)
            kinds = [kind_of(start) if isinstance(start, bytes) else None for i, start in starts if i != position]
            others = sum(kind is not None and kind.group != "image" for kind in kinds)
        more = f"; {others} other{'s are' if others > 1 else ' is'} no image by content" if others else ""
        return self._wrong(position, f"cannot be read ({reason(error)}){more}")

    def _wrong(self, position: int, what: str) -> UserError:
        name = os.fsdecode(self._names[position])
        advice = "; replace or remove it, or set data.on_error to skip" if self._key == "data.path" else ""
        return UserError(f"{self._key}: {name} in {self._container.path} {what}{advice}")
