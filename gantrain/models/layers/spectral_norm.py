"""Spectral normalisation of a whole network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import register_parametrization

_LAYERS = (nn.Linear, nn.Conv2d, nn.Embedding)


class SpectralNorm(_SpectralNorm):
    """PyTorch's own, which also under autocast iterates in the weight's precision: that of its vectors."""

    def forward(self, weight: Tensor) -> Tensor:
        device = weight.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return super().forward(weight)
        return super().forward(weight)


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide the weight of every dense, convolutional and embedding layer by its largest singular value, in place.

    One power iteration per forward pass in training mode tracks the singular value; its vectors are buffers.
    """
    for layer in [m for m in network.modules() if isinstance(m, _LAYERS)]:
        register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return network
