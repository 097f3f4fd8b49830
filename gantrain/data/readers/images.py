"""Decoding of image files with Pillow."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch.utils.data import get_worker_info

from gantrain.config.types import shown
from gantrain.data.readers.magic import START, kind_of
from gantrain.data.readers.windows import RandomWindows
from gantrain.errors import UserError

Key = TypeVar("Key")

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

# The largest number of pixels of an image, which may take a thousand times its file's size in memory.
PIXELS = 2**27
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # of Pillow's own bound, which is lower

# Number of files that are read before the first of them is used; they are fewer if they are larger together than this.
_AT_ONCE, _BYTES_AT_ONCE = 64, 2**26
# Size of a file in bytes from which on decoding it in a thread saves more time than the interpreter's lock costs.
_WORTH_A_THREAD = 16384


@dataclass(frozen=True)
class Geometry:
    """What part of an image is taken, and to which size it is scaled (bicubic, antialiased).

    Attributes:
        size: the height and width of the result, one number for both or a pair: the largest part of this shape around
            the centre is scaled to it. None leaves the image as it is.
        crop: the side of a square that is cut out around the centre before scaling; None cuts out nothing.
        resize: the length to which the shorter side is scaled; ``size`` is then cut out around the centre. None scales
            as ``size`` says.
        windows: the windows that training sees in place of all this, scaled to ``size``; None for no others.

    Raises:
        UserError: an image would have more than ``PIXELS`` pixels.
    """

    size: int | tuple[int, int] | None = None
    crop: int | None = None
    resize: int | None = None
    windows: RandomWindows | None = None

    def __post_init__(self) -> None:
        for key, value in (("size", self.size), ("resize", self.resize)):
            if value is not None and math.prod(sides(value)) > PIXELS:
                raise UserError(f"data.{key}: expected images of at most {PIXELS} pixels, got {shown(value)}")


AS_IT_IS = Geometry()


def load(
    content: bytes, channels: int, geometry: Geometry = AS_IT_IS, numbers: Sequence[float] | None = None
) -> np.ndarray:
    """Decode an image file into a uint8 array ``(height, width, channels)``.

    The orientation in the EXIF data is applied. Transparent pixels are laid over white, unless there are 4 channels,
    where the colour of a wholly transparent pixel is white; scaling weighs colours by their alpha. Palettes are looked
    up, and 16 bits of grey are rounded to 8. Colour becomes grey by ITU-R 601-2 luma; grey becomes three equal
    channels.

    Args:
        content: the content of the file.
        channels: 1 for grey, 3 for colour, 4 for colour with alpha, which is 255 where an image has none.
        geometry: the part of the image that is taken, and its size.
        numbers: the random numbers of a window of ``geometry.windows``; None takes no window.

    Raises:
        Exception: the file is no image, is damaged, or has more than ``PIXELS`` pixels; Pillow raises many classes of
            errors.
    """
    return converted(opened(content), channels, geometry, numbers)


def converted(
    image: Image.Image, channels: int, geometry: Geometry = AS_IT_IS, numbers: Sequence[float] | None = None
) -> np.ndarray:
    """An image of Pillow's as a uint8 array ``(height, width, channels)``, as :func:`load` converts it.

    Args:
        image: the image, which is left as it is.
        channels: see :func:`load`.
        geometry: see :func:`load`.
        numbers: see :func:`load`.

    Raises:
        Exception: the image is damaged, or of a mode that has no levels from 0 to 255.
    """
    # Pillow has the 16 bits of a PGM file in a mode of 32 bits.
    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
    image.load()
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if deep:
        levels = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(levels.round().astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"its pixels are numbers of 32 bits or with a sign (mode {image.mode}), expected 8 or 16 bits")
    if image.has_transparency_data and channels != 4:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
    image = _part(image, geometry, numbers)
    array = np.asarray(image).reshape(image.height, image.width, channels)
    if channels == 4:
        return np.where(array[..., 3:] == 0, np.array([255, 255, 255, 0], np.uint8), array)
    return array


def sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """The height and the width that a size means: a square's side, or a pair."""
    return (size, size) if isinstance(size, int) else size


