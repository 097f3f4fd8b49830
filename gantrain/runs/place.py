"""The place of a run's folder: whether it is still the folder that the run writes into."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from gantrain.errors import Misplaced
from gantrain.runs.folder import CONFIG
from gantrain.runs.last_rows import METRICS

# What Linux adds to the path of an open folder that is deleted.
_DELETED = " (deleted)"


class Place:
    """Knows a run's folder while the run trains, for others may delete, move or replace it meanwhile.

    Args:
        folder: the folder of the run, which exists.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        # An open folder keeps its number, which no new folder gets.
        self._descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def require(self) -> None:
        """Check that the folder lies where it was, with what every run has in it.

        Raises:
            Misplaced: it was deleted, moved or replaced. While its files are deleted it counts as deleted.
        """
        with suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat(os.stat(self.folder), os.fstat(self._descriptor)):
                # Asked of the open folder, so that one that is moved at this moment is not taken for an empty one.
                if any(self._holds(name) for name in (CONFIG, METRICS)):
                    return
                raise self._error("deleted")
        now = self._now()
        if now is None:
            raise self._error("deleted")
        raise self._error(f"moved to {now}", "; move it back and go on with --resume")

    def _holds(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return True

    def _now(self) -> str | None:
        """Where the folder lies now; None if it is deleted."""
        try:
            path = os.readlink(f"/proc/self/fd/{self._descriptor}")
        except OSError:  # another system
            return None if os.fstat(self._descriptor).st_nlink == 0 else "another place"
        return None if path.endswith(_DELETED) else path

    def _error(self, what: str, advice: str = "") -> Misplaced:
        return Misplaced(f"{self.folder}: was {what} while the run trained, so the run ends here{advice}")
