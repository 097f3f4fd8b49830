"""Spectral normalisation of a whole network."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

_LAYERS = (nn.Linear, nn.Conv2d, nn.Embedding)


def spectrally_normalised(network: nn.Module) -> nn.Module:
    """Divide the weight of every dense, convolutional and embedding layer by its largest singular value, in place.

    One power iteration per forward pass in training mode tracks the singular value; its vectors are buffers.
    """
    for layer in [m for m in network.modules() if isinstance(m, _LAYERS)]:
        spectral_norm(layer)
    return network
