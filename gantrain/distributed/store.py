"""The key-value store that the processes of a launch share: where they meet, and what an attempt leaves for the next.

torchrun starts all processes anew when one of them fails (``--max-restarts``), and its store outlives them. An attempt
must not take what it finds there from an earlier one for its own, so each has a part of the store under a name of its
own.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from gantrain.distributed.environment import Place
from gantrain.utils.waiting import within

# The key under which each process writes the name of its host when it has arrived.
HERE = "here"
# The keys of the name of the attempt, of a word by which a process knows itself, and of the words of all who have met.
_ATTEMPT, _WORD, _ROLL = "attempt", "word", "roll"
# Seconds between two looks at whether the first process has called the roll.
_LOOK_EVERY = 0.05
# Each group of this process has a part of the store of its own.
_groups = itertools.count()
# The store by the process' place; there is one, since a process joins the same others each time.
_stores: dict[Place, dist.Store] = {}
# Seconds in which the store must answer.
_PATIENCE = 5.0
# By what the first process tells the marks that it has left itself from those of an earlier attempt.
_own = uuid.uuid4().hex


def shared_store(place: Place, timeout: timedelta) -> dist.Store:
    """The store of the launcher, or of the first process; made once in a process.

    Args:
        place: the place of this process.
        timeout: the time in which the store must be found.

    Raises:
        RuntimeError: there is no store at the launcher's address, or it does not answer in time.
    """
    if place not in _stores:
        _stores[place] = dist.TCPStore(
            place.address,
            place.port,
            place.world_size,
            is_master=place.rank == 0 and not launcher_has_store(),
            timeout=timeout,
            wait_for_workers=False,
            multi_tenant=True,
        )
    return _stores[place]


def launcher_has_store() -> bool:
    """Whether the launcher keeps the store, as torchrun does, rather than the first process."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


class Meeting:
    """The meeting of all processes in the shared store, with which each of their groups begins.

    Args:
        shared: the store of :func:`shared_store`.
        place: the place of this process.

    Attributes:
        store: the part of the store that belongs to this group and attempt, once :meth:`join` has returned.
    """

    def __init__(self, shared: dist.Store, place: Place):
        self._base = dist.PrefixStore(f"gantrain/{next(_groups)}", shared)
        self._place = place
        self._word = uuid.uuid4().hex
        self.store = self._base

    def join(self, deadline: float) -> None:
        """Wait until all processes have come.

        Args:
            deadline: the time, on the clock of :func:`time.monotonic`, up to which they may come.

        Raises:
            RuntimeError: a process did not come in time, or the store is gone.
        """
        self._arrive(self._base)
        if self._place.rank == 0:
            self._call_the_roll(deadline)
        else:
            self._wait_to_be_called(deadline)

    def _arrive(self, store: dist.Store) -> None:
        store.set(f"{_WORD}/{self._place.rank}", self._word)
        store.set(f"{HERE}/{self._place.rank}", socket.gethostname())

    def _call_the_roll(self, deadline: float) -> None:
        self.store = dist.PrefixStore(self._word, self._base)
        self._arrive(self.store)
        self._base.set(_ATTEMPT, self._word)
        ranks = range(self._place.world_size)
        self.store.wait([f"{HERE}/{rank}" for rank in ranks], _until(deadline))
        self.store.set(_ROLL, " ".join(self.store.get(f"{_WORD}/{rank}").decode() for rank in ranks))

    def _wait_to_be_called(self, deadline: float) -> None:
        """Go to the attempt of the first process until its roll has this process' word.

        The name that is found first may be that of an earlier attempt, whose roll does not have the word.
        """
        self._base.wait([_ATTEMPT], _until(deadline))
        gone_to, called = "", False
        while not called:
            if time.monotonic() > deadline:
                raise dist.DistStoreError("timed out")
            attempt = self._base.get(_ATTEMPT).decode()
            if attempt != gone_to:
                gone_to, self.store = attempt, dist.PrefixStore(attempt, self._base)
                self._arrive(self.store)
            called = self.store.check([_ROLL]) and self._word in self.store.get(_ROLL).decode().split()
            time.sleep(0 if called else _LOOK_EVERY)


def _until(deadline: float) -> timedelta:
    return timedelta(seconds=max(0.1, deadline - time.monotonic()))


def mark_begun(folder: Path) -> None:
    """Let later attempts of this launch know that a run has begun; the first process calls this.

    Args:
        folder: the folder of the run.
    """

    def write() -> None:
        for store in _stores.values():
            store.set(_begun(folder), _own)

    with suppress(RuntimeError, TimeoutError):  # a launcher that has ended starts nothing anew
        within(_PATIENCE, write)


def begun_earlier(folder: Path) -> bool:
    """Whether an earlier attempt of this launch has begun a run; the first process calls this.

    Args:
        folder: the folder of the run.
    """

    def look() -> bool:
        key = _begun(folder)
        return any(store.check([key]) and store.get(key).decode() != _own for store in _stores.values())

    with suppress(RuntimeError, TimeoutError):
        return within(_PATIENCE, look)
    return False


def _begun(folder: Path) -> str:
    return f"gantrain/begun/{folder.resolve()}"
