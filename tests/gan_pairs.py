"""GANs of each network and loss, and the gradients of their objectives together and apart."""

from __future__ import annotations

import copy
from functools import partial

import torch

from gantrain.data import Batch, DataSpec
from gantrain.games import losses
from gantrain.games.gan import GAN
from gantrain.models import conv, dcgan, mlp, r3gan, sndcgan, sngan

IMAGES = DataSpec((3, 16, 16), 3)
POINTS = DataSpec((2,), 3)
NETWORKS = {
    "mlp": (POINTS, partial(mlp.MLPGenerator, width=8, latent_dim=3), partial(mlp.MLPDiscriminator, width=8)),
    "mlp with spectral norm": (
        POINTS,
        partial(mlp.MLPGenerator, width=8, latent_dim=3),
        partial(mlp.MLPDiscriminator, width=8, spectral_norm=True),
    ),
    "conv": (IMAGES, partial(conv.ConvGenerator, width=4, latent_dim=3), partial(conv.ConvDiscriminator, width=4)),
    "dcgan": (IMAGES, partial(dcgan.DCGANGenerator, width=4, latent_dim=3), partial(dcgan.DCGANDiscriminator, width=4)),
    "sndcgan": (
        IMAGES,
        partial(sndcgan.SNDCGANGenerator, width=2, latent_dim=3),
        partial(sndcgan.SNDCGANDiscriminator, width=2),
    ),
    "sngan": (
        DataSpec((3, 32, 32), 3),
        partial(sngan.SNGANGenerator, width=4, latent_dim=3),
        partial(sngan.SNGANDiscriminator, width=4),
    ),
    "r3gan": (
        IMAGES,
        partial(r3gan.R3GANGenerator, width=8, latent_dim=3, blocks=1, group_width=4),
        partial(r3gan.R3GANDiscriminator, width=8, blocks=1, group_width=4),
    ),
}
LOSSES = {
    "minimax": losses.Minimax,
    "non_saturating": losses.NonSaturating,
    "hinge": losses.Hinge,
    "wasserstein": losses.Wasserstein,
    "least_squares": losses.LeastSquares,
    "relativistic": losses.Relativistic,
}


def game_of(networks="mlp", loss="non_saturating", conditional=False, **keys):
    spec, generator, discriminator = NETWORKS[networks]
    seen = spec if conditional else spec.unconditional()
    torch.manual_seed(0)
    return GAN(generator(seen), discriminator(seen), LOSSES[loss](), conditional=conditional, spec=spec, **keys)


def batch_of(spec, step=0, n=6):
    source = torch.Generator().manual_seed(1)
    real = torch.rand(n, *spec.shape, generator=source) * 2 - 1
    return Batch(real, torch.arange(n) % spec.classes, index=0, step=step, seed=0)


def together(game, batch, scales=(1.0, 1.0)):
    shared = game.shared_pass(batch)
    shared.backward(dict(zip(("discriminator", "generator"), scales, strict=True)))
    return {name: [p.grad for p in player.parameters] for name, player in game.players.items()}, shared.objectives


def apart(game, batch):
    """The gradients of each objective by itself, in the buffers in which the shared pass has it."""
    found, objectives = {}, {}
    for name in game.players:
        twin = copy.deepcopy(game)
        if name == "generator":
            with torch.no_grad():  # the discriminator's pass over real samples moves the vectors of spectral norm
                twin._score(batch, "real", batch.real, batch.labels if twin.conditional else None)
        objectives[name] = twin.objective(name, batch)
        parameters = twin.players[name].parameters
        found[name] = torch.autograd.grad(objectives[name].loss, parameters, allow_unused=True)
    return found, objectives


def error(found, expected):
    """The largest error of a gradient among the players, relative to the length of the gradient."""
    worst = 0.0
    for name in expected:
        pairs = list(zip(found[name], expected[name], strict=True))
        assert all((a is None) == (b is None) for a, b in pairs)
        off = sum((a - b).double().square().sum() for a, b in pairs if a is not None) ** 0.5
        length = sum(b.double().square().sum() for _, b in pairs if b is not None) ** 0.5
        worst = max(worst, float(off / length))
    return worst
