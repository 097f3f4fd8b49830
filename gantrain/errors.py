"""Errors and notices whose text is meant for the user, and how errors of torch that have advice are told apart."""

from __future__ import annotations

import re
from typing import TypeGuard

# torch has a class of error for its own GPU allocator only. Its CPU allocator, cuBLAS, cuDNN and the CUDA driver raise
# RuntimeErrors that are told apart by their text.
_MEMORY = re.compile(r"out of memory|(can't|cannot) allocate|not enough memory|ALLOC_FAILED", re.IGNORECASE)
BEYOND_ANY_MEMORY = re.compile(
    "size calculation overflowed|multiplication overflow|Overflow when unpacking|represented as a SymInt|"
    "array is too big|Maximum allowed (size|dimension)|index-sized integer|int too (big|large)|string is too large|"
    "negative dimension"
)
"""What torch, numpy and Python say of a size whose number of bytes is beyond 64 bits."""

# What torch says of an operation without a deterministic algorithm, which it names first.
_NONDETERMINISTIC = re.compile(
    r"(\S+) does not have a deterministic implementation|not deterministic because it uses CuBLAS"
)


class UserError(Exception):
    """An error the user can mend: one line on what was wrong, where, what was expected and what to do.

    The command line prints the line without a traceback and exits with code 2.

    Attributes:
        shared: whether all processes of the run raise this error, so that it is enough if one of them prints it.
    """

    shared = False


class NotFound(UserError):
    """Nothing lies at a path. Data that are missing may have been moved."""


class Diverged(UserError):
    """The training left the finite numbers. An earlier checkpoint is a place from which it may go another way."""


class Hopeless(Diverged):
    """An evaluation has found a value beyond the bound at which the run ends. No earlier checkpoint helps."""


class Misplaced(UserError):
    """The folder into which a run writes was deleted, moved or replaced. Nothing more can be saved."""


class Notice(UserWarning):
    """A line for the user about something that does not stop the command; it is printed without its source."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that a device or the host has no memory left, or that none could have enough."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, RuntimeError) and _MEMORY.search(str(error)):
        return True
    known = isinstance(error, RuntimeError | ValueError | TypeError | OverflowError)
    return known and BEYOND_ANY_MEMORY.search(str(error)) is not None


def lost_another(error: BaseException) -> TypeGuard[RuntimeError]:
    """Whether the error says that another process has ended, or does not answer. gloo has no class of errors."""
    known = any(cls.__name__ == "DistError" for cls in type(error).__mro__)
    return isinstance(error, RuntimeError) and (known or "gloo" in str(error))


def nondeterministic_operation(error: BaseException) -> str | None:
    """The operation of which torch says that it gives other bits each time; None for any other error."""
    found = _NONDETERMINISTIC.search(str(error)) if isinstance(error, RuntimeError) else None
    return None if found is None else found[1] or "products under this CUBLAS_WORKSPACE_CONFIG"
