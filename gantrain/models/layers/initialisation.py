"""He's initialisation, which the classifiers of images share."""

from __future__ import annotations

from typing import Literal

from torch import nn


def he_initialise_(network: nn.Module, mode: Literal["fan_in", "fan_out"]) -> None:
    """Draw the weights of convolutions from ``N(0, 2 / fan)``, and set their biases to 0, in place.

    Source: He et al., Delving deep into rectifiers, ICCV 2015, eq. 10 (fan_in) and 14 (fan_out).

    Args:
        network: the network; its other layers are left unchanged.
        mode: "fan_in" preserves the variance in the forward pass, "fan_out" in the backward pass.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
