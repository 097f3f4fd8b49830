"""Means over whole batches, of which each training step has one."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.data.batch import Batch


class StepMeans:
    """Gives a part of a game the means of some values over the whole batch, once in each training step.

    An outer loop evaluates a game several times in a training step, on several processes and perhaps in micro-batches.
    A part that keeps a running average calls the object in each evaluation with the values of its own samples. Those of
    the step's first evaluation count: the object then returns their means over the micro-batches and processes, and
    None in all other calls. If processes evaluate different points at the same time, as for SAMPa, the first point
    counts, which is that of the trained weights.

    With micro-batches the means are known at the last of them, so that earlier ones still see the state of the step
    before. Batches that belong to no training step have no means.

    Examples:
        >>> import torch
        >>> from gantrain.data import Batch
        >>> means = StepMeans()
        >>> batch = Batch(torch.zeros(2, 1), None, index=0, step=0, seed=0)
        >>> means(batch, torch.tensor([1.0, 3.0]), torch.tensor(5.0))
        tensor([2., 5.])
        >>> means(batch, torch.tensor([7.0, 7.0]), torch.tensor(5.0)) is None
        True
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Take the next call for the first of its step. A part calls this when its state is loaded."""
        self._step: int | None = None
        self._parts = 0
        self._means: Tensor | None = None

    def __call__(self, batch: Batch, *values: Tensor) -> Tensor | None:
        """The means of all values over the whole batch, ``(len(values),)`` in single precision; or None.

        Args:
            batch: the batch that is evaluated.
            values: tensors of any shape, whose means over this process' share are taken. At a step's first evaluation
                all processes must call this.
        """
        if batch.step is None:
            return None
        if batch.step != self._step:
            self.forget()
            self._step = batch.step
        number, parts = batch.part
        if number != self._parts:
            return None
        self._parts += 1
        here = torch.stack([value.detach().float().mean() for value in values])
        self._means = here if self._means is None else torch.lerp(self._means, here, 1 / (number + 1))
        return batch.whole_mean(self._means) if self._parts == parts else None
