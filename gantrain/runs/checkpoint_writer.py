"""Checkpoints that are written while the training goes on."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from gantrain.data.storage import available
from gantrain.errors import Notice, is_out_of_memory
from gantrain.utils.abandon import Abandoned, abandonable
from gantrain.utils.tensors import map_tensors

State = dict[str, Any]


class CheckpointWriter:
    """Writes states one after the other, in a thread beside the training.

    The training waits only until its state is copied into memory of the CPU, and for the write before, so that there is
    one copy at most. Its memory is used again. Where there is no memory for a copy, or no thread, the training waits
    until the state is written.

    An error of a write is raised by the next call. At the end of the context the last write is waited for; if the block
    ends by a KeyboardInterrupt or another interruption, it is abandoned between two files and leaves nothing that a
    reader would take for a checkpoint.
    """

    def __init__(self) -> None:
        # Not the thread's join: interrupted by Ctrl-C, Python up to 3.12 takes the thread for ended.
        self._idle = threading.Event()
        self._idle.set()
        self._error: BaseException | None = None
        self._abandoned = False
        self._copies: list[Tensor] = []
        self._process = os.getpid()

    @property
    def failed(self) -> bool:
        """Whether a write has failed whose error is still to be raised."""
        return self._error is not None

    def save(self, state: State, write: Callable[[State], None]) -> None:
        """Copy a state, and have the copy written.

        Args:
            state: a tree of dict, list, tuple, tensors and values that do not change.
            write: is called in the thread with the copy, whose tensors lie on the CPU, or at once with the state.

        Raises:
            Exception: that of the write before.
        """
        self.wait()
        copy = self._copy(state)
        if copy is None or not self._started(write, copy):
            self._run(write, state)
            self.wait()

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            Exception: that of the write.
        """
        self._idle.wait()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # The thread is not in a process that was forked.
        if os.getpid() != self._process:
            return
        self._abandoned = kind is not None and not issubclass(kind, (Exception, SystemExit))
        try:
            self.wait()
        except Exception as late:
            if kind is None:
                raise
            if str(late) == str(error):  # the error of the run says the same
                return
            warnings.warn(f"the last checkpoint is not written: {late}", Notice, stacklevel=2)
        self._copies = []

    def _started(self, write: Callable[[State], None], state: State) -> bool:
        """Begin to write in the thread; False where the system gives none."""
        self._idle.clear()
        try:
            threading.Thread(target=self._run, args=(write, state), daemon=True).start()
        except RuntimeError:
            self._idle.set()
            return False
        return True

    def _run(self, write: Callable[[State], None], state: State) -> None:
        try:
            with abandonable(lambda: self._abandoned):
                write(state)
        except Abandoned:
            pass
        except BaseException as error:  # a panic in a library of Rust is no Exception
            self._error = error
        finally:
            self._idle.set()

    def _copy(self, state: State) -> State | None:
        """The state with copies of its tensors; None if there is no memory for them, or if one cannot be copied."""
        tensors: list[Tensor] = []
        map_tensors(state, lambda t: tensors.append(t.detach()))
        # Of a sparse tensor the write says that it cannot be saved.
        if any(t.layout != torch.strided for t in tensors) or not self._allocated(tensors):
            return None
        with torch.no_grad():
            for copy, t in zip(self._copies, tensors, strict=True):
                copy.copy_(t, non_blocking=True)
        for device in {t.device for t in tensors if t.device.type != "cpu"}:
            torch.accelerator.current_stream(device).synchronize()
        copies = iter(self._copies)
        return map_tensors(state, lambda _: next(copies))

    def _allocated(self, tensors: list[Tensor]) -> bool:
        """Whether there is memory for copies of the tensors. That of earlier copies is used again if it fits."""
        if [(t.shape, t.dtype) for t in tensors] == [(t.shape, t.dtype) for t in self._copies]:
            return True
        self._copies = []
        if sum(t.nbytes for t in tensors) > available():
            return False
        try:
            self._copies = [_memory_for(t) for t in tensors]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        return len(self._copies) == len(tensors)


def _memory_for(t: Tensor) -> Tensor:
    memory = torch.empty(t.shape, dtype=t.dtype)
    # A device sends to pinned memory while the program goes on.
    return memory if t.device.type == "cpu" else memory.pin_memory()
