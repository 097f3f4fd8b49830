"""Reading of samples from files by worker processes, ahead of the draws that need them."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from gantrain.config.sections import TIMEOUT
from gantrain.data.dataset import Samples
from gantrain.data.storage import local_processes
from gantrain.distributed.environment import cores
from gantrain.errors import UserError
from gantrain.utils.open_files import affordable
from gantrain.utils.parent import when_parent_ends
from gantrain.utils.waiting import within

# Number of batches that each worker is asked for at once.
_EACH = 2
# Number of batches that are kept after they were asked for or passed over.
_KEPT = 4
# The largest number of workers; more read no faster.
_MOST = 8
# Seconds that workers have to end by themselves before they are killed.
_PATIENCE = 5.0
# Seconds between two looks at whether all workers live, while an answer is waited for.
_LOOK_EVERY = 5.0
# The files that a process opens for each worker, as pipes and for answers in shared memory, and for other things.
_FILES_EACH, _FILES_SPARE = 6, 32

# The rows are an array, which is sent as bytes. A tensor a worker would fetch from this process, which may have ended.
_Request = tuple[int, int, np.ndarray]
_Answer = tuple[int, int, Tensor | None]

# Iterators over workers that live, and the process that started those: a process that is forked from it has a copy.
# Workers do not react to signals, so that none may be left when the process ends.
_RUNNING: dict[Any, int] = {}


def automatic_workers() -> int:
    """The number of cores for each process of the run on this host, but at least 1 and at most 8.

    It is less, down to 0, where the system lets this process open too few files.
    """
    admitted, _ = affordable(_MOST, _FILES_EACH, _FILES_SPARE)
    return min(max(1, min(_MOST, cores() // local_processes())), admitted)


class Prefetcher:
    """The stored samples of each draw, or of a share of it, which worker processes read ahead of time.

    Draws are expected in order, from the first that is asked for. The workers stay ahead of the draw that was asked for
    last; where draws are left out, they go on from the later one. The latest reads are kept, so that a draw may be
    asked for again, or after the draw that follows it. Other draws are read when they are asked for. A read covers all
    shares of a batch that have been asked for so far, so that roles and micro-batches share their reads.

    The workers end with :meth:`close`, with this object, or with the process, also if that is killed. A worker that is
    stuck in a read, as of a file system that no longer answers, ends with them: it is killed after five seconds. The
    workers leave signals to the process that started them, which may want more batches before it stops.

    Args:
        samples: unread samples, such as :class:`gantrain.data.readers.file_samples.FileSamples`.
        rows: ``rows(draw, first, count)`` returns the rows of the samples at ``count`` positions of the draw's batch
            from the position ``first``.
        workers: the number of worker processes; with 0 this process reads, and not ahead of time.
        timeout: the seconds that the workers may take for a read.
        select: ``select(draw, first, rows)`` returns the samples of these rows as the draw sees them, in whose batch
            the first of them is at the position ``first``; by default ``samples[rows]``.

    Raises:
        UserError: the system lets this process open too few files for so many workers.
    """

    def __init__(
        self,
        samples: Samples,
        rows: Callable[[int, int, int], Tensor],
        workers: int,
        timeout: float = TIMEOUT,
        select: Callable[[int, int, Tensor], Samples] | None = None,
    ):
        admitted, limit = affordable(workers, _FILES_EACH, _FILES_SPARE)
        if workers > admitted:
            raise UserError(
                f"data.workers: {workers} workers need {_FILES_EACH * workers + _FILES_SPARE} more open files, and the "
                f"system's limit is {limit} in all; use data.workers={admitted}, or a higher `ulimit -n`"
            )
        self._timeout = timeout
        self._select = select or (lambda draw, first, rows: samples[rows])
        self._requests = _Requests(rows)
        self._workers = workers
        self._answers: Any = None
        self._kept: OrderedDict[int, tuple[int, Tensor]] = OrderedDict()

    def __call__(self, draw: int, first: int, count: int) -> Tensor:
        """The samples at ``count`` positions of a draw's batch from the position ``first``.

        Raises:
            UserError: an image cannot be read, a worker cannot start or has ended, or a read takes too long.
        """
        end = first + count
        self._requests.widen(first, end)
        if draw not in self._kept and self._workers:
            self._advance(draw)
        kept = self._kept.get(draw)
        if kept is None or not kept[0] <= first <= end <= kept[0] + len(kept[1]):
            _, start, rows = self._requests.about(draw)
            kept = start, self._select(draw, start, torch.from_numpy(rows)).to("cpu")
            self._keep(draw, *kept)
        start, samples = kept
        return samples[first - start : end - start]

    def close(self) -> None:
        """End the workers, within seconds even if one is stuck in a read; they start again when they are needed."""
        if self._answers is not None:
            self._finalizer()
            self._answers = None

    def _advance(self, draw: int) -> None:
        """Take the answers of the workers up to a draw, unless they are past it."""
        if self._answers is None:
            self._requests.begin(draw)
            self._answers = self._start()
            # The finalizer holds the iterator, whose queues must still exist when the workers are ended, also where
            # this object is part of a reference cycle.
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
            except (RuntimeError, EOFError, OSError) as error:  # the last two if it dies while it answers
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
        """torch's iterator over the answers of new workers, without torch's signal handler and warning."""
        # The workers inherit the mask.
        before = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
        )
        ended = signal.getsignal(signal.SIGCHLD)
        others = set(multiprocessing.active_children())
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This DataLoader will create")  # the user chose this number
                loader: DataLoader[_Answer] = DataLoader(
                    _Reader(self._select),
                    batch_size=None,
                    sampler=self._requests,
                    num_workers=self._workers,
                    prefetch_factor=_EACH,
                    collate_fn=_as_it_is,
                    multiprocessing_context="fork",
                    worker_init_fn=partial(_end_with, os.getpid()),
                    generator=torch.Generator(),  # the global one is left alone
                )
                answers: Any = _Answers(loader)
        except (OSError, RuntimeError) as error:
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise UserError(
                f"data.workers: {self._workers} workers cannot be started ({error}); use fewer, or a higher limit of "
                "processes and open files (ulimit -u, ulimit -n)"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            # torch's handler raises an error wherever this process is when a worker dies. The next fetch of a batch
            # notices a dead worker without it.
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, ended or signal.SIG_DFL)
        answers.timeout = self._timeout
        _RUNNING[answers] = os.getpid()
        return answers


class _Answers(_MultiProcessingDataLoaderIter):
    """torch's iterator over the answers of workers, which does not wait for an answer without end."""

    timeout: float

    def __init__(self, loader: DataLoader[_Answer]):
        try:
            super().__init__(loader)
        except BaseException:
            self._shutdown = True  # otherwise torch would try to end workers that it did not start
            raise

    def _get_data(self) -> Any:
        try:
            # A worker that is stopped after it has answered keeps this process waiting for the answer's memory, too.
            return within(self.timeout + _LOOK_EVERY, self._waited)
        except TimeoutError:
            raise UserError(
                f"data.workers: a read of the data takes more than {self.timeout:g} s; see whether the disk still "
                "answers, and go on with --resume, or wait longer with a larger run.timeout"
            ) from None

    def _waited(self) -> Any:
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            arrived, answer = self._try_get_data(min(_LOOK_EVERY, self.timeout))
            if arrived:
                return answer
        raise TimeoutError


