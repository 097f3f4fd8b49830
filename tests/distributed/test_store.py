"""Meetings in a store that outlives an attempt, as torchrun's does."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest
import torch.distributed as dist
from forked import SECONDS, until

from gantrain.distributed import store as stores
from gantrain.distributed.environment import Place
from gantrain.distributed.store import Meeting, begun_earlier, mark_begun


class Joining(threading.Thread):
    """A process that joins the others, as a thread."""

    def __init__(self, shared: dist.Store, rank: int, world: int = 2, seconds: float = SECONDS):
        super().__init__(daemon=True)
        self.meeting = Meeting(shared, Place(rank, world, rank, world, "localhost", 29500))
        self.seconds = seconds
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.meeting.join(time.monotonic() + self.seconds)
        except Exception as error:
            self.error = error

    def store(self) -> dist.Store:
        self.join(SECONDS)
        assert self.error is None and not self.is_alive()
        return self.meeting.store


@pytest.fixture
def first_groups(monkeypatch):
    """Each meeting is that of a process' first group."""
    monkeypatch.setattr(stores, "_groups", itertools.repeat(0))


def test_what_an_earlier_attempt_has_left_is_not_taken_for_a_later_one(first_groups):
    shared = dist.HashStore()
    before = [joining.store() for joining in [Joining(shared, rank) for rank in range(2)]]
    before[1].set("address", "gone")
    assert before[0].get("address") == b"gone"
    second = Joining(shared, 1)
    until(
        lambda: second.meeting.store is not second.meeting._base
    )  # it has found the first attempt, whose roll is complete
    first = Joining(shared, 0)
    after = [first.store(), second.store()]
    after[0].set("address", "here")
    assert after[1].get("address") == b"here" and before[1].get("address") == b"gone"


def test_a_process_that_waits_for_the_first_of_a_later_attempt_gives_up(first_groups):
    shared = dist.HashStore()
    for joining in [Joining(shared, rank, world=3) for rank in range(3)]:
        joining.store()
    late = Joining(shared, 2, world=3, seconds=0.2)
    late.join(SECONDS)
    assert isinstance(late.error, dist.DistError) and "timed out" in str(late.error)


def test_an_attempt_knows_which_runs_earlier_ones_have_begun(monkeypatch):
    monkeypatch.setattr(stores, "_stores", {Place(0, 2, 0, 2, "localhost", 29500): dist.HashStore()})
    mark_begun(Path("run"))
    assert not begun_earlier(Path("run"))  # this attempt itself
    monkeypatch.setattr(stores, "_own", "the next process")
    assert begun_earlier(Path("run").absolute()) and not begun_earlier(Path("other"))
    monkeypatch.setattr(stores, "_stores", {})
    assert not begun_earlier(Path("run"))
