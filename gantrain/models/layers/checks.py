"""Checks that the data are what a network is made for."""

from __future__ import annotations

from collections.abc import Collection

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


def doublings(size: int) -> int:
    """The number of times that the size 4 has to be doubled to become ``size``."""
    return (size // 4).bit_length() - 1


def labelled_square_images(spec: DataSpec, model: str, least: int) -> int:
    """The number of channels of square images with labels.

    Args:
        spec: the description of the data.
        model: the network's name, for the error message.
        least: the smallest size in pixels for which the network is made.

    Raises:
        UserError: the data have no labels, or are no square images of at least this size.
    """
    require_classes(spec, model)
    if not spec.image or spec.shape[1] != spec.shape[2] or spec.shape[1] < least:
        raise UserError(
            f"model {model}: expected square images of at least {least} pixels, got data of shape {spec.shape}; "
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
