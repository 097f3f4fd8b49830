"""Reads are counted in a log that all processes append to."""

import errno
import gc
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
from collections import Counter
from multiprocessing import resource_sharer
from pathlib import Path

import psutil
import pytest
import torch
from forked import SECONDS, Command, ended, until

from gantrain.data import Batches, DataSpec, prefetch
from gantrain.data.prefetch import automatic_workers
from gantrain.errors import UserError


class Logged:
    """Unread samples: sample i is the number i. Every read is a line of the log: the process, and the rows.

    Args:
        n: how many samples there are.
        log: the file of the log.
        broken: samples that cannot be read.
        deadly: a sample that kills the worker that reads it.
        stuck: whether a worker waits for ever for a pipe beside the log when it reads another draw than the first.
        rows: the samples that are left of them.
    """

    dtype, ndim = torch.uint8, 2

    def __init__(self, n, log, broken=(), deadly=-1, stuck=False, rows=None):
        self.log, self.broken, self.deadly, self.stuck = log, broken, deadly, stuck
        self.rows = torch.arange(n) if rows is None else rows
        self.shape = (len(self.rows), 1)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        return Logged(0, self.log, self.broken, self.deadly, self.stuck, self.rows[rows])

    def to(self, device):
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {' '.join(map(str, self.rows.tolist()))}\n")
        for number in self.broken:
            if number in self.rows:
                raise UserError(f"sample {number} cannot be read")
        if self.deadly in self.rows and os.getpid() != MAIN:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.stuck and os.getpid() != MAIN and tuple(self.rows.tolist()) != FIRST:
            pipe(self.log).open("rb").read(1)
        return self.rows.to(torch.uint8).unsqueeze(1)


MAIN = os.getpid()


class Data:
    labels = None
    spec = DataSpec((1,))

    def __init__(self, samples):
        self.samples = samples

    def decode(self, raw):
        return raw


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def pipe(log):
    return log.with_name("pipe")


def batches(log, workers, n=40, size=8, broken=(), deadly=-1, stuck=False, **more):
    return Batches(Data(Logged(n, log, broken, deadly, stuck)), size, 1, workers=workers, **more)


def expected(n=40, size=8, **more):
    return Batches(Data(torch.arange(n, dtype=torch.uint8).unsqueeze(1)), size, 1, **more)


FIRST = tuple(expected()(0, 0).real[:, 0].tolist())


def reads(log):
    whole, _, _ = log.read_text().rpartition("\n")
    return [(int(process), tuple(map(int, rows))) for process, *rows in map(str.split, whole.splitlines())]


@pytest.fixture
def alive():
    """The workers of this test that live: multiprocessing knows a process from its start on, and notices its end."""
    before = set(multiprocessing.active_children())
    return lambda: set(multiprocessing.active_children()) - before


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_read_each_draw_once_and_stay_ahead(workers, log):
    ahead, reference = batches(log, workers), expected()
    for i in range(10):
        assert torch.equal(ahead(i, i).real, reference(i, i).real)
        # Nobody asks for these draws; each worker has two on its list.
        until(lambda i=i: len(reads(log)) == i + 1 + 2 * workers)
    rows = [row for _, row in reads(log)]
    assert Counter(rows) == Counter(tuple(reference(i, i).real[:, 0].tolist()) for i in range(len(rows)))
    readers = Counter(process for process, _ in reads(log))
    assert len(readers) == workers and MAIN not in readers
    ahead.close()
    assert len(reads(log)) == 10 + 2 * workers


def test_draws_out_of_order_are_right_and_those_lately_read_are_not_read_again(log):
    ahead, reference = batches(log, 2), expected()
    # SAMPa asks for the following draw first; other loops for the same draw again and again.
    order = [1, 0, 2, 1, 3, 2, 3, 3, 2, 4, 3, 5, 4]
    for i in order:
        assert torch.equal(ahead(i, 0).real, reference(i, 0).real)
    assert [row for process, row in reads(log) if process == MAIN] == [tuple(reference(0, 0).real[:, 0].tolist())]
    until(lambda: len(reads(log)) == 1 + 5 + 4)
    for i in (0, 20, 3, 21, 21, 100, 2, 101):
        assert torch.equal(ahead(i, 0).real, reference(i, 0).real)
    read_here = [row for process, row in reads(log) if process == MAIN]
    assert len(read_here) == 4, "those before the first, and those that were left behind: 0, 0, 3, 2"
    ahead.close()


