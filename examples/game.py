"""A game of your own: two networks with objectives that are not opposite (a general-sum game).

gantrain train examples/game.yaml
"""

import torch

import gantrain as gt


class Diverse(gt.games.GenerativeGame):
    """A least-squares GAN whose generator is also paid for samples that differ as their latent vectors do.

    Args:
        generator: the player that makes samples.
        discriminator: the player that rates real samples 1 and others 0.
        diversity: the weight of what the generator is paid for different samples. Default 0.1.
    """

    callbacks = {"samples": "samples", "evaluate": "metrics", "scalars": "scalars"}
    evaluated_player = "generator"

    def __init__(self, generator: gt.Generator, discriminator: gt.Discriminator, diversity: float = 0.1):
        super().__init__([gt.Player("discriminator", discriminator), gt.Player("generator", generator)])
        self.generator, self.discriminator, self.diversity = generator, discriminator, diversity

    def objective(self, player, batch):
        z = batch.normal("latent", self.latent_dim)
        samples = self.generator(z)
        if player == "discriminator":
            real, fake = self.discriminator(batch.real), self.discriminator(samples)
            return gt.Objective((real - 1).square().mean() + fake.square().mean())
        apart = self.spread(samples) / self.spread(z)
        return gt.Objective((self.discriminator(samples) - 1).square().mean() - self.diversity * apart)

    def scalars(self, network):
        return {"spread": self.spread(network(torch.randn(256, self.latent_dim)))}

    def spread(self, points):
        return (points - points.roll(1, 0)).abs().mean()
