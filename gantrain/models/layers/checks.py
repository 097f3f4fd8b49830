"""Checks that the data are what a network is made for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError


def square_images(spec: DataSpec, model: str, sizes: Collection[int]) -> tuple[int, int]:
    """The number of channels and the size in pixels of square images.

    Args:
        spec: the description of the data.
        model: the network's name, for the error message.
        sizes: the sizes in pixels for which the network is made.

    Raises:
        UserError: the data are no square images of one of these sizes.
    """
    if not spec.image or spec.shape[1] != spec.shape[2] or spec.shape[1] not in sizes:
        raise UserError(
            f"model {model}: expected square images of {', '.join(map(str, sizes))} pixels, got data of shape "
            f"{spec.shape}; choose another size, or the model mlp"
        )
    return spec.shape[0], spec.shape[1]


@dataclass(frozen=True)
class Pyramid:
    """The feature maps of a network in which the size doubles or halves from one to the next.

    Args:
        channels: the number of channels of the images.
        size: the shorter side of the images in pixels.
        doublings: the number of times that the smallest map is doubled to have the size of the images.
        smallest: the height and the width of the smallest map.
    """

    channels: int
    size: int
    doublings: int
    smallest: tuple[int, int]


def pyramid(spec: DataSpec, model: str, doublings: Mapping[int, int]) -> Pyramid:
    """The feature maps of a network for images, which need not be square.

    Args:
        spec: the description of the data.
        model: the network's name, for the error message.
        doublings: for each length in pixels that the shorter side may have, how often the size of maps doubles.

    Raises:
        UserError: the data are no images with such a shorter side; the longer side cannot be halved as often.
    """
    sizes, shape = ", ".join(map(str, doublings)), spec.shape
    if not spec.image or min(shape[1:]) not in doublings:
        raise UserError(
            f"model {model}: expected images whose shorter side has {sizes} pixels, got data of shape {shape}; choose "
            "another data.size, or the model mlp"
        )
    channels, height, width = shape
    shorter, longer = sorted((height, width))
    times = doublings[shorter]
    if longer % 2**times:
        raise UserError(
            f"model {model}: expected a longer side that is a multiple of {2**times} pixels where the shorter one has "
            f"{shorter}, got data of shape {shape}; choose another data.size, or the model mlp"
        )
    return Pyramid(channels, shorter, times, (height >> times, width >> times))


def from_four(sizes: Collection[int]) -> dict[int, int]:
    """For each size in pixels, the number of times that the size 4 has to be doubled to become it."""
    return {size: (size // 4).bit_length() - 1 for size in sizes}


def labelled_images(spec: DataSpec, model: str, least: int) -> int:
    """The number of channels of images with labels, which need not be square.

    Args:
        spec: the description of the data.
        model: the network's name, for the error message.
        least: the smallest height and width in pixels for which the network is made.

    Raises:
        UserError: the data have no labels, or are no images of at least this height and width.
    """
    require_classes(spec, model)
    if not spec.image or min(spec.shape[1:]) < least:
        raise UserError(
            f"model {model}: expected images of at least {least} x {least} pixels, got data of shape {spec.shape}; "
            "choose another data.size, or the model conv or mlp"
        )
    return spec.shape[0]


def require_classes(spec: DataSpec, model: str) -> int:
    """The number of classes of data with labels.

    Raises:
        UserError: the data have no labels.
    """
    if not spec.classes:
        raise UserError(f"model {model}: the data have no labels, and so no classes to tell apart")
    return spec.classes
