"""Gradient accumulation: a process evaluates its share of a batch in parts, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.utils.tensors import copied_gradient, copy_, in_real_numbers, lerp_from_, snapshot


class GradientAccumulation:
    """Cuts a process' share of each batch into equal parts, so that the process needs the memory for one part only.

    The result is as if each part belonged to a process of its own. The evaluation of every part begins with the same
    buffers; gradients, floating-point buffers and observed values are means over the parts.

    Args:
        number: the number of parts; with 1 the share stays whole.
        buffers: the buffers of all networks.

    Attributes:
        current: the number of the part that is evaluated now, and the number of all parts; (0, 1) outside of
            :meth:`mean`, where the share is whole.
    """

    def __init__(self, number: int, buffers: Sequence[Tensor]):
        self.number = number
        self.buffers = buffers
        self.current = 0, 1

    def mean(self, evaluate: Callable[[], list[Gradient]]) -> list[Gradient]:
        """The means over the parts of the gradients that ``evaluate`` returns.

        Afterwards floating-point and complex buffers hold their means, too; counters among the buffers have counted one
        part.

        Args:
            evaluate: evaluates the part :attr:`current`; called once for each part.
        """
        if self.number == 1:
            return evaluate()
        statistics = [b for b in in_real_numbers(self.buffers) if b.is_floating_point()]
        before = snapshot(self.buffers)
        try:
            self.current = 0, self.number
            gradients = [copied_gradient(gradient) for gradient in evaluate()]
            averages = snapshot(statistics)
            for part in range(1, self.number):
                copy_(self.buffers, before)
                self.current = part, self.number
                self._include(gradients, evaluate())
                lerp_from_(averages, statistics, 1 - 1 / (part + 1))
            copy_(statistics, averages)
        finally:
            self.current = 0, 1
        return gradients

    def included(self, mean: Tensor | None, value: Tensor) -> Tensor:
        """The mean of a value over the parts up to the current one.

        Args:
            mean: the mean over the parts before the current one; None if there are none.
            value: the value on the current part.
        """
        part, _ = self.current
        return value if mean is None or part == 0 else torch.lerp(mean, value, 1 / (part + 1))

    def _include(self, means: list[Gradient], gradients: list[Gradient]) -> None:
        """Include the current part's gradients in the means, in place. None stands for a gradient of zero.

        Nothing keeps the part's gradients in memory while the next part is evaluated.
        """
        for mean, gradient in zip(means, gradients, strict=True):
            included, latest = [], []
            for i, (m, g) in enumerate(zip(mean, gradient, strict=True)):
                if m is None and g is not None:
                    m = mean[i] = torch.zeros_like(g)
                if m is not None:
                    included.append(m)
                    latest.append(torch.zeros_like(m) if g is None else g)
            lerp_from_(included, latest, 1 - 1 / (self.current[0] + 1))
