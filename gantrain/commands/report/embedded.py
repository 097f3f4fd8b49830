"""Pictures inside a page: read from files that anybody may have written, made smaller, and turned into data URIs."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.Image import DecompressionBombError
from torch import Tensor

from gantrain.utils.io import open_regular

# The largest height of a picture in pixels, and the size in bytes above which it is compressed with losses.
_HIGHEST, _EXACT = 4000, 40_000
# A file with more pixels than this is no picture of samples.
_LARGEST = 20_000_000


@dataclass(frozen=True)
class Picture:
    """A picture inside the page.

    Attributes:
        source: the content as a data URI.
        width: the width in pixels.
        height: the height in pixels.
        label: a few words about it, such as the step.
    """

    source: str
    width: int
    height: int
    label: str = ""


def opened(path: Path) -> Image.Image | None:
    """The picture of a PNG file; None for what is no such picture, or damaged, or much too large."""
    try:
        with open_regular(path) as stream, Image.open(stream, formats=["PNG"]) as image:
            return image.convert("RGBA") if image.width * image.height <= _LARGEST else None
    except (OSError, SyntaxError, ValueError, DecompressionBombError):
        return None


def embedded(picture: Image.Image | Tensor, widest: int, label: str = "") -> Picture:
    """A picture over white as part of the page: exact if it is small, and else with the losses of WebP.

    Args:
        picture: an image, or a tensor, uint8 CHW.
        widest: the width in pixels to which a wider picture is reduced.
        label: as in :class:`Picture`.
    """
    if isinstance(picture, Tensor):
        picture = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    image = picture.convert("RGBA")
    image.thumbnail((widest, _HIGHEST))
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    content = _webp(flat, lossless=True)
    if len(content) > _EXACT:
        content = min(content, _webp(flat, quality=80), key=len)
    return Picture(f"data:image/webp;base64,{base64.b64encode(content).decode()}", *flat.size, label)


def _webp(image: Image.Image, **options: bool | int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="WEBP", **options)
    return stream.getvalue()
