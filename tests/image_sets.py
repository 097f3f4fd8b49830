"""Image sets, generators and extractors for tests."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gantrain.data import Digits
from gantrain.data.pixels import decode
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.games.gan import GAN
from gantrain.games.losses import Hinge
from gantrain.metrics import Extractor, Generated, Images, Output, Source
from gantrain.metrics.digest import digest_of
from gantrain.models import ConvDiscriminator, ConvGenerator
from gantrain.plotting.images import save_png

DIGITS = Digits()
CLASSIFICATION = {
    "run": {"name": "digits-classifier", "steps": 150},
    "data": {"name": "digits", "batch_size": 64, "split": "train"},
    "game": {
        "name": "classification",
        "standardise": True,
        "classifier": {"model": {"name": "conv", "width": 2}, "optimizer": {"name": "adam", "lr": 1e-2}},
    },
    "log": {"every": 50},
    "checkpoint": {"every": 150},
}


class Stack:
    """A data set of given images."""

    def __init__(self, samples: Tensor):
        self.samples = samples


def images(samples: Tensor, name: str = "data") -> Images:
    return Images(Stack(samples), name)


def digest(source: Source) -> str | None:
    return digest_of(source, source.count or 0, Processes(), None)


def written(folder: Path, samples: Tensor) -> Path:
    folder.mkdir()
    for i, image in enumerate(samples):
        save_png(image, folder / f"{i:05d}.png")
    return folder


class Pixels(Extractor):
    """Features are the pixels themselves, logits the first ten of them."""

    name, label, identity, weights, preprocessing = "pixels", "pixels", "pixels", "0" * 64, "none"

    def __init__(self, shape: tuple[int, int, int] = (1, 4, 4)):
        self.shape = shape
        self.channels = shape[0]
        self.dimensions = shape[0] * shape[1] * shape[2]
        self.classes = min(10, self.dimensions)
        self.device = torch.device("cpu")
        self.seen = 0

    def require_shape(self, shape, source):
        if tuple(shape) != self.shape:
            raise UserError(f"{source}: other pixels")

    def __call__(self, images):
        self.seen += len(images)
        pixels = images.flatten(1).float()
        return Output(pixels, pixels[:, : self.classes] / 64)

    path_distance = None


def gaussian(mean: float, std: float, shape: tuple[int, int, int] = (1, 4, 4)):
    """``sample(n, seed)``: images whose levels are normal."""

    def sample(n: int, seed: int) -> Tensor:
        levels = mean + std * torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
        return levels / 127.5 - 1

    return sample


def game(conditional: bool = False) -> GAN:
    """An untrained GAN of digits whose generator's batch norms have seen something."""
    torch.manual_seed(0)
    spec = DIGITS.spec if conditional else DIGITS.spec.unconditional()
    made = GAN(
        ConvGenerator(spec, width=4, latent_dim=4),
        ConvDiscriminator(spec, width=4),
        Hinge(),
        (),
        conditional,
        DIGITS.spec,
    )
    with torch.no_grad():
        made.generator(torch.randn(64, 4), torch.arange(64) % 10 if conditional else None)
    return made


def generated(**more) -> Generated:
    return Generated.of(game(), **more)


class Tail(nn.Module):
    """A network on grey images of 8 x 8 pixels that ends in ``last``."""

    def __init__(self, last: nn.Module):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU())
        self.last = last

    def forward(self, x):
        return self.last(self.body(x))


def as_decoded(raw: Tensor) -> Tensor:
    return decode(raw)
