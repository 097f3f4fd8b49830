"""States that are written in a thread: their order, their errors, and what becomes of a write that is not done."""

from __future__ import annotations

import os
import signal
import threading
from typing import NamedTuple

import pytest
import torch

from gantrain.errors import Notice, UserError
from gantrain.runs import checkpoint, checkpoint_writer
from gantrain.runs.checkpoint_writer import CheckpointWriter
from gantrain.utils.abandon import between_batches


class Named(NamedTuple):
    w: torch.Tensor


class Gate:
    """Lets writes through when it is opened, and keeps what was written."""

    def __init__(self):
        self.begun, self.open = threading.Event(), threading.Event()
        self.written = []

    def __call__(self, state):
        self.begun.set()
        self.open.wait()
        self.written.append(state)


def test_a_write_has_the_state_of_its_time_though_everything_changes_meanwhile():
    w = torch.arange(6.0).view(2, 3)
    state = {"a": {"w": w, "t": w.t(), "one": (torch.tensor(1, dtype=torch.int8),)}, "list": [1, [2]], "none": None}
    state["named"] = Named(w)
    gate = Gate()
    with CheckpointWriter() as writer:
        writer.save(state, gate)
        gate.begun.wait()
        w.add_(1)
        state["list"][1].append(3)
        assert not gate.written
        gate.open.set()
    (found,) = gate.written
    assert found["a"]["w"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["a"]["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["a"]["one"][0].dtype == torch.int8 and found["list"] == [1, [2]] and found["none"] is None
    assert found["named"][0].tolist() == found["a"]["w"].tolist()


def test_writes_keep_their_order_and_there_is_one_copy(monkeypatch):
    first, second = Gate(), Gate()
    second.open.set()
    w = torch.zeros(3)
    with CheckpointWriter() as writer:
        writer.save({"w": w}, first)
        w += 1
        first.begun.wait()
        # The second finds out that the first is not done, and waits for it.
        waited = threading.Event.wait
        monkeypatch.setattr(threading.Event, "wait", lambda *event: (first.open.set(), waited(*event)))
        writer.save({"w": w}, lambda state: second(state | {"first": len(first.written)}))
        writer.wait()
        assert second.written[0]["first"] == 1 and second.written[0]["w"].tolist() == [1, 1, 1]
        assert second.written[0]["w"] is first.written[0]["w"]


def refuse(state):
    raise UserError("the disk is full")


def test_an_error_is_raised_by_the_next_call_and_once():
    gate = Gate()
    gate.open.set()
    with CheckpointWriter() as writer:
        for call in (lambda: writer.save({}, gate), writer.wait):
            writer.save({}, refuse)
            while not writer.failed:
                pass
            with pytest.raises(UserError, match="^the disk is full$"):
                call()
            assert not writer.failed
        writer.wait()
    assert not gate.written
    with pytest.raises(UserError, match="^the disk is full$"), CheckpointWriter() as writer:
        writer.save({}, refuse)


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_the_write_is_finished_when_the_run_fails_and_its_own_error_hides_none(error):
    gate = Gate()
    gate.open.set()
    with pytest.raises(error), CheckpointWriter() as writer:
        writer.save({"a": 1}, gate)
        raise error
    assert gate.written == [{"a": 1}]
    told = pytest.warns(Notice, match="^the last checkpoint is not written: the disk is full$")
    with told, pytest.raises(error), CheckpointWriter() as writer:
        writer.save({}, refuse)
        raise error


def test_ctrl_c_abandons_the_write_between_two_files(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"a": {"w": torch.ones(2)}}, keep=None)
    begun, files = threading.Event(), checkpoint._files

    def endless(*arguments):
        begun.set()
        for _ in iter(int, 1):
            yield from files(*arguments)

    monkeypatch.setattr(checkpoint, "_files", endless)
    with pytest.raises(KeyboardInterrupt), CheckpointWriter() as writer:
        writer.save({"a": {"w": torch.ones(2)}}, lambda state: checkpoint.save(tmp_path, 2, state, keep=1))
        begun.wait()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]


def test_a_write_whose_wait_was_interrupted_is_still_waited_for():
    gate = Gate()

    def write(state):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        gate(state)

    with CheckpointWriter() as writer:
        with pytest.raises(KeyboardInterrupt):
            writer.save({}, write)
            writer.wait()
        gate.open.set()
        writer.wait()
        assert gate.written


def test_outside_of_a_writer_nothing_is_abandoned():
    found = []
    with CheckpointWriter() as writer:
        writer.save({}, lambda state: found.append(between_batches()))
    assert found == [None]


@pytest.mark.parametrize("short", ["little is left", "it is refused"])
def test_without_memory_for_a_copy_the_state_is_written_while_the_caller_waits(monkeypatch, short):
    def cannot(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes.")

    gate = Gate()
    gate.open.set()
    w = torch.ones(3)
    with CheckpointWriter() as writer:
        writer.save({"w": torch.ones(2)}, gate)
        if short == "it is refused":
            monkeypatch.setattr(torch, "empty", cannot)
        else:
            monkeypatch.setattr(checkpoint_writer, "available", lambda: w.nbytes - 1)
        writer.save({"w": w}, gate)
        assert gate.written[1]["w"] is w
        with pytest.raises(UserError, match="full"):
            writer.save({"w": w}, refuse)


@pytest.mark.parametrize("why", ["a sparse tensor", "no thread"])
def test_what_cannot_be_written_beside_the_training_is_written_at_once(monkeypatch, tmp_path, why):
    def cannot(thread):
        raise RuntimeError("can't start new thread")

    w = torch.eye(2)
    with CheckpointWriter() as writer:
        if why == "no thread":
            monkeypatch.setattr(threading.Thread, "start", cannot)
            writer.save({"a": {"w": w}}, lambda state: checkpoint.save(tmp_path, 1, state, keep=None))
            assert checkpoint.load(tmp_path / "step_1")[1]["a"]["w"].equal(w)
        else:
            with pytest.raises(UserError, match="^checkpoint: a: cannot be saved: w is sparse$"):
                writer.save({"a": {"w": w.to_sparse()}}, lambda state: checkpoint.save(tmp_path, 1, state, keep=None))


def test_a_library_that_panics_is_not_passed_over():
    class Panic(BaseException):
        pass

    def panic(state):
        raise Panic

    with pytest.raises(Panic), CheckpointWriter() as writer:
        writer.save({}, panic)


def test_a_process_that_was_forked_waits_for_nothing():
    gate = Gate()
    with CheckpointWriter() as writer:
        writer.save({}, gate)
        gate.begun.wait()
        child = os.fork()
        if not child:
            writer.__exit__(None, None, None)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        gate.open.set()
