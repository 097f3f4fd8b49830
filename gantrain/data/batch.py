"""Batches as a pure function of the draw: order, latents and labels follow from ``(seed, stream, index)``."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.streams import generator


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
    batches straddle epochs where they must. The samples are kept on the device as they are stored (images as uint8).

    Args:
        dataset: its ``samples``, ``labels`` and ``decode``.
        batch_size: B, the number of samples over all processes.
        seed: the run's seed.
        rank: this process' number.
        world: number of processes; each takes ``batch_size / world`` consecutive rows.
        device: where batches live.
        accumulation: micro-batches into which each process' share will be cut.

    Raises:
        UserError: the processes and micro-batches cannot share a batch evenly.
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
    ):
        if batch_size % (world * accumulation):
            cut = f" of {accumulation} micro-batches each (data.accumulation)" if accumulation > 1 else ""
            raise UserError(
                f"data.batch_size: {batch_size} samples cannot be shared evenly by {world} processes{cut}; "
                f"use a multiple of {world * accumulation}"
            )
        self.samples = dataset.samples.to(device)
        self.labels = None if dataset.labels is None else dataset.labels.to(device)
        self.decode = dataset.decode
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.device = device
        # Two epochs: a batch may straddle them, and a look ahead goes back and forth between them.
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def shared(self, rank: int, world: int) -> Batches:
        """The same batches as seen by process ``rank`` of ``world`` that share them."""
        other = copy.copy(self)
        other.rank, other.world = rank, world
        return other

    def __call__(self, index: int, step: int | None) -> Batch:
        share = self.batch_size // self.world
        rows = self._rows(index * self.batch_size + self.rank * share, share)
        real = self.decode(self.samples.index_select(0, rows))
        labels = None if self.labels is None else self.labels.index_select(0, rows)
        return Batch(real, labels, index, step, self.seed, self.rank, self.world)

    def _rows(self, position: int, count: int) -> Tensor:
        """The samples at ``count`` positions of the epochs laid end to end."""
        parts = []
        while count:
            epoch, start = divmod(position, len(self.samples))
            part = self._permutation(epoch)[start : start + count]
            parts.append(part)
            position += len(part)
            count -= len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _permute(self, epoch: int) -> Tensor:
        order = torch.randperm(len(self.samples), generator=generator(self.seed, "order", epoch))
        return order.to(self.device)
