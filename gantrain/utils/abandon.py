"""Long work that may be abandoned between two batches, because the run is asked to stop or to write a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Abandoned(Exception):
    """The work was abandoned; it leaves everything as it was, and is done again later."""


_asked: ContextVar[Callable[[], bool] | None] = ContextVar("asked", default=None)


def between_batches() -> None:
    """A place at which long work may be abandoned. Loops over batches call this before each batch.

    Raises:
        Abandoned: the work is abandoned; only inside :func:`abandonable`.
    """
    asked = _asked.get()
    if asked is not None and asked():
        raise Abandoned("abandoned because of a signal")


@contextmanager
def abandonable(asked: Callable[[], bool]) -> Iterator[None]:
    """Let :func:`between_batches` abandon the work of the block as soon as ``asked()`` is true."""
    token = _asked.set(asked)
    try:
        yield
    finally:
        _asked.reset(token)
