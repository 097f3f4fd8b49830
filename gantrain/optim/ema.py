"""Exponential moving average of a network's weights, to sample from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gantrain.utils.tensors import lerp_from_, snapshot


class EMA:
    """A copy of ``module`` whose parameters are a moving average of the module's.

    After update ``n + 1``, with ``θ`` the module's parameters and ``d_n = min(decay, (1 + n) / (10 + n))``,

        ``e_{n+1} = d_n e_n + (1 - d_n) θ_{n+1}``,   ``e_1 = θ_1``.

    The growing ``d_n`` lets early weights be forgotten while there are few of them; the initial ones never count.

    torch's ``AveragedModel`` does the work: it knows how to copy a module, groups the tensors by device and dtype, and
    makes one multi-tensor operation of each group. Running statistics of batch norm are averaged like the parameters:
    the mean activation is linear in a layer's weights, so it is the averaged statistics that fit averaged weights. All
    other buffers are copied, for the average of two unit vectors of spectral norm is no unit vector and that of two
    counters no counter.

    Args:
        module: the network that is averaged; it is not changed.
        decay: in [0, 1]; 0.999 remembers about a thousand updates.

    Attributes:
        module: the averaged copy, in evaluation mode and without gradients.

    Raises:
        ValueError: ``decay`` lies outside [0, 1].

    Examples:
        >>> import torch
        >>> network = torch.nn.Linear(1, 1)
        >>> average = EMA(network, decay=0.999)
        >>> average.update()
        >>> torch.equal(average.module.weight, network.weight)
        True
    """

    def __init__(self, module: nn.Module, decay: float):
        get_ema_multi_avg_fn(decay)
        self.decay = decay
        self._source = module
        self._average = AveragedModel(module, multi_avg_fn=self._blend)
        self._average.requires_grad_(False).eval()
        self._statistics = [
            buffer
            for part in self.module.modules()
            if isinstance(part, _BatchNorm)
            for buffer in part.buffers(recurse=False)
            if buffer.is_floating_point()
        ]

    @property
    def module(self) -> nn.Module:
        return self._average.module

    @property
    def updates(self) -> int:
        """The number of updates so far."""
        return int(self._average.n_averaged)

    def update(self) -> None:
        """Take the module's present weights into the average."""
        updates, before = self.updates, snapshot(self._statistics)
        self._average.update_parameters(self._source)
        if updates > 0:
            # AveragedModel has copied all buffers: go on from the averages that it overwrote.
            lerp_from_(self._statistics, before, 1 - self._decay_after(updates))

    def state_dict(self) -> dict[str, Any]:
        """The averaged module's state dict and the number of updates, ``n_averaged``."""
        return {**self.module.state_dict(), "n_averaged": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self._average.n_averaged.fill_(state.pop("n_averaged"))
        self.module.load_state_dict(state)

    def _decay_after(self, updates: int) -> float:
        return min(self.decay, (1 + updates) / (10 + updates))

    def _blend(self, average: Sequence[Tensor], current: Sequence[Tensor], _: Tensor | int) -> None:
        get_ema_multi_avg_fn(self._decay_after(self.updates))(average, current, None)
