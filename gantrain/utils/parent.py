"""Noticing that the process which started this one has ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

# Seconds between two looks at whether the parent lives.
_EVERY = 1.0
# Seconds in which a process without its parent may write a checkpoint before it ends in any case.
_GRACE = 10.0


def when_parent_ends(act: Callable[[], None], parent: int | None = None) -> None:
    """Call a function in a thread of its own once the parent of this process has ended, however it ended.

    Args:
        act: the function.
        parent: the number of the parent, for a process whose parent may have ended already. Default: the parent now.
    """
    known = os.getppid() if parent is None else parent

    def watch() -> None:
        while os.getppid() == known:
            time.sleep(_EVERY)
        act()

    threading.Thread(target=watch, daemon=True).start()


def stop() -> None:
    """Stop this process like SIGTERM, which lets a run write its checkpoint, and end it ten seconds later in any case.

    It must not be called in the main thread.
    """
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)
