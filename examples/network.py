"""Networks of your own: a generator and a discriminator. Without labels, forward(z) and forward(samples) will do.

gantrain train configs/quickstart.yaml run.name=own_networks game.conditional=false \
    game.generator.model='{target: "examples.network:Generator", width: 128}' \
    game.discriminator.model='{target: "examples.network:Discriminator"}'
"""

import math

from torch import nn

import gantrain as gt


class Generator(gt.Generator):
    """Two dense layers. ``spec`` is supplied: ``spec.shape`` is that of a sample.

    Args:
        latent_dim: the length of a latent vector.
        width: the width of the hidden layer.
    """

    def __init__(self, spec, latent_dim: int = 32, width: int = 256):
        super().__init__()
        self.latent_dim = latent_dim
        size = math.prod(spec.shape)
        layers = nn.Linear(latent_dim, width), nn.ReLU(), nn.Linear(width, size), nn.Tanh()
        self.layers = nn.Sequential(*layers, nn.Unflatten(1, spec.shape))

    def forward(self, z):
        return self.layers(z)


def Discriminator(spec, width: int = 256) -> nn.Module:
    """A function will do as well. One logit for each sample, of shape (n,)."""
    layers = nn.Flatten(), nn.Linear(math.prod(spec.shape), width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
    return nn.Sequential(*layers, nn.Flatten(0))