class _Requests:
    """The requests to the workers: one draw after the other, each when a worker has room for it.

    Attributes:
        upcoming: the next draw that will be requested.
        asked: the draws that were requested and not yet answered, in order.
    """

    def __init__(self, rows: Callable[[int, int, int], Tensor]):
        self._rows = rows
        self._span = (0, 0)
        self.begin(0)

    def begin(self, draw: int) -> None:
        """Forget all requests, and begin again with this draw."""
        self.upcoming = draw
        self.asked: deque[int] = deque()

    def widen(self, first: int, end: int) -> None:
        """Make later requests include the positions from ``first`` up to ``end`` of a batch."""
        if self._span != (0, 0):
            first, end = min(first, self._span[0]), max(end, self._span[1])
        self._span = first, end

    def about(self, draw: int) -> _Request:
        """The request of a draw: its number, the first position wanted of its batch, and the rows from there on."""
        first, end = self._span
        return draw, first, self._rows(draw, first, end - first).numpy()

    def __iter__(self) -> Iterator[_Request]:
        while True:
            draw = self.upcoming
            self.upcoming += 1
            self.asked.append(draw)
            yield self.about(draw)


class _Reader(Dataset[_Answer]):
    """Answers requests in a worker with the samples, or with None where these cannot be read."""

    def __init__(self, select: Callable[[int, int, Tensor], Samples]):
        self._select = select

    def __getitem__(self, request: _Request) -> _Answer:
        draw, first, rows = request
        try:
            # The answer is put into shared memory here, since an error while it is sent would reach nobody.
            return draw, first, self._select(draw, first, torch.from_numpy(rows)).to("cpu").share_memory_()
        except Exception:
            return draw, first, None  # the error is raised where the draw is asked for, and read again


def _as_it_is(answer: Any) -> Any:
    return answer


def _end_with(parent: int, worker: int) -> None:
    """Let this worker end when the process that started it has ended, even if the worker is stuck in a read then."""
    when_parent_ends(partial(os._exit, 1), parent)
    # The thread that hands over the answers' memory reports a lost connection here: nobody takes the answer any more.
    sys.excepthook = _unless_disconnected


def _unless_disconnected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an error that nobody caught, unless it is that the other side of a connection has ended."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


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
