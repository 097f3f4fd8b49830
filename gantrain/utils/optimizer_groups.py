"""The options in an optimizer's groups, which a trial must not change: some optimizers count their steps there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def options(optimizer: Optimizer) -> list[dict[str, Any]]:
    """A copy of the options of each group, without the parameters."""
    return [
        {key: _copied(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups
    ]


@contextmanager
def options_kept(optimizer: Optimizer) -> Iterator[None]:
    """At the end of the block the groups of the optimizer have the options that they had before."""
    saved = options(optimizer)
    try:
        yield
    finally:
        for group, before in zip(optimizer.param_groups, saved, strict=True):
            for key in group.keys() - before.keys() - {"params"}:
                del group[key]
            for key, value in before.items():
                if isinstance(value, Tensor) and isinstance(group.get(key), Tensor):
                    group[key].copy_(value)
                else:
                    group[key] = value


def _copied(value: Any) -> Any:
    """A copy of what a step may change in place."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    return copy.deepcopy(value) if isinstance(value, list | dict) else value
