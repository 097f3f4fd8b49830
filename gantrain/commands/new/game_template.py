"""A game of your own: a painter makes samples, and a critic tells them from the data.

The config beside this file names the class MyGame; its keys are the arguments of MyGame's constructor. Change what each
player minimises, add a third player, or bring a network: outer loops, sharpness, checkpoints, resuming and several
processes go with it unchanged.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

import gantrain as gt


class Painter(gt.Generator):
    """A network of your own. The first argument is supplied; the others are the keys of game.painter.model."""

    def __init__(self, spec: gt.data.DataSpec, width: int = 256, latent_dim: int = 32):
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, math.prod(spec.shape)),
            nn.Tanh(),  # images lie in [-1, 1]
            nn.Unflatten(1, spec.shape),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """(n, latent_dim) to samples (n, *shape)."""
        return self.layers(z)


class MyGame(gt.games.GenerativeGame):
    """Two players with objectives that do not sum to zero.

    The critic gives scores to samples, high ones to those of the data, and pays for steep scores around them. The
    painter wants high scores too, and samples whose mean over the batch is that of the data.

    Args:
        painter: the network that makes samples.
        critic: the network that gives each sample a score.
        smooth: the weight of the squared slope of the critic's scores.
        match: the weight of the distance between the means.
    """

    # The sections of the config that this game has beside the common ones.
    callbacks: ClassVar[dict[str, str]] = {"samples": "samples", "evaluate": "metrics"}
    # The player whose network is the product of the training: it is averaged, sampled and evaluated.
    evaluated_player = "painter"

    def __init__(
        self,
        painter: gt.Generator,
        critic: gt.Discriminator,
        spec: gt.data.DataSpec,
        smooth: float = 0.1,
        match: float = 1.0,
    ):
        self.painter, self.critic, self.spec = painter, critic, spec
        self.smooth, self.match = smooth, match
        # A player's name is that of its argument. The players move in this order.
        super().__init__([gt.Player("critic", critic), gt.Player("painter", painter)])

    def objective(self, player: str, batch: gt.data.Batch) -> gt.Objective:
        """What a player minimises on a batch.

        All random numbers come from the batch: they are then the same when a run is resumed, or on several processes.
        """
        painted = self.painter(batch.normal("latent", self.latent_dim))
        if player == "critic":
            data = batch.real.detach().requires_grad_(True)
            real, fake = self.critic(data), self.critic(painted.detach())
            (slope,) = torch.autograd.grad(real.sum(), data, create_graph=True)
            steep = slope.square().flatten(1).sum(dim=1).mean()
            loss = softplus(-real).mean() + softplus(fake).mean() + self.smooth * steep
            return gt.Objective(loss, scores={"real": real.detach(), "fake": fake.detach(), "steep": steep.detach()})
        with self.constant("critic"):  # spares the critic's gradients, which nobody needs
            fake = self.critic(painted)
        apart = (painted.mean(dim=0) - batch.real.mean(dim=0)).square().mean()
        scores = {"painted": fake.detach(), "apart": apart.detach()}  # logged as score/painted and score/apart
        return gt.Objective(softplus(-fake).mean() + self.match * apart, scores=scores)
