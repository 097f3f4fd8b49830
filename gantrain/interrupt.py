"""Ctrl-C and SIGTERM taken at the end of a step, so that a stopped run leaves a checkpoint."""

from __future__ import annotations

import signal
import threading


class Interrupt:
    """While entered, remembers SIGINT and SIGTERM instead of dying from them.

    A second signal acts at once, as usual. Outside the main thread signals keep their usual effect.

    Attributes:
        received: number of the signal, or 0.
    """

    def __init__(self) -> None:
        self.received = 0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: object) -> None:
        self.received = number
        for each, handler in self._previous.items():
            signal.signal(each, handler)
