"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gantrain.errors import UserError


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file under another name and rename it; text is UTF-8."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(temporary, path)


@contextmanager
def written_into(folder: Path) -> Iterator[None]:
    """Around what writes into a folder, which is made if it is not there.

    Raises:
        UserError: the system does not let it be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def check_free(folder: Path, mark: str, what: str, kind: str) -> None:
    """Refuse a place where results would lie upon something else; earlier ones of their kind may be replaced.

    Args:
        folder: in which they would lie.
        mark: the name of a file that a folder of such results has.
        what: the results, for messages.
        kind: what such a folder is, for messages.

    Raises:
        UserError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, and {what} would lie there; choose another name or --output")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file():
        raise UserError(f"{folder}: exists and is not {kind}; choose another name or --output")
