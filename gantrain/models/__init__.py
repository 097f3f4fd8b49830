"""Networks by family: a generator and a discriminator each, or a classifier, built from the data's shape."""

from gantrain.models.conv import ConvDiscriminator, ConvGenerator
from gantrain.models.huggingface import HuggingFace
from gantrain.models.mlp import MLPDiscriminator, MLPGenerator

__all__ = ["ConvDiscriminator", "ConvGenerator", "HuggingFace", "MLPDiscriminator", "MLPGenerator"]
