"""Where the images of an evaluation come from: a generator, or a data set."""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gantrain.data.dataset import DataSet
from gantrain.data.pixels import encode, opaque
from gantrain.data.readers.file_samples import FileSamples
from gantrain.errors import Diverged, UserError
from gantrain.utils.seeding import derive, generator

if TYPE_CHECKING:
    from gantrain.games.base import GenerativeGame


# The number of samples in a piece. The randomness of a generator is a function of the piece, so that neither the number
# of processes nor the size of batches matters.
PIECE = 64


@dataclass(frozen=True)
class Paths:
    """A generator as a function of its latents, along which perceptual path length is measured.

    Attributes:
        generate: ``generate(z, labels, seed)`` returns images ``(n, channels, height, width)`` in [-1, 1]; ``labels``
            is None without classes, and ``seed`` is the seed of noise that the network draws itself.
        latent_dim: the length of z, which is standard normal.
    """

    generate: Callable[[Tensor, Tensor | None, int], Tensor]
    latent_dim: int


class Source(ABC):
    """Numbered images.

    Attributes:
        name: the name in messages and results.
        count: the number of images; None for a generator, which makes as many as are wanted.
        class_names: the names of the classes in the order of their numbers; None where they have none.
        provenance: where the images come from, as a quoted result must say.
    """

    name: str
    count: int | None
    class_names: Sequence[str] | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        return {"name": self.name}

    @abstractmethod
    def piece(self, index: int, size: int, device: torch.device | str) -> Tensor:
        """The image of number ``index * PIECE`` and those after it, uint8 ``(size, channels, height, width)``.

        Images with alpha are laid over white, so that metrics see 1 or 3 channels.

        Raises:
            UserError: an image cannot be had; the message names the file or the sample.
        """

    def pieces(self, sizes: Iterable[tuple[int, int]], device: torch.device | str) -> Iterator[Tensor]:
        """The pieces of the pairs ``(index, size)``, one after the other."""
        return (self.piece(index, size, device) for index, size in sizes)

    @abstractmethod
    def take(self, samples: int | None) -> Source:
        """A source of that many of the images, by default of all of them.

        Raises:
            UserError: there are fewer images, or the source is a generator and no number was given.
        """

    def labels_of(self, rows: Tensor) -> Tensor | None:
        """The classes of the images whose numbers are ``rows``, ``(n,)``; None without classes."""
        return None

    def redrawn(self, draw: int) -> Source:
        """A source of other images from the same distribution; draw 0 is the source itself.

        Raises:
            UserError: the source has no other images.
        """
        if draw:
            raise UserError(f"{self.name}: is one draw; only a generator can be drawn from repeatedly, use draws=1")
        return self

    def content(self, first: int, last: int) -> bytes | None:
        """The SHA-256 of the images from number ``first`` to ``last - 1`` and their form; None where they have none."""
        return None

    def stamp(self, first: int, last: int) -> bytes | None:
        """What :meth:`content` depends on, if that is known without reading the images: it says which files they are in
        and when these changed.

        Returns:
            A digest; None where the images are not in files, or these have changed too lately.
        """
        return None


class Generated(Source):
    """Samples of a generator: they are a function of the seed, of their number and of the weights alone.

    Args:
        sample: ``sample(n, seed)``, or ``sample(n, seed, labels=labels)`` where labels are given, returns images
            ``(n, channels, height, width)`` in [-1, 1]; it must leave modes, buffers and random states alone, as
            :meth:`gantrain.games.gan.GAN.sample` does.
        seed: the seed of the samples.
        labels: for a conditional generator, the labels of the data, ``(m,)``; the samples have their frequencies.
        paths: the generator as a function of its latents, which perceptual path length needs.
        name: the name in messages and results.
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
            game: the GAN, which may be conditional.
            seed: the seed of the samples.
            network: a network that is sampled instead of the game's own generator, such as an average of it.
            labels: the labels of the data, which are used if the game is conditional; by default the classes are
                equally frequent.
            more: further arguments of the constructor.
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
    def provenance(self) -> dict[str, Any]:
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
            raise Diverged(
                f"{self.name}: sample {first} holds NaN or infinity; the training has diverged, evaluate an earlier "
                "checkpoint"
            )
        return opaque(encode(images)).to(device)

    def labels_of(self, rows: Tensor) -> Tensor | None:
        if self._labels is None:
            return None
        return self._labels[self._order[rows % len(self._order)].to(self._labels.device)]

    @cached_property
    def _order(self) -> Tensor:
        number = 0 if self._labels is None else len(self._labels)
        return torch.randperm(number, generator=generator(self.seed, "evaluation labels"))

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
        data: a data set of images. Stored as uint8 they are taken as they are; others are decoded and then encoded.
        name: the name in messages and results.

    Raises:
        UserError: the data are no images, or hold none.
    """

    def __init__(self, data: DataSet, name: str = "data"):
        self.name = name
        self.samples: Any = data.samples
        self.class_names = getattr(data, "class_names", None) or None
        self._labels: Tensor | None = getattr(data, "labels", None)
        self._decode = None if self.samples.dtype == torch.uint8 else data.decode
        if self.samples.ndim != 4 or not (self._decode is None or data.spec.image):
            raise UserError(f"{name}: these data are no images, and the metrics are of images")
        if not len(self.samples):
            raise UserError(f"{name}: holds no image")
        self.count: int = len(self.samples)

    def piece(self, index: int, size: int, device: torch.device | str) -> Tensor:
        return self._levels(self.samples[index * PIECE : index * PIECE + size].to(device))

    def take(self, samples: int | None) -> Source:
        rows = subset_rows(self.name, self.count, samples)
        if rows is None:
            return self
        subset = copy.copy(self)
        subset.samples, subset.count = self.samples[rows], len(rows)
        subset._labels = self.labels_of(rows)
        return subset

    def labels_of(self, rows: Tensor) -> Tensor | None:
        return None if self._labels is None else self._labels[rows.to(self._labels.device)]

    def content(self, first: int, last: int) -> bytes:
        content = hashlib.sha256(str(tuple(self.samples.shape[1:])).encode())
        content.update(self._levels(self.samples[first:last].to("cpu")).contiguous().numpy())
        return content.digest()

    def stamp(self, first: int, last: int) -> bytes | None:
        # Samples in memory may be what a data set of the user's own made of those in its files.
        return self.samples[first:last].stamp() if isinstance(self.samples, FileSamples) else None

    def _levels(self, stored: Any) -> Any:
        return opaque(stored if self._decode is None else encode(self._decode(stored)))


def subset_rows(name: str, count: int, samples: int | None) -> Tensor | None:
    """The numbers of ``samples`` out of ``count`` images; they are drawn at random, since data may be sorted.

    Returns:
        The numbers in ascending order, the same at each call; None for all images.

    Raises:
        UserError: there are fewer images. The message calls them ``name``.
    """
    if samples is None or samples == count:
        return None
    if samples > count:
        raise UserError(f"{name}: {samples} images were asked for and there are {count}")
    return torch.randperm(count, generator=generator(0, "evaluation subset"))[:samples].sort().values
