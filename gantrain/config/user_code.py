"""Errors in the user's own code: one line that names the part, its key, and the line of the code."""

from __future__ import annotations

import inspect
import os
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from gantrain.config.types import shown
from gantrain.errors import NotFound, UserError, is_out_of_memory, lost_another, nondeterministic_operation

# Code that belongs to these packages is not the user's.
_LIBRARIES = ("gantrain", "torch", "torchvision", "transformers")
_FOLDERS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(__file__).parent.parent,
        *(sysconfig.get_path(place) for place in ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)
# So much of an error's own message is quoted.
_LONGEST = 200


def is_users(part: Any) -> bool:
    """Whether the class of a part, or a class or function itself, is the user's own."""
    return _module(part).partition(".")[0] not in _LIBRARIES


class UserCode:
    """A context in which an exception out of a user's part becomes one line that names the part.

    So does an exception out of an optimizer or a scheduler of torch's, which refuses a setting. The lack of memory,
    errors of the compiler, operations that ``run.deterministic`` refuses, and the end of another process pass through:
    others report them with advice of their own. An error in gantrain's own code passes through, too.

    Args:
        key: the key of the part in a config.
        part: the part: an object, or the class or function that makes one. In a network of torch's, such as
            ``nn.Sequential``, any module may be the user's.
        advice: what a user may not know about the call, for the end of the message.
    """

    def __init__(self, key: str, part: Any, advice: str = ""):
        self.key = key
        self.part = part
        self.advice = advice

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if not isinstance(error, Exception | SystemExit) or reported_elsewhere(error):
            return
        place = innermost_line(lines_of(trace))
        if isinstance(error, SystemExit) and not place:
            return
        module = _module(self.part)
        refused = module.startswith("torch.optim") and not isinstance(self.part, type)
        if is_users(self.part) or refused or (place and module.startswith("torch.")):
            message = " ".join(str(error).split())
            message = f": {message[:_LONGEST]}" if message else ""
            raised = NotFound if isinstance(error, FileNotFoundError) else UserError
            raise raised(
                f"{self.key}: {name_of(self.part)} raised {type(error).__name__}{message}"
                + ("" if refused and not place else f" ({place or _definition(self.part)})")
                + (f"; {self.advice}" if self.advice else "")
            ) from error


def name_of(part: Any) -> str:
    """The name of a part's class, or of a class or function itself, for messages."""
    return str(getattr(part, "__name__", None) or type(part).__name__)


def described(value: Any) -> str:
    """What a user's part returned, as messages name it: a tensor by its shape, type and device."""
    if all(hasattr(value, key) for key in ("shape", "dtype", "device", "requires_grad")):
        dtype = str(value.dtype).removeprefix("torch.")
        return f"a tensor of shape {tuple(value.shape)}, {dtype}, on {value.device}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"{shown(value)} ({type(value).__name__})"


def _module(part: Any) -> str:
    found = getattr(part, "__module__", None) or type(part).__module__
    return found if isinstance(found, str) else ""


def reported_elsewhere(error: BaseException) -> bool:
    """Whether an error is one line already, or is made one with advice of its own: see :class:`UserCode`."""
    compiler = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
    told = isinstance(error, UserError) or is_out_of_memory(error)
    return told or compiler or nondeterministic_operation(error) is not None or lost_another(error)


def lines_of(trace: TracebackType | None) -> Iterator[tuple[str, int]]:
    """The files and lines of a traceback, the innermost last."""
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def innermost_line(lines: Iterable[tuple[str, int]]) -> str:
    """The innermost line of the user's own among those of a traceback; empty if there is none."""
    place = ""
    for file, line in lines:
        if not file.startswith(("<", *_FOLDERS)):
            place = f"{Path(file).name}:{line}"
    return place


def _definition(part: Any) -> str:
    """The place where the class or function of a part is defined: what is called wrongly has no line of its own."""
    code = part if inspect.isroutine(part) or isinstance(part, type) else type(part)
    try:
        return f"{Path(inspect.getsourcefile(code) or '').name}:{inspect.getsourcelines(code)[1]}"
    except (OSError, TypeError):
        return f"defined in {_module(part)}"
