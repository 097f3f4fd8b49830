"""The keys of data sets of image files that say which part of an image is taken, and to which size it is scaled."""

from __future__ import annotations

from gantrain.data.readers.images import Geometry, sides
from gantrain.data.readers.windows import RandomWindows
from gantrain.errors import UserError


def geometry_of(
    size: int | tuple[int, int] | None,
    resize: int | None,
    random_resized_crop: tuple[float, float] | None,
    crop_ratio: tuple[float, float],
) -> Geometry:
    """The geometry that the keys of the same names describe.

    Raises:
        UserError: the keys do not fit each other.
    """
    if resize is not None:
        if size is None:
            raise UserError("data.size: is missing; with data.resize, it says what is cut out around the centre")
        if resize < max(sides(size)):
            raise UserError(
                f"data.resize: expected at least {max(sides(size))}, the size that is cut out, got {resize}"
            )
    windows = None
    if random_resized_crop is not None:
        if size is None:
            raise UserError("data.size: is missing; with data.random_resized_crop, windows are scaled to it")
        for key, (low, high) in (("random_resized_crop", random_resized_crop), ("crop_ratio", crop_ratio)):
            if not 0 < low <= high:
                raise UserError(f"data.{key}: expected [low, high] with 0 < low <= high, got [{low:g}, {high:g}]")
        windows = RandomWindows(random_resized_crop, crop_ratio)
    return Geometry(size, None, resize, windows)
