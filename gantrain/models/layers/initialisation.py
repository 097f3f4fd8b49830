"""What the classifiers of images share: the check of their data, and He's initialisation."""

from __future__ import annotations

from typing import Literal

from torch import nn


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
