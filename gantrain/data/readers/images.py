"""Image files to arrays, through Pillow."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps
from torch.utils.data import get_worker_info

Key = TypeVar("Key")

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Files that are read before the first of them is used.
_AT_ONCE = 64
# Bytes of a file from which on a thread gains more by decoding it than it loses by waiting for the interpreter.
_WORTH_A_THREAD = 16384


def load(content: bytes, channels: int, size: int | None, crop: int | None = None) -> np.ndarray:
    """An image file as an array ``(height, width, channels)`` of uint8.

    The orientation that a camera noted is applied. Transparent pixels are laid over white; a palette is looked up; 16
    bits of grey are rounded to 8. Colour becomes grey by ITU-R 601-2 luma, grey becomes three equal channels.

    Args:
        content: of the file.
        channels: 1 for grey, 3 for colour.
        size: the shorter side is scaled to it (bicubic, antialiased) and the longer one cropped around the centre; None
            leaves the image as it is.
        crop: side of the square around the centre that is cut out before; None for none.

    Raises:
        Exception: the file is no image, or damaged; Pillow raises what it likes.
    """
    image = Image.open(io.BytesIO(content))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(levels.round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers of 32 bits (mode {image.mode}), expected 8 or 16")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if crop is not None:
        image = _centre(image, crop)
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).reshape(image.height, image.width, channels)


def load_all(
    files: Iterable[tuple[Key, bytes | Exception]], channels: int, size: int | None, crop: int | None = None
) -> Iterator[tuple[Key, np.ndarray | Exception]]:
    """Each file's key with its image, or with what is wrong with it, in order.

    Large files are decoded by threads, except in a worker process, which has others beside it.

    Args:
        files: keys, and contents or what was wrong with reading them; no more than a few are in memory at a time.
        channels: see :func:`load`.
        size: see :func:`load`.
        crop: see :func:`load`.
    """

    def loaded(file: tuple[Key, bytes | Exception]) -> tuple[Key, np.ndarray | Exception]:
        name, content = file
        try:
            return name, content if isinstance(content, Exception) else load(content, channels, size, crop)
        except Exception as error:
            return name, error

    files = iter(files)
    alone = get_worker_info() is None
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        while chunk := list(islice(files, _AT_ONCE)):
            size_of_all = sum(len(content) for _, content in chunk if isinstance(content, bytes))
            threads = alone and size_of_all > _WORTH_A_THREAD * len(chunk)
            yield from (pool.map if threads else map)(loaded, chunk)


def pixels(image: np.ndarray) -> str:
    """Width and height of ``(height, width, channels)``, in words."""
    return f"{image.shape[1]} x {image.shape[0]}"


def reason(error: Exception) -> str:
    """What is wrong with an image, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _centre(image: Image.Image, side: int) -> Image.Image:
    if min(image.size) < side:
        raise ValueError(f"it has {image.width} x {image.height} pixels, and a square of {side} is to be cut out")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
