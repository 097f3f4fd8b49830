"""Batches as a pure function of ``(seed, draw)``: which samples they hold, and every random number drawn with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from gantrain.config.sections import TIMEOUT
from gantrain.config.user_code import UserCode, described
from gantrain.data.adopted import as_data_set
from gantrain.data.dataset import Samples, seen_in_training
from gantrain.data.digest import Digest, digest
from gantrain.data.prefetch import Prefetcher, automatic_workers
from gantrain.data.storage import on_device
from gantrain.errors import UserError
from gantrain.utils.seeding import derive, generator

# Rows of a batch that draw their random numbers together.
BLOCK = 1024


class Batch:
    """This process' rows of one global batch, and of the random numbers that go with the batch.

    Random numbers are a function of the row in the global batch, so that many processes together see the numbers that
    one process would see. Each block of 1024 rows has a seed, and a process draws the blocks that it needs. A batch
    that is asked twice for the same stream answers with the same numbers.

    Args:
        real: the samples, ``(b, *shape)``: float32, images in [-1, 1], or the int64 token ids of texts.
        labels: ``(b,)``, class indices, or float32 where labels are numbers; None where the data have no labels.
        index: the number of the draw.
        step: the training step, by which lazy penalties decide whether they are due; None makes them count in every
            step, with their average over the steps.
        seed: the run's seed.
        rank: the number of this process among those that share the global batch.
        world_size: the number of processes that share the global batch.

    Attributes:
        real, labels, index, step: as given.
        part: the number of this micro-batch, and the number of micro-batches into which the process cuts its share.
        whole_mean: the function from a tensor to its mean over all processes, which all of them must call.
    """

    def __init__(
        self,
        real: Tensor,
        labels: Tensor | None,
        index: int,
        step: int | None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.real = real
        self.labels = labels
        self.index = index
        self.step = step
        self._seed = seed
        rows = real.shape[0]
        self._size = rows * world_size
        self._rows = slice(rank * rows, (rank + 1) * rows)
        self._drawn: dict[tuple[object, ...], Tensor] = {}
        self._prefix = ""
        self._selected: Tensor | None = None
        self.part = 0, 1
        self.whole_mean: Callable[[Tensor], Tensor] = _unchanged

    def __len__(self) -> int:
        return len(self.real)

    @property
    def whole_size(self) -> int:
        """The number of rows in the global batch, of all micro-batches and processes together."""
        return self._size

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers ``(b, *shape)``."""
        return self._draw(torch.randn, stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Numbers ``(b, *shape)`` uniform in [0, 1)."""
        return self._draw(torch.rand, stream, shape)

    def integers(self, stream: str, high: int) -> Tensor:
        """Whole numbers ``(b,)``, int64, uniform in 0 … high - 1."""
        return self._draw(torch.randint, stream, (), high)

    def rows(self, stream: str, samples: int) -> Tensor:
        """Rows ``(b,)``, int64, of another data set, whose samples are shuffled anew in each of its own epochs.

        Each of the samples comes up once in an epoch, as the samples of :class:`Batches` do.

        Args:
            stream: the name of the order.
            samples: the number of samples in the other data set.
        """
        order = _order(samples, self._size, derive(self._seed, self._prefix + stream))
        rows = order.rows(self.index, self._rows.start, self._rows.stop - self._rows.start)
        return rows if self._selected is None else rows[self._selected.to(rows.device)]

    def under(self, name: str) -> Batch:
        """The same batch whose streams are called ``name/stream``, and so have random numbers of their own."""
        other = copy.copy(self)
        other._prefix = f"{self._prefix}{name}/"
        return other

    def select(self, rows: Tensor) -> Batch:
        """The batch that consists of some rows of this one, each with the random numbers that it has here.

        Args:
            rows: the numbers of the rows, int64.
        """
        other = copy.copy(self)
        other.real = self.real[rows]
        other.labels = None if self.labels is None else self.labels[rows]
        other._selected = rows if self._selected is None else self._selected[rows]
        return other

    def _draw(self, sampler: Callable[..., Tensor], stream: str, shape: tuple[int, ...], *arguments: int) -> Tensor:
        if not isinstance(stream, str):
            raise TypeError(f"random numbers of a batch have a name, as in batch.normal('noise', 3); got {stream!r}")
        stream = self._prefix + stream
        key = (sampler, stream, shape, *arguments)
        if key not in self._drawn:
            numbers = self._numbers(partial(sampler, *arguments), stream, shape)
            self._drawn[key] = numbers.to(self.real.device, non_blocking=True)
        return self._drawn[key] if self._selected is None else self._drawn[key][self._selected]

    def _numbers(self, sampler: Callable[..., Tensor], stream: str, shape: tuple[int, ...]) -> Tensor:
        return rows_of_numbers(sampler, self._seed, stream, self.index, self._size, self._rows, shape)


class FixedBatch(Batch):
    """Samples in a fixed order, each of which has random numbers of its own, whichever samples share its batch.

    Args:
        real: the samples, ``(b, *shape)``.
        labels: ``(b,)`` int64, or None.
        first: the number of the first sample.
        seed: the seed of the random numbers.
    """

    def __init__(self, real: Tensor, labels: Tensor | None, first: int, seed: int):
        super().__init__(real, labels, first, None, seed)

    def _draw(self, sampler: Callable[..., Tensor], stream: str, shape: tuple[int, ...], *arguments: int) -> Tensor:
        sources = (generator(self._seed, self._prefix + stream, self.index + row) for row in range(len(self)))
        return torch.stack([sampler(*arguments, shape, generator=source) for source in sources]).to(self.real.device)


def rows_of_numbers(
    sampler: Callable[..., Tensor],
    seed: int,
    stream: str,
    index: int,
    size: int,
    rows: slice,
    shape: tuple[int, ...] = (),
) -> Tensor:
    """Rows of the random numbers of a whole batch. Only the blocks in which these rows lie are drawn.

    Args:
        sampler: a function of torch that draws numbers of a shape from a generator.
        seed: the run's seed.
        stream: the name of the numbers.
        index: the number of the draw.
        size: the number of rows of the whole batch.
        rows: the rows, from ``rows.start`` to ``rows.stop``.
        shape: the shape of a row.
    """
    parts = []
    for first in range(rows.start - rows.start % BLOCK, rows.stop, BLOCK):
        source = generator(seed, f"{stream}/from {first}" if first else stream, index)
        block = sampler((min(BLOCK, size - first), *shape), generator=source)
        parts.append(block[max(rows.start - first, 0) : rows.stop - first])
    if not parts:
        return sampler((0, *shape))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Batches:
    """Every batch of a run: ``batches(index, step) -> Batch``.

    Epoch ``e`` is a permutation of the samples, seeded by ``(seed, "order", e)``. Draw ``i`` takes the positions
    ``[i B, (i + 1) B)`` of the epochs laid end to end. Every sample so comes up exactly once in an epoch, and a batch
    may contain the end of one epoch and the beginning of the next. The samples stay as they are stored (images as
    uint8), on the device, in memory, or in files (see :func:`gantrain.data.storage.place_samples`); batches are the
    same to the bit.

    Args:
        dataset: the data set, or what :func:`gantrain.data.as_data_set` makes one of, such as a torch Dataset.
            One whose samples hold no numbers has as many of them as a batch.
        batch_size: B, the number of samples over all processes.
        seed: the run's seed.
        rank: the number of this process.
        world_size: the number of processes; each takes ``batch_size / world_size`` consecutive rows.
        device: the device of the batches.
        accumulation: the number of micro-batches into which each process' share will be cut.
        workers: the number of processes that read samples ahead from files; None takes one for each core, 0 none.
        timeout: the seconds that a read of these processes may take.

    Attributes:
        batch_size, accumulation, seed, device: the arguments of the same names.
        samples: the samples of the data set.
        spec: the spec of the data set.
        class_names: the names of its classes, if they have any.
        workers: the number of reading processes; 0 where the samples are not in files.

    Raises:
        UserError: the processes and micro-batches cannot share a batch evenly, or a batch is larger than the data.
            When a batch is asked for: an image cannot be read.

    Examples:
        >>> from gantrain.data import Digits
        >>> batches = Batches(Digits(), batch_size=64, seed=0)
        >>> batch = batches(7, step=7)
        >>> batch.real.shape, batch.labels.shape, batch.normal("latent", 16).shape
        (torch.Size([64, 1, 8, 8]), torch.Size([64]), torch.Size([64, 16]))
        >>> torch.equal(batch.real, batches(7, step=7).real)
        True
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        accumulation: int = 1,
        workers: int | None = 0,
        timeout: float = TIMEOUT,
    ):
        dataset = as_data_set(dataset)
        if batch_size % (world_size * accumulation):
            cut = f" of {accumulation} micro-batches each (data.accumulation)" if accumulation > 1 else ""
            raise UserError(
                f"data.batch_size: {batch_size} samples cannot be shared evenly by {world_size} processes{cut}; "
                f"use a multiple of {world_size * accumulation}"
            )
        empty = dataset.spec.empty
        if batch_size > len(dataset.samples) and not empty:
            raise UserError(
                f"data.batch_size: {batch_size} samples asked for, but the training part has {len(dataset.samples)}; "
                f"use at most {len(dataset.samples)}"
            )
        self.samples = torch.empty(batch_size, *dataset.spec.shape) if empty else dataset.samples
        self._in_files = getattr(dataset, "in_files", None)
        in_files = not isinstance(self.samples, Tensor)
        self._at = self.samples.device if isinstance(self.samples, Tensor) else torch.device("cpu")
        self.labels = None if dataset.labels is None else dataset.labels.to(self._at)
        self.decode = dataset.decode
        self.spec = dataset.spec
        self.class_names = tuple(getattr(dataset, "class_names", None) or ())
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.device = torch.device(device)
        self.workers = (automatic_workers() if workers is None else workers) if in_files else 0
        self._order = Order(len(self.samples), batch_size, seed, self._at)
        self._ahead: Prefetcher | None = None
        if in_files:
            self._ahead = Prefetcher(
                self.samples,
                self._order.rows,
                self.workers,
                timeout,
                partial(_selected, self.samples, batch_size, seed),
            )

    @cached_property
    def digest(self) -> Digest:
        """The digest of the samples and labels; see :func:`gantrain.data.digest.digest`."""
        return digest(self.samples, self.labels, self._in_files)

    def __call__(self, index: int, step: int | None, part: tuple[int, int] | None = None) -> Batch:
        """The rows of a draw.

        Args:
            index: the number of the draw.
            step: the training step, for the batch.
            part: the part of the draw: its number, and the number of equal parts. By default this process' part.
        """
        number, parts = part or (self.rank, self.world_size)
        share = self.batch_size // parts
        first = number * share
        rows = self._order.rows(index, first, share)
        if self._ahead is not None:
            stored = self._ahead(index, first, share)
        else:
            assert isinstance(self.samples, Tensor)
            stored = self.samples.index_select(0, rows)
        stored = on_device(stored, self.device)
        with UserCode("data", self.decode):
            real = self.decode(stored)
        if tuple(real.shape) != (share, *self.spec.shape):
            shape = (share, *self.spec.shape)
            raise UserError(f"data: decode: expected samples of shape {shape}, got {described(real)}")
        labels = None if self.labels is None else on_device(self.labels.index_select(0, rows), self.device)
        return Batch(real, labels, index, step, self.seed, number, parts)

    def rows(self, index: int) -> Tensor:
        """The numbers, in the data set, of the samples that this process has of a draw."""
        share = self.batch_size // self.world_size
        return self._order.rows(index, self.rank * share, share)

    def close(self) -> None:
        """End the processes that read samples ahead."""
        if self._ahead is not None:
            self._ahead.close()


