"""Things that are slow to make, kept from one run to the next in a process that trains several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Value = TypeVar("Value")

_kept: ContextVar[dict[str, tuple[Any, Any]] | None] = ContextVar("kept", default=None)


@contextmanager
def keep() -> Iterator[None]:
    """In the block, :func:`kept` keeps what it makes. Elsewhere it makes everything anew."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def kept(kind: str, key: Any, make: Callable[[], Value]) -> Value:
    """What ``make()`` returned when it was last called for this kind, if that was with the same key.

    One thing of each kind is kept. Whoever uses it must leave it as it is.

    Args:
        kind: what the thing is.
        key: everything that the thing depends on; it is compared by ``==``.
        make: makes the thing.
    """
    known = _kept.get()
    if known is None:
        return make()
    if kind in known and known[kind][0] == key:
        found: Value = known[kind][1]
        return found
    known.pop(kind, None)  # before the next one takes memory
    made = make()
    known[kind] = key, made
    return made
