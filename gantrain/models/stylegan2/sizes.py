"""What the two networks of StyleGAN2 have in common: the sizes and channels of their feature maps."""

from __future__ import annotations

from gantrain.data.spec import DataSpec
from gantrain.models.layers.checks import square_images

_SIZES = tuple(2**i for i in range(3, 13))
# As in the published code.
_HALF_SIZES = 4


def feature_maps(spec: DataSpec, width: int, plateau: int | None) -> tuple[int, list[int], list[int]]:
    """The number of channels of the images, and the sizes and numbers of channels of the feature maps, from 4 pixels.

    Args:
        spec: the description of the data.
        width: the number of channels of maps of up to ``plateau`` pixels. That of larger maps halves with each doubling
            of the size.
        plateau: a size in pixels; None for 64 for images of at least 512 pixels, and 32 for smaller ones.

    Raises:
        UserError: the data are not square images of a size that is a power of two.
    """
    channels, largest = square_images(spec, "stylegan2", _SIZES)
    if plateau is None:
        plateau = 64 if largest >= 512 else 32
    sizes = [size for size in (4, *_SIZES) if size <= largest]
    return channels, sizes, [max(1, min(width, width * plateau // size)) for size in sizes]


def in_half(size: int, largest: int) -> bool:
    """Whether maps of a size are computed in half precision under autocast: those of the four largest sizes above 4."""
    return size > 4 and size << _HALF_SIZES > largest
