"""What the classifiers of images share: the check of their data, and He's initialisation."""

from __future__ import annotations

from typing import Literal

from torch import nn

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError


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


def he_initialised(network: nn.Module, mode: Literal["fan_in", "fan_out"]) -> None:
    """Draw the weights of all convolutions from ``N(0, 2 / fan)`` and set all biases to zero, in place.

    Source: He et al., Delving deep into rectifiers, ICCV 2015, eq. 10 (fan_in) and 14 (fan_out).

    Args:
        network: its batch norms keep weight 1 and bias 0, its dense layers their weights.
        mode: whether the variance is kept forwards (fan_in) or backwards (fan_out).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
