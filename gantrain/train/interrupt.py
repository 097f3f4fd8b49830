"""Delays signals until the end of a step, or of a batch of an evaluation, so that a run leaves a checkpoint."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from gantrain.distributed.processes import Processes

# The type of the handlers that signal.signal takes and returns.
Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
# The seconds in which a signal to one process reaches the other processes, if a step does not take longer.
SECONDS = 2.0
# Seconds between two looks, within an evaluation, at whether another process has received a signal.
_PAUSE = 0.2
# Signals that stop a run, those of them of which a second one acts at once, and those that make it write a checkpoint.
# Not every system has all of them. A lost connection may send SIGHUP twice, by the shell and by the system.
_STOP = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
_AT_ONCE = (signal.SIGINT, signal.SIGTERM)
_SAVE = [number for name in ("SIGUSR1",) if (number := getattr(signal, name, None))]
# Numbers the contexts of a process, so that several have each notices of their own.
_contexts = itertools.count()


class Interrupt:
    """Inside the context, remembers signals instead of ending the process.

    SIGINT, SIGTERM and SIGHUP ask for a stop, SIGUSR1 for a checkpoint. A second SIGINT or SIGTERM acts at once, as
    usual. SIGHUP stays ignored where it is, as under ``nohup``. Outside the main thread signals keep their usual
    effect.

    Several processes ask each other whether one of them has received a signal. They do so at the same steps, which they
    choose by the duration of a step: seldom enough to cost no time, and often enough that a signal does not wait long.

    Args:
        processes: the processes of the run, all of which must enter the context; None for one process alone.

    Attributes:
        received: the number of the signal that asked for a stop, or 0.
        wanted: whether a checkpoint is asked for.
    """

    def __init__(self, processes: Processes | None = None) -> None:
        self.received = 0
        self.wanted = False
        self._processes = processes
        self._previous: dict[int, Handler] = {}
        self._last: tuple[int, float] | None = None
        self._next = 0
        self._context = next(_contexts)
        self._saved = 0
        self._looked = 0.0

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (*_STOP, *_SAVE):
                if number in _STOP and number not in _AT_ONCE and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def agreed(self, step: int, now: bool = False) -> Literal["stop", "save"] | None:
        """What all processes do after this step. All processes must call this with the same arguments.

        Args:
            step: the number of training steps taken.
            now: whether the processes ask each other in any case, because they wait for each other at this step anyway.

        Returns:
            "stop": write a checkpoint and stop; "save": write a checkpoint; or None.
        """
        wanted = self.wanted
        if self._processes is not None and self._processes.world_size > 1:
            if step < self._next and not now:
                return None
            clock = time.monotonic()
            before, then = self._last or (step, clock)
            pace = (clock - then) / max(step - before, 1)
            number, wants, pace = self._processes.all_reduce_max(self.received, wanted, pace)
            self._last = step, clock
            self._next = step + max(1, int(SECONDS / max(pace, 1e-6)) if before < step else 1)
            # A signal that arrived during the exchange is not part of it. It stays remembered for the next exchange.
            self.received = int(number) or self.received
            stop, save = bool(number), bool(wants)
        else:
            stop, save = bool(self.received), wanted
        if save:
            self._saved += 1
            self.wanted = self.wanted and not wanted
        return "stop" if stop else "save" if save else None

    def asked(self) -> bool:
        """Whether some process has received a signal. Processes may call this at any time, each as often as it likes.

        A process that finds a signal tells the others, each of which finds it at one of its next calls. What they do
        about it they decide together, by :meth:`agreed`.
        """
        found = bool(self.received) or self.wanted
        if self._processes is None or self._processes.world_size == 1:
            return found
        notice = f"interrupted/{self._context}/{self._saved}"
        if found:
            self._processes.post(notice)
        elif time.monotonic() - self._looked >= _PAUSE:
            self._looked = time.monotonic()
            found = self._processes.posted(notice)
        return found

    def _remember(self, number: int, _frame: object) -> None:
        if number in _SAVE:
            self.wanted = True
            return
        self.received = self.received or number
        for each in _AT_ONCE:
            signal.signal(each, self._previous[each])


def ignore_requests() -> None:
    """Ignore, until a run can write a checkpoint, the signals that ask for one: by themselves they end a process."""
    for number in _SAVE:
        signal.signal(number, signal.SIG_IGN)
