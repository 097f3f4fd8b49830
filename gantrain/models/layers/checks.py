"""Square images of the sizes that a network is made for."""

from __future__ import annotations

from collections.abc import Collection

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError


def square(spec: DataSpec, model: str, sizes: Collection[int]) -> tuple[int, int]:
    """Channels and size of the images.

    Args:
        spec: the data.
        model: the network's name, for the message.
        sizes: the sizes in pixels that it is made for.

    Raises:
        UserError: the data are something else.
    """
    if not spec.image or spec.shape[1] != spec.shape[2] or spec.shape[1] not in sizes:
        raise UserError(
            f"model {model}: expected square images of {', '.join(map(str, sizes))} pixels, got data of shape "
            f"{spec.shape}; choose another size, or the model mlp"
        )
    return spec.shape[0], spec.shape[1]


def doublings(size: int) -> int:
    """How often 4 x 4 is doubled to get the size."""
    return (size // 4).bit_length() - 1


def image_channels(spec: DataSpec, model: str, least: int) -> int:
    """The channels of square images with classes.

    Args:
        spec: the data.
        model: its name, for the message.
        least: the smallest size that the network takes.

    Raises:
        UserError: the data are something else.
    """
    classes(spec, model)
    if not spec.image or spec.shape[1] != spec.shape[2] or spec.shape[1] < least:
        raise UserError(
            f"model {model}: expected square images of at least {least} pixels, got data of shape {spec.shape}; "
            "choose another data.size, or the model conv or mlp"
        )
    return spec.shape[0]


def classes(spec: DataSpec, model: str) -> int:
    """The number of classes.

    Raises:
        UserError: there are none.
    """
    if not spec.classes:
        raise UserError(f"model {model}: the data have no labels, and so no classes to tell apart")
    return spec.classes
