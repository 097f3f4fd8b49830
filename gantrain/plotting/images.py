"""Images: grids of samples, timelines, and figures as pixels and PNG files."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import pad
from torchvision.utils import make_grid

from gantrain.data.pixels import encode
from gantrain.utils.io import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PADDING = 2


VISIBLE = 48


def quantised(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8 on the CPU: see :func:`gantrain.data.pixels.encode`."""
    return encode(images).cpu()


def columns(count: int) -> int:
    """Columns of a grid of ``count`` images: as near to a square as can be."""
    return math.ceil(math.sqrt(count))


def magnification(height: int) -> int:
    """How many times an image of this height is enlarged so that a person sees it: 6 for 8 pixels, 2 for 32."""
    return max(1, math.ceil(VISIBLE / height))


def row_height(height: int) -> int:
    """Pixels from the top of a grid of images of this height to the bottom of its first row."""
    return PADDING + height * magnification(height)


def grid(images: Tensor, columns: int | None = None, scale: int | None = None) -> Tensor:
    """Images beside and below one another, with white lines between them.

    Args:
        images: ``(n, C, H, W)`` in [-1, 1], with one channel or three.
        columns: as near to a square as can be by default.
        scale: by how much each pixel is enlarged; by default as much as a small image needs.

    Returns:
        uint8, three channels.
    """
    per_row = columns or math.ceil(math.sqrt(len(images)))
    scale = scale or magnification(images.shape[2])
    enlarged = quantised(images).repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    if len(enlarged) == 1:  # make_grid leaves out the lines around a single image
        return pad(enlarged[0].expand(3, -1, -1), [PADDING] * 4, value=255)
    return make_grid(enlarged, nrow=per_row, padding=PADDING, pad_value=255)


def filmstrip(frames: Sequence[tuple[int, Tensor]], scale: int | None = None) -> Tensor:
    """The same samples at several times: a row for each time, with its step, and a column for each sample.

    Args:
        frames: (step, images ``(n, C, H, W)`` in [-1, 1]), in the order of time.
        scale: as in :func:`grid`.
    """
    return timeline([(step, grid(images, columns=len(images), scale=scale)) for step, images in frames])


def timeline(rows: Sequence[tuple[int, Tensor]]) -> Tensor:
    """Pictures ``(3, H, W)`` of equal width below one another, the step of each written on its left."""
    labels = [f"{step:,}".replace(",", " ") for step, _ in rows]
    font = ImageFont.load_default(13)
    margin = math.ceil(max(font.getlength(label) for label in labels)) + 12
    strips = [
        torch.cat([_label(label, margin, row.shape[1], font), row], 2)
        for label, (_, row) in zip(labels, rows, strict=True)
    ]
    return torch.cat(strips, dim=1)


def rendered(figure: Figure) -> Tensor:
    """A figure as a picture, uint8 ``(3, H, W)``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3]).permute(2, 0, 1).contiguous()


def figure_to_png(figure: Figure, path: str | Path) -> None:
    """Write a figure, cut to what it shows, as a PNG file that appears whole or not at all."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, bbox_inches="tight")
    write_file(path, stream.getvalue())


def save_png(image: Tensor, path: str | Path) -> None:
    """Write a picture, uint8 with one channel or three, as a PNG file that appears whole or not at all."""
    pixels = image.squeeze(0) if len(image) == 1 else image.permute(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(stream, format="PNG")
    write_file(path, stream.getvalue())


def load_png(path: str | Path | BinaryIO) -> Tensor:
    """A picture file as uint8 ``(3, H, W)``."""
    with Image.open(path) as image:
        return _pixels(image)


def _label(text: str, width: int, height: int, font: Any) -> Tensor:
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text((width - 6, height / 2), text, fill="black", font=font, anchor="rm")
    return _pixels(image)


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
