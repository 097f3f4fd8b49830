"""Saying which process did not come, does not answer, or has ended."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

import torch.distributed as dist

from gantrain.distributed.environment import Place
from gantrain.distributed.store import HERE, launcher_has_store
from gantrain.utils.waiting import within

# Seconds that processes whose wait was in vain give each other to say so.
PATIENCE = 3.0
CHANGE = "or wait longer with a larger run.timeout (eval: --timeout)"
# Seconds for which the first process still keeps the store, so that the others find the same.
_LINGER = 1.0
# The key, in the store that the processes share, of the message of the first process that failed.
_FIRST_ERROR = "error"
# The key under which each process writes that it gave up waiting.
_GAVE_UP = "gave up"
# The number of missing processes that a message names.
_NAMED = 5


def leave_error(line: str, store: dist.Store) -> None:
    """Leave a message for the others, which end because of this process; the first message counts."""
    with suppress(RuntimeError):
        store.compare_set(_FIRST_ERROR, "", line)


def unreachable(place: Place, error: Exception, timeout: float) -> str:
    """Why there is no store at the launcher's address."""
    where = f"MASTER_ADDR={place.address} MASTER_PORT={place.port}"
    if "EADDRINUSE" in str(error):
        return f"{where}: another program on this host uses the port; choose another MASTER_PORT for all processes"
    if "failed to listen" in str(error):
        return f"{where}: this host may not listen at the port; choose another MASTER_PORT for all processes"
    try:
        socket.getaddrinfo(place.address, place.port)
    except (OSError, UnicodeError):
        return f"{where}: no host of this name was found within {timeout:g} s; name the host of the first process"
    return (
        f"{where}: process {place.rank} found no first process there within {timeout:g} s; start that with RANK=0, "
        f"{CHANGE}"
    )


def absent(store: dist.Store, place: Place, timeout: float) -> str | None:
    """Which processes have not arrived in the store; None if all have, or if the store does not answer."""

    def find() -> str | None:
        missing = _without(store, HERE, place)
        if not missing:
            return None
        return (
            f"{place.world_size - len(missing)} of {place.world_size} processes met at {place.address}:{place.port} "
            f"within {timeout:g} s; {_named(missing, store)} did not come; start WORLD_SIZE={place.world_size} "
            f"processes, {CHANGE}"
        )

    try:
        return within(PATIENCE, find)
    except (RuntimeError, TimeoutError):
        return None


def explained(error: Exception, store: dist.Store, place: Place, timeout: float) -> str:
    """Why a wait for other processes was in vain: the error that one has left, or who did not answer or has ended.

    Args:
        error: the error of the wait.
        store: the store of :class:`~gantrain.distributed.store.Meeting`.
        place: the place of this process.
        timeout: the seconds that it has waited, if the other process did not answer.
    """
    late = isinstance(error, TimeoutError) or re.search(r"tim(ed|e)?[- ]?out", str(error), re.IGNORECASE)

    def find() -> str:
        if store.check([_FIRST_ERROR]):
            return store.get(_FIRST_ERROR).decode()
        # Those that live give up at about the same time. Who is left over at the end is the one that is meant.
        store.set(f"{_GAVE_UP}/{place.rank}", "")
        deadline = time.monotonic() + PATIENCE
        while len(missing := _without(store, _GAVE_UP, place)) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        if place.rank == 0 and not launcher_has_store():
            time.sleep(_LINGER)
        return said(_named(missing, store) if missing else "another process", len(missing))

    def said(who: str, many: int = 1) -> str:
        here = f"process {place.rank} on {socket.gethostname()}"
        if late:
            return f"{here}: {who} did not answer for {timeout:g} s; go on with --resume, {CHANGE}"
        one = "one of " if many > 1 else ""
        return f"{here}: {one}{who} has ended ({_gist(error)}); go on with --resume"

    try:
        return within(2 * PATIENCE, find)
    except (RuntimeError, TimeoutError):  # who has the store has ended or stopped
        return said("process 0, or its launcher," if launcher_has_store() else "process 0")


def _without(store: dist.Store, key: str, place: Place) -> list[int]:
    """The processes that have not written the key."""
    return [rank for rank in range(place.world_size) if not store.check([f"{key}/{rank}"])]


def _named(ranks: list[int], store: dist.Store) -> str:
    names = []
    for rank in ranks[:_NAMED]:
        known = store.check([f"{HERE}/{rank}"])
        names.append(f"process {rank}" + (f" on {store.get(f'{HERE}/{rank}').decode()}" if known else ""))
    return ", ".join(names) + (f" and {len(ranks) - _NAMED} more" if len(ranks) > _NAMED else "")


def _gist(error: Exception) -> str:
    return re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).partition("\n")[0]).partition(". ")[0]
