"""One process at a time writes into a run: who wins, what is said, and which locks are stale."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import socket
import threading
import time

import pytest
from forked import SECONDS, until

from gantrain.errors import Notice, UserError
from gantrain.runs import lock
from gantrain.runs.lock import LOCK, RunLock, holder, require_free

fork = multiprocessing.get_context("fork")
WAITS = pytest.mark.filterwarnings("ignore::gantrain.errors.Notice")


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(lock, "RENEWAL", 0.02)
    monkeypatch.setattr(lock, "PATIENCE", 0.5)


@pytest.fixture
def held(tmp_path):
    """A process that holds the lock until it is told to end."""
    here, there = fork.Pipe()

    def hold():
        with RunLock(tmp_path):
            there.send("held")
            there.recv()

    process = fork.Process(target=hold)
    process.start()
    assert here.poll(SECONDS) and here.recv() == "held"
    yield process
    process.kill()
    process.join()


def rewrite(folder, **changes):
    entries = json.loads((folder / LOCK).read_text())
    (folder / LOCK).write_text(json.dumps(entries | changes))


def test_the_lock_is_there_inside_the_context_alone(tmp_path):
    folder = tmp_path / "runs" / "a"
    with RunLock(folder) as mine:
        assert os.listdir(folder) == [LOCK]
        mine.require()
        found = holder(folder)
        assert (found.host, found.process) == (socket.gethostname(), os.getpid()) and found.since[:2] == "20"
        (folder / "config.yaml").touch()
    assert os.listdir(folder) == ["config.yaml"] and holder(folder) is None
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path / "b"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "b").exists()


def test_who_holds_it_is_said(tmp_path, held):
    said = (
        rf"{tmp_path}: process {held.pid} on {socket.gethostname()}, since 20.*, writes into this run; wait for it or"
    )
    for refused in (lambda: RunLock(tmp_path).__enter__(), lambda: require_free(tmp_path)):
        with pytest.raises(UserError, match=said):
            refused()
    assert os.listdir(tmp_path) == [LOCK]


def test_a_process_that_is_stopped_holds_it_still(tmp_path, held):
    os.kill(held.pid, signal.SIGSTOP)
    time.sleep(2 * lock.PATIENCE)
    with pytest.raises(UserError, match=f"process {held.pid} on"), RunLock(tmp_path):
        pass


def test_after_sigkill_it_is_stale_at_once(tmp_path, held):
    os.kill(held.pid, signal.SIGKILL)
    until(lambda: holder(tmp_path) is None)  # also as a zombie, for nobody has asked for its exit code
    with RunLock(tmp_path) as mine:
        mine.require()
    assert os.listdir(tmp_path) == []


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path, held):
    rewrite(tmp_path, started="1")
    assert holder(tmp_path) is None


ELSEWHERE = [{"host": "node7", "boot": "node7 1"}, {"boot": "another boot"}, {"namespace": "pid:[1]"}, {"boot": ""}]


@WAITS
@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_lock_from_elsewhere_is_stale_without_a_sign_of_life(tmp_path, held, place):
    held.kill()
    held.join()
    rewrite(tmp_path, **place)
    require_free(tmp_path)
    before = time.monotonic()
    with pytest.warns(Notice, match=r"held this folder; waiting 0 seconds for a sign of its life"), RunLock(tmp_path):
        pass
    assert time.monotonic() - before >= lock.PATIENCE


@WAITS
@pytest.mark.parametrize("place", ELSEWHERE)
def test_a_lock_from_elsewhere_that_is_renewed_holds(tmp_path, place):
    with RunLock(tmp_path):
        pass
    (tmp_path / LOCK).write_bytes(lock._content())
    rewrite(tmp_path, **place)
    alive = threading.Event()

    def renew():
        while not alive.wait(lock.RENEWAL):
            os.utime(tmp_path / LOCK, (0, time.monotonic()))  # by whatever clock

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(UserError, match="writes into this run"), RunLock(tmp_path):
            pass
    finally:
        alive.set()
        thread.join()


def test_the_holder_renews_its_lock(tmp_path):
    with RunLock(tmp_path):
        first = (tmp_path / LOCK).stat().st_mtime_ns
        until(lambda: (tmp_path / LOCK).stat().st_mtime_ns != first)


@WAITS
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"host": 1}', b"\xff", b'{"process": "1e400"}'])
def test_what_is_no_lock_is_watched(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content)
    with pytest.warns(Notice, match="an unknown process held"), RunLock(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("make", "what"), [(os.mkdir, "a folder"), (os.mkfifo, "a FIFO")])
def test_what_is_no_file_in_the_place_of_the_lock_is_one_line(tmp_path, make, what):
    make(tmp_path / LOCK)
    with pytest.raises(UserError, match=f"lock: is {what}, expected a file, which would be the lock of the run; move"):
        RunLock(tmp_path).__enter__()


@pytest.mark.parametrize("size", [0, 100])
def test_a_lock_that_cannot_be_written_leaves_nothing(tmp_path, size):
    here, there = fork.Pipe()

    def hold():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            RunLock(tmp_path / "run").__enter__()
        except UserError as error:
            there.send(str(error))

    process = fork.Process(target=hold)
    process.start()
    assert here.poll(SECONDS) and "lock: cannot be written: File too large" in here.recv()
    process.join()
    assert os.listdir(tmp_path) == []


def test_who_was_taken_over_writes_nothing_more_and_leaves_the_others_lock(tmp_path):
    with RunLock(tmp_path) as mine:
        rewrite(tmp_path, token="other", process=1, host="node7")
        with pytest.raises(UserError, match="process 1 on node7, since .*, has taken this run over"):
            mine.require()
    assert json.loads((tmp_path / LOCK).read_text())["token"] == "other"


def test_a_lock_that_somebody_deleted_is_put_back(tmp_path):
    with RunLock(tmp_path) as mine:
        (tmp_path / LOCK).unlink()
        mine.require()
        assert holder(tmp_path).process == os.getpid()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("stale", [False, True], ids=["free", "stale"])
def test_of_many_that_start_at_once_one_wins(tmp_path, monkeypatch, stale, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    for trial in range(5):
        folder = tmp_path / str(trial)
        folder.mkdir()
        if stale:
            (folder / LOCK).write_bytes(lock._content())
            rewrite(folder, started="1")
        start, said, all_said = threading.Barrier(6), [], threading.Event()

        def race(folder=folder, start=start, said=said, all_said=all_said):
            start.wait()
            try:
                with RunLock(folder) as mine:
                    said.append("won")
                    assert all_said.wait(SECONDS)
                    mine.require()
            except UserError as error:
                said.append(str(error))

        threads = [threading.Thread(target=race) for _ in range(6)]
        for thread in threads:
            thread.start()
        until(lambda said=said: len(said) == 6)
        all_said.set()
        for thread in threads:
            thread.join()
        assert said.count("won") == 1, said
        assert all("writes into this run" in line for line in said if line != "won")
        assert os.listdir(folder) == []
