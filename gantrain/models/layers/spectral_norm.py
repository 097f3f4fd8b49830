"""Spectral normalisation of a whole network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import register_parametrization

_LAYERS = (nn.Linear, nn.Conv2d, nn.Embedding)


class SpectralNorm(_SpectralNorm):
    """PyTorch's spectral norm, whose power iteration also under autocast runs in the precision of the weight."""

    def forward(self, weight: Tensor) -> Tensor:
        device = weight.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return super().forward(weight)
        return super().forward(weight)


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide the weight of every dense, convolutional and embedding layer by its largest singular value, in place.

    In training mode each forward pass updates the estimate of the singular value by one step of power iteration. The
    vectors of the iteration are buffers.

    Returns:
        The network.
    """
    for layer in [m for m in network.modules() if isinstance(m, _LAYERS)]:
        register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return network
