"""Gradients on their way between processes.

Both functions return at once, so that this process works on other things meanwhile. What they return is a function that
waits for the gradients to arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.games.base import Gradient
from gantrain.utils.shards import is_shard


def begin_mean(processes: Processes, gradients: Sequence[Gradient]) -> Callable[[], list[Gradient]]:
    """Begin to average gradients over all processes.

    Args:
        processes: the processes, all of which must call this.
        gradients: the gradients that this process has found.
    """
    # The gradient of a sharded network is the mean already.
    finish = processes.begin_mean([g for g in _tensors(gradients) if not is_shard(g)])

    def finished() -> list[Gradient]:
        means = iter(finish())
        return _filled(gradients, [g if is_shard(g) else next(means) for g in _tensors(gradients)])

    return finished


def begin_exchange(processes: Processes, gradients: Sequence[Sequence[Gradient]]) -> Callable[[], list[Gradient]]:
    """Begin to send this process' gradients to those with other roles, and to receive theirs.

    Args:
        processes: the processes, all of which must call this.
        gradients: for each role its gradients. Those of this process' role are sent, and are averaged over the
            processes with this role; of the others only the layout counts.

    Returns:
        A function that waits for the gradients of all roles, in the order of the roles.
    """
    finish = processes.begin_exchange([_tensors(each) for each in gradients])
    return lambda: [g for own, found in zip(gradients, finish(), strict=True) for g in _filled(own, found)]


def _tensors(gradients: Iterable[Gradient]) -> list[Tensor]:
    return [g for gradient in gradients for g in gradient if g is not None]


def _filled(gradients: Iterable[Gradient], tensors: Iterable[Tensor]) -> list[Gradient]:
    """The gradients with other tensors in the place of their own."""
    found = iter(tensors)
    return [[None if g is None else next(found) for g in gradient] for gradient in gradients]
