"""Standard output and standard error of a command, neither of which can end it."""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

_NAMES = {1: "stdout", 2: "stderr"}


class _Stream(io.FileIO):
    """A file that takes everything, and remembers the error if the system does not.

    Attributes:
        error: the latest error of the system, or None.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            written = super().write(data)
        except OSError as error:
            self.error = error
            written = None
        # What the system does not take is dropped. Python would raise an error, now or at its end.
        return len(memoryview(data).cast("B")) if written is None else written


def protect_output() -> None:
    """Make the output of this process never raise an error: into a closed pipe, a full disk or a terminal that is gone.

    Characters that the encoding lacks are written as escapes. A stream that was closed when the process started becomes
    the null device, so that no other file can take its number. Streams that Python code has replaced are left alone.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, name in _NAMES.items():
        old: IO[str] | None = getattr(sys, name)
        if old is not getattr(sys, f"__{name}__"):
            continue
        if old is not None:
            old.flush()
        raw = _Stream(number, "w", closefd=False)
        new = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=None if old is None else old.encoding,
            errors="backslashreplace",
            line_buffering=number == 2 or raw.isatty(),
        )
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def output_error() -> OSError | None:
    """The error because of which standard output has lost something; None if all is written, which is done first.

    There is none before :func:`protect_output`.
    """
    if sys.stdout is None:
        return None
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Stream) else None