class Order:
    """The order of the samples over all draws: see :class:`Batches`.

    Args:
        samples: the number of samples.
        batch_size: the number of samples in a draw.
        seed: the seed of the permutations.
        device: the device of the rows that are returned.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, device: torch.device):
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        # Two epochs are cached: a batch may lie in both, and reading ahead goes back and forth between them.
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def rows(self, draw: int, first: int, count: int) -> Tensor:
        """The rows of the samples at the positions ``first`` to ``first + count - 1`` of a draw, int64."""
        position = draw * self.batch_size + first
        parts = []
        while count:
            epoch, start = divmod(position, self.samples)
            part = self._permutation(epoch)[start : start + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permute(self, epoch: int) -> Tensor:
        return torch.randperm(self.samples, generator=generator(self.seed, "order", epoch)).to(
            self.device, non_blocking=True
        )


def _unchanged(t: Tensor) -> Tensor:
    return t


def _selected(samples: Samples, batch_size: int, seed: int, draw: int, first: int, rows: Tensor) -> Samples:
    """The samples of some rows as the draw sees them, in whose batch the first of them is at the position ``first``."""
    places = slice(first, first + len(rows))

    def uniform(count: int) -> Tensor:
        return rows_of_numbers(torch.rand, seed, "window", draw, batch_size, places, (count,))

    return seen_in_training(samples[rows], uniform)


@lru_cache(maxsize=8)
def _order(samples: int, batch_size: int, seed: int) -> Order:
    return Order(samples, batch_size, seed, torch.device("cpu"))
