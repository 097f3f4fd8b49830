"""Delays Ctrl-C and SIGTERM until the end of a step, so that a stopped run leaves a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantrain.distributed.processes import Processes

# The type of the handlers that signal.signal takes and returns.
Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
# The seconds in which a signal to one process reaches the other processes, if a step does not take longer.
SECONDS = 2.0


class Interrupt:
    """Inside the context, remembers SIGINT and SIGTERM instead of ending the process.

    A second signal acts at once, as usual. Outside the main thread signals keep their usual effect.

    Several processes ask each other whether one of them has received a signal. They do so at the same steps, which they
    choose by the duration of a step: seldom enough to cost no time, and often enough that a signal does not wait long.

    Args:
        processes: the processes of the run, all of which must enter the context; None for one process alone.

    Attributes:
        received: the number of the signal that was received, or 0.
    """

    def __init__(self, processes: Processes | None = None) -> None:
        self.received = 0
        self._processes = processes
        self._previous: dict[int, Handler] = {}
        self._last: tuple[int, float] | None = None
        self._next = 0

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def agreed(self, step: int, now: bool = False) -> bool:
        """Whether all processes stop after this step. All processes must call this with the same arguments.

        Args:
            step: the number of training steps taken.
            now: whether the processes ask each other in any case, because they wait for each other at this step anyway.
        """
        if self._processes is None or self._processes.world_size == 1:
            return bool(self.received)
        if step < self._next and not now:
            return False
        clock = time.monotonic()
        before, then = self._last or (step, clock)
        pace = (clock - then) / max(step - before, 1)
        number, pace = self._processes.all_reduce_max(self.received, pace)
        self._last = step, clock
        self._next = step + max(1, int(SECONDS / max(pace, 1e-6)) if before < step else 1)
        # A signal that arrived during the exchange is not part of it. It stays remembered for the next exchange.
        self.received = int(number) or self.received
        return bool(number)

    def _remember(self, number: int, _frame: object) -> None:
        self.received = number
        for each, handler in self._previous.items():
            signal.signal(each, handler)
