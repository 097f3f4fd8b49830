"""Downloads: the doctor and a dry run make none, and say which a run would make."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# Seconds in which a host must answer.
_PATIENCE = 5


@contextmanager
def offline() -> Iterator[list[str]]:
    """No host is found by its name inside the block; gives the block the list of the names that were asked for."""
    asked: list[str] = []
    find = socket.getaddrinfo

    def refuse(host: Any, *_: Any, **__: Any) -> NoReturn:
        asked.append(host.decode() if isinstance(host, bytes) else str(host))
        raise socket.gaierror(socket.EAI_FAIL, "nothing is downloaded now")

    socket.getaddrinfo = refuse
    try:
        yield asked
    finally:
        socket.getaddrinfo = find


def answers(host: str) -> bool:
    """Whether a host takes a connection over HTTPS within a few seconds; nothing is sent."""
    connected = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((host, 443), timeout=_PATIENCE).close()
            connected.set()
        except OSError:
            pass

    # A thread of its own, since the search for the host's address knows no limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return connected.is_set()