def test_roles_and_micro_batches_share_the_reads_of_a_draw(log):
    """Whatever shares of a draw are asked for: after the first few draws they are read together, once, ahead."""
    ahead, reference = batches(log, 1, world_size=2, rank=1), expected(world_size=2, rank=1)
    shares = [(1, 2), (0, 1), (2, 4), (3, 4)]
    for i in range(12):
        for rank, world in shares:
            share = ahead(i, 0, (rank, world)).real
            assert len(share) == 8 // world
            assert torch.equal(share, reference(i, 0, (rank, world)).real)
    own = [row for process, row in reads(log) if process == MAIN]
    assert len(own) == 3, "the first draw, and the two that were on the worker's list by then"
    assert all(len(row) == 8 for _, row in reads(log)[-4:])
    ahead.close()


def test_a_run_may_begin_in_the_middle(log):
    ahead, reference = batches(log, 2), expected()
    for i in (1000, 1001, 1002):
        assert torch.equal(ahead(i, 0).real, reference(i, 0).real)
    until(lambda: len(reads(log)) == 7)
    assert MAIN not in {process for process, _ in reads(log)}
    ahead.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_when_its_batch_is_asked_for(workers, log):
    reference = expected()
    bad = reference(3, 0).real[5, 0].item()
    ahead = batches(log, workers, broken=(bad,))
    for i in range(3):
        ahead(i, 0)
    with pytest.raises(UserError, match=f"^sample {bad} cannot be read$"):
        ahead(3, 0)
    assert torch.equal(ahead(4, 0).real, reference(4, 0).real)
    ahead.close()


def test_a_worker_that_is_killed_is_one_line(log):
    ahead = batches(log, 1, deadly=7)
    with pytest.raises(UserError, match="^data.workers: a process that reads the data has ended .*use fewer") as error:
        for i in range(5):
            ahead(i, 0)
    assert "\n" not in str(error.value)
    ahead.close()


def test_workers_end_with_the_batches_or_when_they_are_closed(log, alive):
    ahead, other = batches(log, 2), batches(log, 1)
    ahead(0, 0), other(0, 0)
    assert len(alive()) == 3
    ahead.close()
    ahead.close()
    assert len(alive()) == 1
    assert torch.equal(ahead(1, 0).real, expected()(1, 0).real), "they start again when they are needed"
    assert len(alive()) == 3
    del other
    assert len(alive()) == 2
    ahead.itself = ahead
    del ahead
    gc.collect()
    assert not alive()


UNCLOSED = """
import sys, pathlib
sys.path[:0] = {tests}
from test_prefetch import batches, prefetch
left = batches(pathlib.Path("{log}"), 2, stuck={stuck})
left(0, 0)
{then}
"""


def unclosed(log, then, stuck=False):
    """A program that reads the first draw with two workers, and then goes on as it is told."""
    tests = [str(folder) for folder in Path(__file__).parents[:2]]
    return [sys.executable, "-c", UNCLOSED.format(tests=tests, log=log, then=then, stuck=stuck)]


