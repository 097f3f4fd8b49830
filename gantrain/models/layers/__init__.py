"""Layers that several networks share, initialisation, and checks that the data fit a network."""

from gantrain.models.layers.attention import SelfAttention
from gantrain.models.layers.conditioning import ConditionalBatchNorm, ConditionalLatent, LabelProduct, Projection
from gantrain.models.layers.spectral_norm import spectrally_normalised

__all__ = [
    "ConditionalBatchNorm",
    "ConditionalLatent",
    "LabelProduct",
    "Projection",
    "SelfAttention",
    "spectrally_normalised",
]
