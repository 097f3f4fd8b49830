"""Waits that end, also where what is waited for never answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def within(seconds: float, function: Callable[[], Value]) -> Value:
    """What a function returns, or raises; it is called in a thread of its own, which is left behind when time is up.

    Raises:
        TimeoutError: the function did not return in time.
    """
    answers: list[Value] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            answers.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError
    return answers[0]
