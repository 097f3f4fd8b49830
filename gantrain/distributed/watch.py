"""Noticing that another process is lost while this one waits for its GPU, where nothing else would tell.

A collective of NCCL waits on the GPU. If a process that takes part in it was killed or stopped, the GPU of each other
process waits too, and with it the program, as soon as it reads a number from there. A thread of each process therefore
exchanges signs with the others over gloo, which notices at once when a process has ended. When one is lost, the thread
aborts NCCL, so that the program comes back from the GPU, and finds the error here.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed as dist

from gantrain.utils.waiting import within

# Seconds between two signs.
_BEAT = 0.25
# What a process says: that it goes on, that it is done, or that it gives up and has left its error in the store.
_STAYS, _LEAVES, _GIVES_UP = 0, 1, 2
# NCCL has the timeout of the run, after which it ends the process without a line. The thread waits for this share.
_SHARE = 0.9
# Seconds that aborting may take, and those in which the program must then have come back.
_GRACE = 10.0

_watches: list[Watch] = []


class Watch:
    """A thread that exchanges signs with the other processes; all processes make it, and leave it, at the same time.

    When a process is lost, :attr:`error` is set, and the communication of this process is aborted. If the program does
    not come back from the GPU then, the thread ends the process with a line and the exit code 2.

    Args:
        timeout: the seconds for which a process may be silent; the thread waits for nine tenths of them.
        line: makes the line that the thread prints in that case, from the error by which it noticed.

    Attributes:
        error: how a lost process was noticed, or None.
        seconds: the seconds for which the thread waits.
    """

    def __init__(self, timeout: float, line: Callable[[Exception], str]):
        self.error: RuntimeError | None = None
        self.seconds = _SHARE * timeout
        self._line = line
        self._sign = _STAYS
        self._leaving = threading.Event()
        self._everyone = dist.group.WORLD  # kept, since whoever drops a group waits for what it does
        signs = dist.new_group(backend="gloo", timeout=timedelta(seconds=self.seconds))
        assert isinstance(signs, dist.ProcessGroup)  # not torch's placeholder for groups of other processes
        # Processes connect when they first exchange something, and the loss of one shows at once in a connection only.
        dist.all_reduce(torch.tensor([_STAYS]), dist.ReduceOp.MAX, group=signs)
        self._signs = signs
        self._thread = threading.Thread(target=self._exchange, daemon=True)
        _watches.append(self)
        self._thread.start()

    def leave(self, in_order: bool) -> None:
        """End the watch of all processes, each of which takes notice within a second.

        Args:
            in_order: whether the others may go on to their ends; else they find an error, and give up.
        """
        self._sign = _LEAVES if in_order else _GIVES_UP
        self._leaving.set()
        self._thread.join(_GRACE)
        _watches.remove(self)

    def _exchange(self) -> None:
        try:
            found = _STAYS
            while found == _STAYS:
                self._leaving.wait(_BEAT)
                sign = torch.tensor([self._sign])
                dist.all_reduce(sign, dist.ReduceOp.MAX, group=self._signs)
                found = int(sign)
            if found == _GIVES_UP:
                raise dist.DistError("it gave up")
        except RuntimeError as error:
            if not self._leaving.is_set():
                self._give_up(error)

    def _give_up(self, error: RuntimeError) -> None:
        self.error = error  # before the abort, after which the numbers on the GPU mean nothing
        abort()
        if not self._leaving.wait(_GRACE):
            end_at_once(self._line(error))


def require_others(waited: float = 0.0) -> None:
    """Refuse to go on if a process is lost, or if this one has waited too long for its GPU.

    Args:
        waited: the seconds for which the program has waited for a step of the GPU.

    Raises:
        RuntimeError: a process is lost.
    """
    for watch in _watches:
        if watch.error is not None:
            raise dist.DistError(str(watch.error)) from watch.error
        if waited > watch.seconds:
            raise dist.DistError("the GPU waits for another process: timed out")


def abort() -> bool:
    """End all communication of this process without waiting for the others; whether that took no longer than it may."""

    def call() -> None:
        if dist.is_initialized():
            dist.distributed_c10d._abort_process_group()

    try:
        within(_GRACE, call)
    except TimeoutError:
        return False
    except (RuntimeError, ValueError):
        pass  # there was nothing left to end
    return True


def end_at_once(line: str) -> None:
    """End this process, whatever it waits for, with a line for the user and the exit code 2."""
    print(f"gantrain: {line}", file=sys.stderr, flush=True)
    os._exit(2)
