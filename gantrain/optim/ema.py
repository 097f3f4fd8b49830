"""Exponential moving average of a network's weights, to sample from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantrain.utils.tensors import copy_, lerp_from_

# Where a tensor of a module is found: a module may hold another tensor there later.
Place = tuple[dict[str, Any], str]


class EMA:
    """A copy of ``module`` whose parameters are a moving average of the module's.

    After update ``n + 1``, with ``θ`` the module's parameters and ``d_n = min(decay, (1 + n) / (10 + n))``,

        ``e_{n+1} = d_n e_n + (1 - d_n) θ_{n+1}``,   ``e_1 = θ_1``.

    The growing ``d_n`` lets early weights be forgotten while there are few of them; the initial ones never count.

    Running statistics of batch norm are averaged like the parameters: the mean activation is linear in a layer's
    weights, so it is the averaged statistics that fit averaged weights. All other buffers are copied, for the average
    of two unit vectors of spectral norm is no unit vector and that of two counters no counter.

    An update takes one operation for each data type, and the program does not wait for the device. (torch's
    ``AveragedModel`` sends its counter to the device at each update, and waits for that.)

    Args:
        module: the network that is averaged; it is not changed.
        decay: in [0, 1]; 0.999 remembers about a thousand updates.

    Attributes:
        module: the averaged copy, in evaluation mode and without gradients.
        updates: the number of updates so far.

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
        if not 0 <= decay <= 1:
            raise ValueError(f"decay: expected a number in [0, 1], got {decay}")
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(module).requires_grad_(False).eval()
        self._own, self._source = _divided(self.module), _divided(module)

    def update(self) -> None:
        """Take the module's present weights into the average."""
        averaged, copied = map(_at, self._own)
        present, others = map(_at, self._source)
        copy_(copied, others)
        if self.updates == 0:
            copy_(averaged, present)
        else:
            lerp_from_(averaged, present, self._decay_after(self.updates))
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The averaged module's state dict and the number of updates, ``n_averaged``."""
        return {**self.module.state_dict(), "n_averaged": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self.updates = int(state.pop("n_averaged"))
        self.module.load_state_dict(state)

    def _decay_after(self, updates: int) -> float:
        return min(self.decay, (1 + updates) / (10 + updates))


def _divided(module: nn.Module) -> tuple[list[Place], list[Place]]:
    """The places of the tensors of a module that are averaged, and of those that are copied."""
    averaged: list[Place] = []
    copied: list[Place] = []
    seen = set()
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, t in tensors.items():
                if t is not None and id(t) not in seen:
                    seen.add(id(t))
                    mean = tensors is part._parameters or isinstance(part, _BatchNorm)
                    (averaged if mean and t.is_floating_point() else copied).append((tensors, name))
    return averaged, copied


def _at(places: Sequence[Place]) -> list[Tensor]:
    return [tensors[name] for tensors, name in places]
