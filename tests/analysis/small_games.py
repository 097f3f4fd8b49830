"""Games whose Jacobian can be written out, and the Jacobian."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.func import functional_call

from gantrain.data.batch import Batch
from gantrain.games import GeneralSum
from gantrain.games.gan import GAN
from gantrain.games.losses import NonSaturating


def linear_game(matrix: torch.Tensor, split: int, seed: int = 0) -> GeneralSum:
    """The game of two players whose vector field is ``z -> matrix z``, for symmetric diagonal blocks of the matrix."""
    start = torch.randn(len(matrix), generator=torch.Generator().manual_seed(seed), dtype=matrix.dtype)
    a, b, c, d = matrix[:split, :split], matrix[:split, split:], matrix[split:, :split], matrix[split:, split:]
    fs = {
        "x": lambda x, y: x @ a @ x / 2 + x @ b @ y,
        "y": lambda x, y: y @ d @ y / 2 + y @ c @ x,
    }
    return GeneralSum(fs, {"x": start[:split], "y": start[split:]})


def random_matrix(size: int, seed: int = 1) -> tuple[torch.Tensor, int]:
    source = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=source, dtype=torch.float64)
    half = size // 2
    for block in (slice(0, half), slice(half, size)):
        part = matrix[block, block]
        matrix[block, block] = (part + part.T) / 2
    return matrix, half


class Gen(nn.Module):
    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, z, labels=None):
        return self.layers(z.to(torch.float64))


class Disc(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x, labels=None):
        return self.layers(x).squeeze(1)


def small_gan(loss=None, penalties=()) -> GAN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return GAN(Gen().double(), Disc().double(), loss or NonSaturating(), penalties)


def small_batch() -> Batch:
    real = torch.randn(16, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Batch(real, None, 0, None, 7)


def written_out(game: GAN, batch: Batch) -> torch.Tensor:
    """The Jacobian of the non-saturating game's vector field by ``torch.func``, which knows nothing of ours."""
    modules = [copy.deepcopy(game.discriminator), copy.deepcopy(game.generator)]
    names = [[name for name, _ in m.named_parameters()] for m in modules]
    shapes = [[p.shape for p in m.parameters()] for m in modules]
    flats = [torch.cat([p.detach().reshape(-1) for p in m.parameters()]) for m in modules]
    z = batch.normal("latent", 2)

    def call(index, flat, x):
        pieces = flat.split([s.numel() for s in shapes[index]])
        weights = {n: p.reshape(s) for n, p, s in zip(names[index], pieces, shapes[index], strict=True)}
        return functional_call(modules[index], weights, (x,))

    softplus = torch.nn.functional.softplus

    def losses(d, g):
        fake = call(0, d, call(1, g, z))
        return softplus(-call(0, d, batch.real)).mean() + softplus(fake).mean(), softplus(-fake).mean()

    def field(joint):
        d, g = joint[: len(flats[0])], joint[len(flats[0]) :]
        return torch.cat([torch.func.grad(lambda d: losses(d, g)[0])(d), torch.func.grad(lambda g: losses(d, g)[1])(g)])

    return torch.func.jacrev(field)(torch.cat(flats))