def load_all(
    files: Iterable[tuple[Key, bytes | Exception]],
    channels: int,
    geometry: Geometry = AS_IT_IS,
    numbers: Mapping[Key, Sequence[float]] | None = None,
) -> Iterator[tuple[Key, np.ndarray | Exception]]:
    """Decode files, in their order: each file's key, and its image or the error that decoding it led to.

    Large files are decoded by threads, except in a worker process, beside which other workers run.

    Args:
        files: each file's key, and its content or the error of reading it. Only a few are held in memory at a time.
        channels: see :func:`load`.
        geometry: see :func:`load`.
        numbers: the random numbers of each file's window by the file's key; None takes no windows.
    """

    def loaded(file: tuple[Key, bytes | Exception]) -> tuple[Key, np.ndarray | Exception]:
        name, content = file
        try:
            if isinstance(content, Exception):
                return name, content
            return name, load(content, channels, geometry, None if numbers is None else numbers[name])
        except Exception as error:
            return name, error

    files = iter(files)
    alone = get_worker_info() is None
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        while chunk := _some(files):
            size_of_all = sum(len(content) for _, content in chunk if isinstance(content, bytes))
            threads = alone and size_of_all > _WORTH_A_THREAD * len(chunk)
            yield from (pool.map if threads else map)(loaded, chunk)


def opened(content: bytes) -> Image.Image:
    """An image whose header is read and whose pixels are not decoded yet.

    Raises:
        ValueError: the file is no image, is damaged, or has more than ``PIXELS`` pixels; the text says which.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError:
        raise ValueError(f"it has more than {PIXELS} pixels, the most that an image may have") from None
    except UnidentifiedImageError:
        kind = kind_of(content[:START])
        if kind is None:
            raise ValueError("it is no image, or is damaged") from None
        if kind.group == "image":
            raise ValueError(f"it begins like {kind.name}; it is damaged, or Pillow cannot read it") from None
        raise ValueError(f"it is no image but {kind.name}") from None
    if image.width * image.height > PIXELS:
        raise ValueError(f"it has {image.width} x {image.height} pixels, more than the {PIXELS} that an image may have")
    return image


def pixels(image: np.ndarray) -> str:
    """The width and height of an image ``(height, width, channels)``, as messages give them."""
    return f"{image.shape[1]} x {image.shape[0]}"


def reason(error: Exception) -> str:
    """The text of an error about an image, in one line without the path, which the caller names."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _some(files: Iterator[tuple[Key, bytes | Exception]]) -> list[tuple[Key, bytes | Exception]]:
    """The next files, as many as may be in memory together."""
    chunk, size = [], 0
    for file in islice(files, _AT_ONCE):
        chunk.append(file)
        size += len(file[1]) if isinstance(file[1], bytes) else 0
        if size > _BYTES_AT_ONCE:
            break
    return chunk


def _part(image: Image.Image, geometry: Geometry, numbers: Sequence[float] | None) -> Image.Image:
    """The part of an image that is taken, scaled."""
    height, width = (0, 0) if geometry.size is None else sides(geometry.size)
    if geometry.windows is not None and numbers is not None:
        box = geometry.windows.box(image.width, image.height, numbers)
        # Without the argument box of resize, whose filter would see pixels beyond the window.
        return image.crop(box).resize((width, height), Image.Resampling.BICUBIC)
    if geometry.crop is not None:
        image = _centre(image, geometry.crop)
    if geometry.resize is not None:
        long = geometry.resize * max(image.size) // min(image.size)
        scaled = (geometry.resize, long) if image.width <= image.height else (long, geometry.resize)
        if geometry.resize * long > PIXELS:
            raise ValueError(f"data.resize scales it to {scaled[0]} x {scaled[1]} pixels, more than {PIXELS}")
        image = image.resize(scaled, Image.Resampling.BICUBIC)
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        return image.crop((left, top, left + width, top + height))
    if geometry.size is not None:
        return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    return image


def _centre(image: Image.Image, side: int) -> Image.Image:
    if min(image.size) < side:
        raise ValueError(f"it has {image.width} x {image.height} pixels, and a square of {side} is to be cut out")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))
