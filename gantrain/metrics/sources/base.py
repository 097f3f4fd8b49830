"""Where the images of an evaluation come from: a generator, or a data set."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gantrain.data.pixels import encode
from gantrain.errors import UserError
from gantrain.utils.seeding import derive, generator

if TYPE_CHECKING:
    from gantrain.games.base import GenerativeGame


# Samples in a piece. A generator's randomness is a function of the piece, so that neither the number of processes nor
# the size of batches matters.
PIECE = 64
# Samples of a data set that are read at once for its digest.
_CHUNK = 1000


@dataclass(frozen=True)
class Paths:
    """What a generator's paths are made of.

    Attributes:
        generate: ``generate(z, labels, seed)`` to images ``(n, channels, height, width)`` in [-1, 1]; ``labels`` is
            None without classes, and the seed is that of noise that the network draws itself.
        latent_dim: length of z, which is standard normal.
    """

    generate: Callable[[Tensor, Tensor | None, int], Tensor]
    latent_dim: int


class Source(ABC):
    """Numbered images.

    Attributes:
        name: in messages and results.
        count: how many there are; None for as many as are wanted.
        about: what belongs to a result that is quoted.
    """

    name: str
    count: int | None

    @property
    def about(self) -> dict[str, Any]:
        return {"name": self.name}

    @abstractmethod
    def piece(self, index: int, size: int, device: torch.device | str) -> Tensor:
        """Images ``index * PIECE`` and the following, uint8 ``(size, channels, height, width)``.

        Raises:
            UserError: they cannot be had; the message names the file or the sample.
        """

    def pieces(self, wanted: Iterable[tuple[int, int]], device: torch.device | str) -> Iterator[Tensor]:
        """The pieces of these indices and sizes, one after the other."""
        return (self.piece(index, size, device) for index, size in wanted)

    @abstractmethod
    def take(self, samples: int | None) -> Source:
        """The same with that many images, all by default.

        Raises:
            UserError: there are not so many, or there is no end of them and no number was given.
        """

    def redrawn(self, draw: int) -> Source:
        """Other images of the same distribution; draw 0 is the source itself.

        Raises:
            UserError: there are no others.
        """
        if draw:
            raise UserError(f"{self.name}: is one draw; only a generator can be drawn from repeatedly, use draws=1")
        return self

    def digest(self) -> str | None:
        """SHA-256 of the images that there are; None for a generator."""
        return None


class Generated(Source):
    """Samples of a generator: a function of the seed, of their number and of the weights alone.

    Args:
        sample: ``sample(n, seed)``, or ``sample(n, seed, labels=labels)`` where labels are given, to images
            ``(n, channels, height, width)`` in [-1, 1]; it must leave modes, buffers and random states alone, as
            :meth:`gantrain.games.gan.GAN.sample` does.
        seed: of the samples.
        labels: of a conditional generator, ``(m,)``: the labels of the data, whose frequencies the samples then have.
        paths: what perceptual path length is measured along.
        name: in messages and results.
    """

    def __init__(
        self,
        sample: Callable[..., Tensor],
        seed: int = 0,
        labels: Tensor | None = None,
        paths: Paths | None = None,
        name: str = "generator",
    ):
        self.name = name
        self.seed = seed
        self.count: int | None = None
        self.paths = paths
        self._sample = sample
        self._labels = labels
        self._order = None
        if labels is not None:
            self._order = torch.randperm(len(labels), generator=generator(seed, "evaluation labels"))

    @classmethod
    def of(
        cls,
        game: GenerativeGame,
        seed: int = 0,
        network: nn.Module | None = None,
        labels: Tensor | None = None,
        **more: Any,
    ) -> Generated:
        """Samples of a game.

        Args:
            game: it may be conditional.
            seed: of the samples.
            network: instead of the game's own generator, such as an average of it.
            labels: of the data; used if the game is conditional, by default the classes are equally frequent.
            more: as for the class.
        """
        if not game.conditional:
            labels = None
        elif labels is None:
            if game.spec is None:
                raise UserError("a conditional game without a spec cannot choose labels; give them")
            labels = torch.arange(game.spec.classes)
        paths = Paths(partial(game.generate, network=network), game.latent_dim)
        return cls(partial(game.sample, network=network), seed, labels, paths, **more)

    @property
    def about(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed}

    def piece(self, index: int, size: int, device: torch.device | str) -> Tensor:
        labels = self.labels_of(torch.arange(index * PIECE, index * PIECE + size))
        given = {} if labels is None else {"labels": labels}
        images = self._sample(size, derive(self.seed, "evaluation", index), **given)
        if images.ndim != 4 or len(images) != size or not images.is_floating_point():
            raise UserError(
                f"{self.name}: expected images ({size}, channels, height, width) in [-1, 1], got "
                f"{str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
            )
        finite = images.flatten(1).isfinite().all(1)
        if not finite.all():
            first = index * PIECE + int((~finite).nonzero()[0])
            raise UserError(
                f"{self.name}: sample {first} holds NaN or infinity; the training has diverged, evaluate an earlier "
                "checkpoint"
            )
        return encode(images).to(device)

    def labels_of(self, rows: Tensor) -> Tensor | None:
        """The labels of the samples of these numbers, ``(n,)``; None without classes."""
        if self._labels is None:
            return None
        return self._labels[self._order[rows % len(self._order)].to(self._labels.device)]

    def take(self, samples: int | None) -> Generated:
        if samples is None:
            raise UserError(f"{self.name}: how many samples? Give samples, such as 10000")
        return self

    def redrawn(self, draw: int) -> Generated:
        if not draw:
            return self
        return Generated(self._sample, derive(self.seed, "evaluation draw", draw), self._labels, self.paths, self.name)


class Images(Source):
    """A data set, in memory or in files that are read piece by piece.

    Args:
        data: its ``samples`` are uint8 ``(n, channels, height, width)``.
        name: in messages and results.

    Raises:
        UserError: the data are no images, or there are none.
    """

    def __init__(self, data: Any, name: str = "data"):
        self.name = name
        self.samples: Any = data.samples
        if self.samples.dtype != torch.uint8 or self.samples.ndim != 4:
            raise UserError(f"{name}: these data are no images of 8 bits, and the metrics are of images")
        if not len(self.samples):
            raise UserError(f"{name}: holds no image")
        self.count = len(self.samples)
        self._digest: str | None = None

    def piece(self, index: int, size: int, device: torch.device | str) -> Tensor:
        return self.samples[index * PIECE : index * PIECE + size].to(device)

    def take(self, samples: int | None) -> Source:
        rows = chosen(self, samples)
        if rows is None:
            return self
        taken = Images.__new__(Images)
        taken.name, taken.samples, taken.count, taken._digest = self.name, self.samples[rows], len(rows), None
        return taken

    def digest(self) -> str:
        if self._digest is None:
            content = hashlib.sha256(str(tuple(self.samples.shape)).encode())
            for chunk in self.samples.split(_CHUNK):
                content.update(chunk.to("cpu").contiguous().numpy())
            self._digest = content.hexdigest()
        return self._digest


def chosen(source: Source, samples: int | None) -> Tensor | None:
    """Which of a source's images are taken where not all are: always the same random ones, since data may be sorted.

    Raises:
        UserError: there are fewer.
    """
    if samples is None or samples == source.count:
        return None
    if samples > source.count:
        raise UserError(f"{source.name}: {samples} images were asked for and there are {source.count}")
    return torch.randperm(source.count, generator=generator(0, "evaluation subset"))[:samples].sort().values