@pytest.mark.slow  # so does one whose workers are stuck, below
def test_a_process_that_closes_nothing_ends_nevertheless_and_without_a_word(log):
    done = subprocess.run(unclosed(log, "sys.exit(3)"), capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


@pytest.fixture
def open_pipe(log):
    """Nothing is ever written to the pipe, and its writing end stays open: a read of it does not return."""
    os.mkfifo(pipe(log))
    both_ends = os.open(pipe(log), os.O_RDWR)
    yield
    os.close(both_ends)


def busy(log, workers):
    """Whether so many workers have begun with another draw than the first."""
    return len({process for process, rows in reads(log) if rows != FIRST}) == workers


@pytest.mark.usefixtures("open_pipe")
def test_workers_that_are_stuck_in_a_read_end_when_they_are_closed(log, alive, monkeypatch):
    monkeypatch.setattr(prefetch, "_PATIENCE", 0.5)
    ahead = batches(log, 2, stuck=True)
    ahead(0, 0)
    until(lambda: busy(log, 2))
    assert len(alive()) == 2
    ahead.close()
    assert not alive()


@pytest.mark.slow
@pytest.mark.usefixtures("open_pipe")
def test_a_process_ends_even_if_its_workers_are_stuck_in_a_read(log):
    program = unclosed(log, "prefetch._PATIENCE = 0.5; sys.exit(3)", stuck=True)
    done = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert not any(psutil.pid_exists(process) for process, _ in reads(log))


def waiting(folder, arguments, files, environment):
    """A process that has read the first draw with two workers, and waits for ever."""
    log, stuck = arguments
    left = batches(Path(log), 2, stuck=bool(stuck))
    left(0, 0)
    signal.pause()


@pytest.mark.usefixtures("open_pipe")
@pytest.mark.parametrize("stuck", [False, True])
def test_the_workers_of_a_process_that_was_killed_end_even_if_they_are_stuck_in_a_read(log, stuck):
    command = Command(log.parent, str(log), "stuck" if stuck else "", target=waiting)
    until(lambda: not command.running() or busy(log, 2))
    workers = psutil.Process(command.process.pid).children()
    command.kill()
    assert len(workers) == 2
    until(lambda: all(ended(worker) for worker in workers))


def test_a_forked_process_leaves_the_workers_alone(log, alive):
    ahead = batches(log, 2)
    ahead(0, 0)
    child = os.fork()
    if not child:
        prefetch._end_all()
        ahead.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(alive()) == 2
    assert torch.equal(ahead(1, 0).real, expected()(1, 0).real)
    ahead.close()
    assert not alive()


def test_workers_leave_signals_to_the_process_that_started_them(log, alive):
    ahead, reference = batches(log, 2), expected()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    ahead(0, 0)
    assert len(alive()) == 2
    for worker in alive():
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
    for i in range(1, 10):
        assert torch.equal(ahead(i, 0).real, reference(i, 0).real)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    ahead.close()
    assert not alive()


def test_the_global_random_state_is_left_alone(log):
    state = torch.get_rng_state()
    ahead = batches(log, 1)
    ahead(0, 0)
    ahead.close()
    assert torch.equal(torch.get_rng_state(), state)


def test_as_many_workers_as_cores_for_each_process(monkeypatch):
    monkeypatch.setattr("gantrain.data.prefetch.local_processes", lambda: 1)
    monkeypatch.setattr("gantrain.data.prefetch.cores", lambda: 6)
    assert automatic_workers() == 6
    monkeypatch.setattr("gantrain.data.prefetch.local_processes", lambda: 4)
    assert automatic_workers() == 1
    monkeypatch.setattr("gantrain.data.prefetch.cores", lambda: 64)
    assert automatic_workers() == 8


def test_more_workers_than_the_limit_of_open_files_admits_are_refused_or_not_chosen(log, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = psutil.Process().num_fds()
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (used + 40, used + 60))
    monkeypatch.setattr("resource.setrlimit", lambda _, limit: limits.append(limit))
    with pytest.raises(UserError, match=r"^data.workers: 16 workers need 128 more open .* data.workers=4, or"):
        batches(log, 16)
    assert limits == [(used + 60, used + 60)]
    monkeypatch.setattr("gantrain.data.prefetch.cores", lambda: 64)
    assert automatic_workers() == 4


def test_workers_that_cannot_be_started_leave_none_behind(log, monkeypatch):
    fork, forks = os.fork, []

    def failing() -> int:
        forks.append(1)
        if len(forks) > 2:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", failing)
    ahead = batches(log, 4)
    with pytest.raises(UserError, match=r"^data.workers: 4 workers cannot be started \(.*unavailable\); use fewer"):
        ahead(0, 0)
    until(lambda: not [p for p in psutil.Process().children() if p.name() == "pt_data_worker" and not ended(p)])
    ahead.close()


def test_a_read_that_does_not_end_ends_the_wait(log, monkeypatch):
    ahead = batches(log, 1)
    ahead._ahead._timeout = 1
    monkeypatch.setattr(prefetch, "_PATIENCE", 0.1)
    monkeypatch.setattr(prefetch, "_LOOK_EVERY", 0.2)
    ahead(0, 0)
    os.kill(next(iter(prefetch._RUNNING))._workers[0].pid, signal.SIGSTOP)
    with pytest.raises(UserError, match=r"^data.workers: a read of the data takes more than 1 s; .*run.timeout$"):
        for draw in range(1, 20):
            ahead(draw, 0)
    ahead.close()


def test_a_worker_does_not_report_that_nobody_takes_its_answer_any_more():
    """A process killed while it takes an answer resets the connection; here a child plays both sides."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # noqa: SIM115
        prefetch._end_with(os.getppid(), 0)
        sharer = resource_sharer._ResourceSharer()
        sharer.register(None, None)
        for wait in (False, True):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(sharer._address)
                if wait:
                    client.recv(1)  # the first connection has been dealt with
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as errors:
        assert errors.read() == b""
    assert os.waitpid(child, 0)[1] == 0
