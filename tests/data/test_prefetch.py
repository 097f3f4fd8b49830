"""Reads are counted in a log that all processes append to."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import torch

from gantrain.data import Batches, DataSpec
from gantrain.data.prefetch import automatic_workers
from gantrain.errors import UserError


class Logged:
    """Unread samples: sample i is the number i. Every read is a line of the log: the process, and the rows."""

    dtype, ndim = torch.uint8, 2

    def __init__(self, n, log, broken=(), deadly=-1, rows=None):
        self.log, self.broken, self.deadly = log, broken, deadly
        self.rows = torch.arange(n) if rows is None else rows
        self.shape = (len(self.rows), 1)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        return Logged(0, self.log, self.broken, self.deadly, self.rows[rows])

    def to(self, device):
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {' '.join(map(str, self.rows.tolist()))}\n")
        for number in self.broken:
            if number in self.rows:
                raise UserError(f"sample {number} cannot be read")
        if self.deadly in self.rows and os.getpid() != MAIN:
            os.kill(os.getpid(), signal.SIGKILL)
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


def batches(log, workers, n=40, size=8, broken=(), deadly=-1, **more):
    return Batches(Data(Logged(n, log, broken, deadly)), size, 1, workers=workers, **more)


def expected(n=40, size=8, **more):
    return Batches(Data(torch.arange(n, dtype=torch.uint8).unsqueeze(1)), size, 1, **more)


def reads(log):
    return [(int(process), tuple(map(int, rows))) for process, *rows in map(str.split, log.read_text().splitlines())]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def workers_of(process):
    return {p for p in process.children() if p.name() == "pt_data_worker" and p.status() != psutil.STATUS_ZOMBIE}


@pytest.fixture
def alive():
    """How many workers of this test live."""
    before = workers_of(psutil.Process())
    return lambda: workers_of(psutil.Process()) - before


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
            share = ahead.shared(rank, world)(i, 0).real
            assert len(share) == 8 // world
            assert torch.equal(share, reference.shared(rank, world)(i, 0).real)
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
sys.path[:0] = ["{tests}"]
from test_prefetch import batches
left = batches(pathlib.Path("{log}"), 2)
left(0, 0)
sys.exit(3)
"""


def test_a_process_that_closes_nothing_ends_nevertheless_and_without_a_word(log):
    program = UNCLOSED.format(tests=Path(__file__).parent, log=log)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_workers_leave_signals_to_the_process_that_started_them(log, alive):
    ahead, reference = batches(log, 2), expected()
    ahead(0, 0)
    for worker in alive():
        worker.send_signal(signal.SIGINT)
        worker.send_signal(signal.SIGTERM)
    for i in range(1, 10):
        assert torch.equal(ahead(i, 0).real, reference(i, 0).real)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
    ahead.close()
    assert not alive()


def test_the_global_random_state_is_left_alone(log):
    state = torch.get_rng_state()
    ahead = batches(log, 1)
    ahead(0, 0)
    ahead.close()
    assert torch.equal(torch.get_rng_state(), state)


def test_as_many_workers_as_cores_for_each_process(monkeypatch):
    monkeypatch.setattr("gantrain.data.prefetch.cores", lambda: 6)
    assert automatic_workers() == 6
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert automatic_workers() == 1
    monkeypatch.setattr("gantrain.data.prefetch.cores", lambda: 64)
    assert automatic_workers() == 8
