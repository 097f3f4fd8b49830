"""Errors on the way back through a graph, which torch reports without the line that made the graph."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from gantrain.config.user_code import innermost_line, lines_of, reported_elsewhere
from gantrain.errors import UserError

# A line of a traceback, as Python prints it.
_FRAME = re.compile(r'File "(.+)", line (\d+), in ')
# The last file of gantrain's that every objective passes; the lines before it are of the program that trains.
_EVALUATOR = str(Path(__file__).with_name("evaluator.py"))


@contextmanager
def explained(what: str, again: Callable[[], Any]) -> Iterator[None]:
    """In the block, an error of a pass backwards through code of the user's becomes one line that names the place.

    The place is the line in a pass backwards of the user's own, or else the line that called the operation whose pass
    backwards fails, since a tensor that it needs was changed in place, say. torch keeps such lines only when it is told
    to before, so that everything is computed once more. An error without a line of the user's passes through, and so
    does one that others report with advice of their own.

    Args:
        what: what is differentiated, for the message.
        again: does what is done in the block.

    Raises:
        UserError: the error as one line.
    """
    try:
        yield
    except Exception as error:
        if reported_elsewhere(error):
            raise
        place = innermost_line(lines_of(error.__traceback__)) or _place_of_operation(again)
        if not place:
            raise
        message = " ".join(str(error).partition(", is at version")[0].split())
        advice = ""
        if "inplace operation" in message:
            advice = "; a tensor that a gradient needs was changed later: write y = 2 * y, and not y *= 2 or y.mul_(2)"
        raise UserError(f"{what}: {type(error).__name__} on the way back: {message} ({place}){advice}") from error


def _place_of_operation(again: Callable[[], Any]) -> str:
    """The user's line that called the operation whose pass backwards fails; empty if there is none."""
    with warnings.catch_warnings(record=True) as told, suppress(Exception):
        warnings.simplefilter("always")
        with torch.autograd.set_detect_anomaly(True, check_nan=False):
            again()
    lines = [(file, int(line)) for each in told for file, line in _FRAME.findall(str(each.message))]
    begin = max((place for place, (file, _) in enumerate(lines) if file == _EVALUATOR), default=len(lines))
    return innermost_line(lines[begin:])
