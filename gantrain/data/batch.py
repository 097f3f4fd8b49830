"""Batches as a pure function of the draw: order, latents and labels follow from ``(seed, stream, index)``."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gantrain.data.prefetch import Prefetcher, automatic_workers
from gantrain.errors import UserError
from gantrain.utils.seeding import generator


class Batch:
    """This process' rows of one global batch, and of the random draws that go with it.

    A draw is made for the global batch and cut, so that the processes together see what one process would see.
    Asked twice for the same stream, a batch answers with the same numbers.

    Attributes:
        real: ``(b, *shape)`` float32, images in [-1, 1]; int64 token ids of texts.
        labels: ``(b,)`` int64, or None where the data have none.
        index: number of the draw.
        step: the training step; lazy penalties look at it. None: they count with their average over the steps.
    """

    def __init__(
        self,
        real: Tensor,
        labels: Tensor | None,
        index: int,
        step: int | None,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ):
        self.real = real
        self.labels = labels
        self.index = index
        self.step = step
        self._seed = seed
        self._size = len(real) * world
        self._rows = slice(rank * len(real), (rank + 1) * len(real))
        self._drawn: dict[tuple[Any, ...], Tensor] = {}
        self._prefix = ""

    def __len__(self) -> int:
        return len(self.real)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """``(b, *shape)`` standard normal numbers."""
        return self._draw(torch.randn, stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """``(b, *shape)`` numbers uniform in [0, 1)."""
        return self._draw(torch.rand, stream, shape)

    def integers(self, stream: str, high: int) -> Tensor:
        """``(b,)`` int64 numbers uniform in 0 … high - 1."""
        return self._draw(torch.randint, stream, (), high)

    def under(self, name: str) -> Batch:
        """The same batch with draws of its own: those of the streams ``name/stream``."""
        other = copy.copy(self)
        other._prefix = f"{self._prefix}{name}/"
        return other

    def _draw(self, sampler: Any, stream: str, shape: tuple[int, ...], *arguments: int) -> Tensor:
        stream = self._prefix + stream
        key = (sampler, stream, shape, *arguments)
        if key not in self._drawn:
            source = generator(self._seed, stream, self.index)
            numbers = sampler(*arguments, (self._size, *shape), generator=source)
            self._drawn[key] = numbers[self._rows].to(self.real.device, non_blocking=True)
        return self._drawn[key]


class Batches:
    """Every batch of a run: ``batches(index, step) -> Batch``.

    Epoch ``e`` is the permutation seeded by ``(seed, "order", e)``. Draw ``i`` takes the positions
    ``[i B, (i + 1) B)`` of the epochs laid end to end, so that every sample comes up exactly once per epoch and
    batches straddle epochs where they must. The samples are left where they are, as they are stored (images as uint8):
    on the device, in memory, or in files (see :func:`gantrain.data.storage.place`). Batches are the same to the bit.

    Args:
        dataset: its ``samples``, ``labels`` and ``decode``.
        batch_size: B, the number of samples over all processes.
        seed: the run's seed.
        rank: this process' number.
        world: number of processes; each takes ``batch_size / world`` consecutive rows.
        device: where batches live.
        accumulation: micro-batches into which each process' share will be cut.
        workers: processes that read ahead what lies in files; None for as many as there are cores, 0 for none.

    Attributes:
        batch_size, accumulation: as given.
        samples: those of the data set.
        spec: the data set's spec.
        workers: as given, or found; 0 where the samples do not lie in files.

    Raises:
        UserError: the processes and micro-batches cannot share a batch evenly; it is larger than the data. When a batch
            is asked for: an image cannot be read.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        accumulation: int = 1,
        workers: int | None = 0,
    ):
        if batch_size % (world * accumulation):
            cut = f" of {accumulation} micro-batches each (data.accumulation)" if accumulation > 1 else ""
            raise UserError(
                f"data.batch_size: {batch_size} samples cannot be shared evenly by {world} processes{cut}; "
                f"use a multiple of {world * accumulation}"
            )
        if batch_size > len(dataset.samples):
            raise UserError(
                f"data.batch_size: {batch_size} samples asked for, but the training part has {len(dataset.samples)}; "
                f"use at most {len(dataset.samples)}"
            )
        self.samples = dataset.samples
        in_files = not isinstance(self.samples, Tensor)
        self._at = torch.device("cpu") if in_files else self.samples.device
        self.labels = None if dataset.labels is None else dataset.labels.to(self._at)
        self.decode = dataset.decode
        self.spec = dataset.spec
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.seed = seed
        self.rank = rank
        self.world = world
        self.device = torch.device(device)
        self.workers = (automatic_workers() if workers is None else workers) if in_files else 0
        self._order = Order(len(self.samples), batch_size, seed, self._at)
        self._ahead = Prefetcher(self.samples, self._order.rows, self.workers) if in_files else None

    def shared(self, rank: int, world: int) -> Batches:
        """The same batches as seen by process ``rank`` of ``world`` that share them."""
        other = copy.copy(self)
        other.rank, other.world = rank, world
        return other

    def __call__(self, index: int, step: int | None) -> Batch:
        share = self.batch_size // self.world
        first = self.rank * share
        rows = self._order.rows(index, first, share)
        stored = self.samples.index_select(0, rows) if self._ahead is None else self._ahead(index, first, share)
        real = self.decode(self._moved(stored))
        labels = None if self.labels is None else self._moved(self.labels.index_select(0, rows))
        return Batch(real, labels, index, step, self.seed, self.rank, self.world)

    def close(self) -> None:
        """End the processes that read ahead."""
        if self._ahead is not None:
            self._ahead.close()

    def _moved(self, stored: Tensor) -> Tensor:
        if stored.device.type == self.device.type:
            return stored
        return stored.pin_memory().to(self.device, non_blocking=True)


class Order:
    """Which samples the draws are made of: see :class:`Batches`.

    Args:
        samples: how many there are.
        batch_size: of a draw.
        seed: of the permutations.
        device: where rows are needed.
    """

    def __init__(self, samples: int, batch_size: int, seed: int, device: torch.device):
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        # Two epochs: a batch may straddle them, and a look ahead goes back and forth between them.
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def rows(self, draw: int, first: int, count: int) -> Tensor:
        """The samples at ``count`` positions of a draw's batch from ``first``."""
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
        return torch.randperm(self.samples, generator=generator(self.seed, "order", epoch)).to(self.device)
