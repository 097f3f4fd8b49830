"""Writing files that appear whole or not at all, and folders of results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gantrain.errors import UserError


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file under a temporary name beside ``path``, then rename it to ``path``; text is encoded as UTF-8."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(temporary, path)


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Create ``folder`` if needed, and turn the system's errors inside the block into a UserError about the folder.

    Raises:
        UserError: the folder cannot be created, or a file in it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def check_results_folder(folder: Path, mark: str, what: str, kind: str) -> None:
    """Refuse a folder for results that holds something other than earlier results of the same kind.

    Args:
        folder: the folder into which the results would be written.
        mark: the name of a file by which a folder of such results is recognised.
        what: the results, as the error message calls them.
        kind: a folder of such results, as the error message calls it.

    Raises:
        UserError: ``folder`` is a file, or holds files but none called ``mark``.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and {what} would lie there; choose another name or --output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise UserError(f"{folder}: exists and is not {kind}; choose another name or --output")
