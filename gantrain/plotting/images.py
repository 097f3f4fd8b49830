"""Pictures as uint8 CHW tensors: grids of samples, timelines, rendered figures, and PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gantrain.data.pixels import encode
from gantrain.utils.io import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# The width of the lines between the images of a grid, in pixels.
PADDING = 2
# The height, in pixels, to which smaller images are enlarged.
VISIBLE = 48
# The height, in pixels, of the line of text below an image.
CAPTION = 14


def quantised(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 on the CPU, see :func:`gantrain.data.pixels.encode`."""
    return encode(images).cpu()


def magnification(height: int) -> int:
    """The factor by which an image of this height is enlarged so that a person can see it: 6 for 8 pixels, 2 for 32."""
    return max(1, math.ceil(VISIBLE / height))


def row_height(height: int) -> int:
    """The number of pixels from the top of a grid of images of this height to the bottom of its first row."""
    return PADDING + height * magnification(height)


def grid(images: Tensor, columns: int | None = None, scale: int | None = None) -> Tensor:
    """Arrange images in rows and columns, with white lines between them.

    Args:
        images: ``(n, C, H, W)`` in [-1, 1], with one channel, three, or four, of which the last is alpha.
        columns: the number of columns; by default the grid is as near to a square as possible.
        scale: the factor by which each pixel is enlarged; by default :func:`magnification` of the images' height.

    Returns:
        A picture, uint8 ``(3, H', W')``, or with alpha ``(4, H', W')``.
    """
    columns = min(columns or math.ceil(math.sqrt(len(images))), len(images))
    scale = scale or magnification(images.shape[2])
    enlarged = quantised(images).repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    height, width = (size + PADDING for size in enlarged.shape[2:])
    rows = math.ceil(len(enlarged) / columns)
    picture = torch.full(
        (max(3, images.shape[1]), rows * height + PADDING, columns * width + PADDING), 255, dtype=torch.uint8
    )
    for i, image in enumerate(enlarged):
        top, left = i // columns * height + PADDING, i % columns * width + PADDING
        picture[:, top : top + image.shape[1], left : left + image.shape[2]] = image
    return picture


def timeline(rows: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Put pictures ``(C, H, W)`` of equal width below one another, with the step of each written on its left."""
    labels = [f"{step:,}".replace(",", " ") for step, _ in rows]
    font = ImageFont.load_default(13)
    margin = math.ceil(max(font.getlength(label) for label in labels)) + 12
    strips = [
        torch.cat([_label(label, margin, row.shape[1], font, alpha=len(row) == 4), row], 2)
        for label, (_, row) in zip(labels, rows, strict=True)
    ]
    return torch.cat(strips, dim=1)


def rendered(figure: Figure) -> Tensor:
    """Draw a figure as a picture, uint8 ``(3, H, W)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3]).permute(2, 0, 1).contiguous()


def figure_to_png(figure: Figure, path: str | Path) -> None:
    """Write a figure, without its empty margins, as a PNG file that appears whole or not at all."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, bbox_inches="tight")
    write_file(path, stream.getvalue())


def save_png(image: Tensor, path: str | Path) -> None:
    """Write a picture, uint8 CHW with one channel, three or four, as a PNG file that appears whole or not at all."""
    write_file(path, png(image))


def png(image: Tensor) -> bytes:
    """A picture, uint8 CHW with one channel, three or four, as the content of a PNG file."""
    stream = io.BytesIO()
    _of_pixels(image).save(stream, format="PNG")
    return stream.getvalue()


def gif(images: Tensor, milliseconds: int = 100) -> bytes:
    """Images one after the other, as the content of a GIF file that begins again at its end.

    Small images are enlarged, see :func:`magnification`. GIF shows at most 256 colours in each image.

    Args:
        images: ``(n, C, H, W)`` in [-1, 1], with one channel or three.
        milliseconds: how long each image is shown.
    """
    scale = magnification(images.shape[2])
    enlarged = quantised(images).repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    return _gif([_of_pixels(image) for image in enlarged], [milliseconds] * len(images))


def film(pictures: Iterable[tuple[int, Tensor]], largest: int) -> bytes:
    """Pictures of a run one after the other, each with its step below it, as the content of a GIF file.

    Each is shown for a sixth of a second, or shorter if there are many; the last one stays for two seconds.

    Args:
        pictures: the step and the picture, uint8 ``(3, H, W)`` or with alpha ``(4, H, W)``; all of one size.
        largest: the longest side in pixels; larger pictures are made smaller.
    """
    font = ImageFont.load_default(13)

    def frames() -> Iterator[Image.Image]:
        for step, picture in pictures:
            image = Image.new("RGB", (picture.shape[2], picture.shape[1]), "white")
            pixels = _of_pixels(picture)
            image.paste(pixels, mask=pixels if pixels.mode == "RGBA" else None)
            image.thumbnail((largest, largest), Image.Resampling.BOX)
            frame = Image.new("RGB", (image.width, image.height + 18), "white")
            frame.paste(image)
            text = f"step {step:,}".replace(",", " ")
            ImageDraw.Draw(frame).text((frame.width / 2, image.height + 9), text, "black", font, "mm")
            yield frame

    shown = list(frames())
    return _gif(shown, [*[min(160, 8000 // len(shown))] * (len(shown) - 1), 2000])


def _gif(frames: Sequence[Image.Image], milliseconds: Sequence[int]) -> bytes:
    first, *others = frames
    stream = io.BytesIO()
    first.save(stream, format="GIF", save_all=True, append_images=others, duration=list(milliseconds), loop=0)
    return stream.getvalue()


def captioned(images: Tensor, captions: Sequence[str], columns: int) -> Tensor:
    """Arrange images as :func:`grid` does, each with a line of text below it.

    Args:
        images: ``(n, C, H, W)`` in [-1, 1], with one channel or three.
        captions: the text of each image; an empty one leaves the line blank.
        columns: the number of columns.

    Returns:
        A picture, uint8 ``(3, H', W')``.
    """
    font = ImageFont.load_default(10)
    cells = []
    for image, caption in zip(images, captions, strict=True):
        picture = grid(image[None])
        below = _label(caption, picture.shape[2], CAPTION, font, "mm", alpha=len(picture) == 4)
        cells.append(torch.cat([picture, below], dim=1))
    cells += [torch.full_like(cells[0], 255)] * (-len(cells) % columns)
    return torch.cat([torch.cat(cells[i : i + columns], dim=2) for i in range(0, len(cells), columns)], dim=1)


def load_png(path: str | Path) -> Tensor:
    """Read a picture file as uint8 ``(3, H, W)``, or ``(4, H, W)`` if it has alpha."""
    with Image.open(path) as image:
        return _pixels(image.convert("RGBA" if image.mode == "RGBA" else "RGB"))


def _label(
    text: str,
    width: int,
    height: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    anchor: str = "rm",
    alpha: bool = False,
) -> Tensor:
    """A text in a white picture, to the right (the anchor "rm") or in the middle ("mm")."""
    image = Image.new("RGBA" if alpha else "RGB", (width, height), "white")
    place = (width - 6 if anchor == "rm" else width / 2, height / 2)
    ImageDraw.Draw(image).text(place, text, fill="black", font=font, anchor=anchor)
    return _pixels(image)


def _of_pixels(image: Tensor) -> Image.Image:
    pixels = image.squeeze(0) if len(image) == 1 else image.permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
