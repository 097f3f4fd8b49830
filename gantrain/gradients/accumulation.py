"""Gradient accumulation: a process' share of a batch taken in parts, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gantrain.games.base import Gradient
from gantrain.utils.tensors import copy_, lerp_from_, snapshot


class GradientAccumulation:
    """The equal parts into which a process cuts its share of each batch, so that it needs the memory of one.

    They stand for as many processes with a part each: every one begins with the same buffers, and gradients, floating-
    point buffers and what is observed are means over them.

    Args:
        number: how many; with 1 nothing is cut.
        buffers: of all networks.

    Attributes:
        current: the number of the part at work and how many there are; (0, 1) outside of :meth:`mean`, where the share
            is whole.
    """

    def __init__(self, number: int, buffers: Sequence[Tensor]):
        self.number = number
        self.buffers = buffers
        self.current = 0, 1

    def mean(self, evaluate: Callable[[], list[Gradient]]) -> list[Gradient]:
        """The means of the gradients that ``evaluate`` finds on each part. Counters are as after one part."""
        if self.number == 1:
            return evaluate()
        statistics = [b for b in self.buffers if b.is_floating_point()]
        before = snapshot(self.buffers)
        try:
            self.current = 0, self.number
            gradients = [[None if g is None else g.clone() for g in gradient] for gradient in evaluate()]
            averages = snapshot(statistics)
            for part in range(1, self.number):
                copy_(self.buffers, before)
                self.current = part, self.number
                for mean, gradient in zip(gradients, evaluate(), strict=True):
                    self._include(mean, gradient)
                lerp_from_(averages, statistics, 1 - 1 / (part + 1))
            copy_(statistics, averages)
        finally:
            self.current = 0, 1
        return gradients

    def included(self, mean: Tensor | None, value: Tensor) -> Tensor:
        """The mean of a tensor over the parts so far, from that before the current one."""
        part, _ = self.current
        return value if mean is None or part == 0 else torch.lerp(mean, value, 1 / (part + 1))

    def _include(self, mean: Gradient, gradient: Gradient) -> None:
        """The same of a gradient, in place; None is zero."""
        means, latest = [], []
        for i, (m, g) in enumerate(zip(mean, gradient, strict=True)):
            if m is None and g is not None:
                m = mean[i] = torch.zeros_like(g)
            if m is not None:
                means.append(m)
                latest.append(torch.zeros_like(m) if g is None else g)
        lerp_from_(means, latest, 1 - 1 / (self.current[0] + 1))
