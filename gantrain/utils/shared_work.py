"""Work of which several processes, each of which needs all results, do a part each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Sharing:
    """The processes that build the same objects in the same order, and may share the work.

    Attributes:
        rank, world_size: the number of this process, and the number of all.
        local_rank, local_world_size: the same among the processes of this host.
        share: calls a function, and returns what it has returned in each process, in the order of their numbers; all
            must call it. If it raises an error in one process, that ends the work of all.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    share: Callable[[Callable[[], Any]], list[Any]]


_sharing: ContextVar[Sharing | None] = ContextVar("sharing", default=None)


@contextmanager
def sharing(others: Sharing | None) -> Iterator[None]:
    """In the block this process shares work with the others; with None it works alone, as outside of any block."""
    token = _sharing.set(others)
    try:
        yield
    finally:
        _sharing.reset(token)


def others() -> Sharing | None:
    """The processes with which this one shares work; None if it works alone."""
    found = _sharing.get()
    return None if found is None or found.world_size == 1 else found


def shared_out(count: int, work: Callable[[int], Value]) -> Sequence[Value]:
    """The results ``work(0)`` to ``work(count - 1)``.

    Inside :func:`sharing` each process does some of the work and gets the results of all, pickled on the way.

    Args:
        count: the number of results, the same in all processes.
        work: is called with the number of a result, which must not depend on the process.
    """
    found = others()
    if found is None:
        return [work(number) for number in range(count)]
    numbers = range(found.rank, count, found.world_size)
    gathered = found.share(lambda: [work(number) for number in numbers])
    return [gathered[number % found.world_size][number // found.world_size] for number in range(count)]


def everywhere(holds: bool) -> bool:
    """Whether something holds in all processes that share work, which then decide alike; else whether it holds here."""
    found = others()
    return holds if found is None else all(found.share(lambda: holds))
