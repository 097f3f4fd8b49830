"""Batches of samples that are not in memory, read before they are asked for."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gantrain.data.storage import local_processes
from gantrain.distributed.environment import cores
from gantrain.errors import UserError

# Batches that each worker is asked for at once.
_EACH = 2
# Batches that are kept after they were asked for, or passed over.
_KEPT = 4
# More processes read no faster.
_MOST = 8
# Seconds that workers have to end by themselves before they are killed.
_PATIENCE = 5.0
# Seconds between two looks of a worker at whether the process that started it lives.
_WATCH_EVERY = 1.0

# Rows as an array, which is sent as bytes: for a tensor a worker would come back to this process, which may be gone.
_Request = tuple[int, int, np.ndarray]
_Answer = tuple[int, int, "Tensor | None"]

# Iterators over workers that live, and the process that started those: a process that is forked from it has a copy.
# Workers do not react to signals, so that none may be left when the process ends.
_RUNNING: dict[Any, int] = {}


def automatic_workers() -> int:
    """As many as there are cores for each process of the run on this host, at least 1 and at most 8."""
    return max(1, min(_MOST, cores() // local_processes()))


class Prefetcher:
    """The stored samples of each draw, or of a share of it; whole batches are read by worker processes ahead of time.

    Draws are expected one after the other from the first that is asked for. The workers stay ahead of the last one, and
    go on from a later one where some are left out. What was read lately is kept, so that a draw may be asked for again,
    or after the one that follows it; anything else is read when it is asked for. What is read of a draw is the span of
    all shares that have been asked for, so that roles and micro-batches share their reads.

    The workers end with :meth:`close`, with this object, or with the process, also if that is killed. A worker that is
    stuck in a read, as of a file system that no longer answers, ends with them: it is killed after five seconds. The
    workers leave signals to the process that started them, which may want more batches before it stops.

    Args:
        samples: unread, as :class:`gantrain.data.readers.file_samples.FileSamples`.
        rows: ``rows(draw, first, count)``: which samples are at the positions from ``first`` of the draw's batch.
        workers: number of processes; 0 reads in this one, and nothing ahead.
    """

    def __init__(self, samples: Any, rows: Callable[[int, int, int], Tensor], workers: int):
        self._samples = samples
        self._requests = _Requests(rows)
        self._workers = workers
        self._answers: Any = None
        self._kept: OrderedDict[int, tuple[int, Tensor]] = OrderedDict()

    def __call__(self, draw: int, first: int, count: int) -> Tensor:
        """The samples at ``count`` positions of a batch from ``first``.

        Raises:
            UserError: an image cannot be read, or a worker has ended.
        """
        end = first + count
        self._requests.widen(first, end)
        if draw not in self._kept and self._workers:
            self._advance(draw)
        start, samples = self._kept.get(draw, (first, ()))
        if not start <= first <= end <= start + len(samples):
            _, start, rows = self._requests.about(draw)
            samples = self._samples[torch.from_numpy(rows)].to("cpu")
            self._keep(draw, start, samples)
        return samples[first - start : end - start]

    def close(self) -> None:
        """End the workers, within seconds even if one is stuck in a read; they start again when they are needed."""
        if self._answers is not None:
            self._finalizer()
            self._answers = None

    def _advance(self, draw: int) -> None:
        """Take what the workers have read up to a draw, unless they are past it."""
        if self._answers is None:
            self._requests.begin(draw)
            self._answers = self._start()
            # It holds the iterator, whose queues must be whole when it ends, also where this object is part of a cycle.
            self._finalizer = weakref.finalize(self, _end, self._answers)
            self._finalizer.atexit = False
        elif draw >= self._requests.upcoming:
            self._requests.upcoming = draw
        elif draw not in self._requests.asked:
            return
        taken = None
        while taken != draw:
            try:
                taken, first, samples = next(self._answers)
            except (RuntimeError, EOFError, OSError) as error:  # the last two where it dies while it answers
                why = " ".join(str(error).split())
                raise UserError(
                    f"data.workers: a process that reads the data has ended ({why}); if memory ran out, use fewer"
                ) from error
            self._requests.asked.popleft()
            if samples is not None:
                self._keep(taken, first, samples)

    def _keep(self, draw: int, first: int, samples: Tensor) -> None:
        self._kept[draw] = first, samples
        self._kept.move_to_end(draw)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _start(self) -> Any:
        """torch's iterator over the answers of new workers, without the signals and words that it would add."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # the workers inherit it
        ended = signal.getsignal(signal.SIGCHLD)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This DataLoader will create")  # as many as were asked for
                loader = DataLoader(
                    _Reader(self._samples),
                    batch_size=None,
                    sampler=self._requests,
                    num_workers=self._workers,
                    prefetch_factor=_EACH,
                    collate_fn=_as_it_is,
                    multiprocessing_context="fork",
                    worker_init_fn=partial(_end_with, os.getpid()),
                    generator=torch.Generator(),  # the global one is left alone
                )
                answers = iter(loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            # torch's handler raises wherever this process is when a worker dies; fetching a batch finds out as well.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, ended or signal.SIG_DFL)
        _RUNNING[answers] = os.getpid()
        return answers


class _Requests:
    """What the workers are asked for: one draw after the other, each when a worker has room for it.

    Attributes:
        upcoming: the next draw that will be asked for.
        asked: draws that were asked for and are not answered, in order.
    """

    def __init__(self, rows: Callable[[int, int, int], Tensor]):
        self._rows = rows
        self._span: tuple[int, int] | None = None
        self.begin(0)

    def begin(self, draw: int) -> None:
        """Nothing is asked for, and this draw will be first."""
        self.upcoming = draw
        self.asked: deque[int] = deque()

    def widen(self, first: int, end: int) -> None:
        """From now on positions from ``first`` up to ``end`` belong to a request."""
        if self._span is not None:
            first, end = min(first, self._span[0]), max(end, self._span[1])
        self._span = first, end

    def about(self, draw: int) -> _Request:
        """The draw, the first position of its batch that is wanted, and the samples there and at those that follow."""
        first, end = self._span
        return draw, first, self._rows(draw, first, end - first).numpy()

    def __iter__(self) -> Iterator[_Request]:
        while True:
            draw = self.upcoming
            self.upcoming += 1
            self.asked.append(draw)
            yield self.about(draw)


class _Reader:
    """What a worker does: the samples of a request, or None where they cannot be read."""

    def __init__(self, samples: Any):
        self._samples = samples

    def __getitem__(self, request: _Request) -> _Answer:
        draw, first, rows = request
        try:
            return draw, first, self._samples[torch.from_numpy(rows)].to("cpu")
        except Exception:
            return draw, first, None  # who asks for the draw will meet it


def _as_it_is(answer: _Answer) -> _Answer:
    return answer


def _end_with(parent: int, worker: int) -> None:
    """Let this worker end when the process that started it has ended, even if the worker is stuck in a read then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_EVERY)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end(answers: Any) -> None:
    """End the workers of an iterator. Those that have not ended after ``_PATIENCE`` seconds are killed."""
    if _RUNNING.get(answers) != os.getpid():
        return
    del _RUNNING[answers]
    # torch asks the workers to end as well, but then waits for one after the other, and its SIGTERM is blocked.
    answers._workers_done_event.set()
    for number, works in enumerate(answers._workers_status):
        if works:
            answers._mark_worker_as_unavailable(number, shutdown=True)
    deadline = time.monotonic() + _PATIENCE
    for worker in answers._workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    for worker in answers._workers:
        if worker.is_alive():
            worker.kill()
    answers._shutdown_workers()


@atexit.register
def _end_all() -> None:
    for answers in list(_RUNNING):
        _end(answers)
