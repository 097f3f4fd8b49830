"""Networks by family: a generator and a discriminator each, built from the data's shape."""

from gantrain.models.conv import ConvDiscriminator, ConvGenerator
from gantrain.models.mlp import MLPDiscriminator, MLPGenerator

__all__ = ["ConvDiscriminator", "ConvGenerator", "MLPDiscriminator", "MLPGenerator"]
