"""Layers that several networks share, their initialisation, and the checks of the data that they are made for."""

from gantrain.models.layers.attention import SelfAttention
from gantrain.models.layers.conditioning import ConditionalBatchNorm, Embedded, Projection
from gantrain.models.layers.spectral_norm import spectrally_normalised

__all__ = ["ConditionalBatchNorm", "Embedded", "Projection", "SelfAttention", "spectrally_normalised"]
