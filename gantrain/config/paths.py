"""Paths in configs: what a relative path is relative to, and what a message says where nothing lies at a path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from gantrain.config.shipped import ROOT, configs, is_missing, may_be_shipped
from gantrain.config.types import one_line
from gantrain.errors import NotFound

# So many names of a folder are compared with one that is missing.
_MOST_NAMES = 10_000


def nothing_at(path: str | Path, known: Iterable[str] = (), others: Iterable[Path] = ()) -> str:
    """Says that nothing lies at a path: in which folder it was searched, and what is there instead.

    Args:
        path: the path; a relative one is relative to the current directory.
        known: other names that might be meant.
        others: the other folders in which it was searched.

    Examples:
        >>> nothing_at("/usr/binn/env")
        "there is nothing at binn/env in /usr; did you mean 'bin'?"
    """
    return f"{_nothing(path, known, others)}{_here(path)}{_not_shipped(path)}"


def no_config(path: str | Path, name: str | Path) -> str:
    """Says that there is no config at a path: as :func:`nothing_at`, with the nearest name of a shipped config.

    Args:
        path: the path.
        name: how the command line or a file names it, by which it may be a shipped one.
    """
    return f"{_nothing(path, configs(), [ROOT] if may_be_shipped(name) else [])}{_here(path)}"


def _nothing(path: str | Path, known: Iterable[str], others: Iterable[Path]) -> str:
    place = Path(os.path.abspath(path))
    folder = next(parent for parent in place.parents if not is_missing(parent))
    name = place.relative_to(folder)
    if folder.is_file():
        return f"there is nothing at {one_line(place)}: {one_line(folder)} is a file"
    try:
        names = [entry.name for entry in islice(os.scandir(folder), _MOST_NAMES)]
    except OSError:
        names = []
    in_folder, elsewhere = _nearest(name.parts[0], names), _nearest(path, known)
    # Of a folder that is missing only the folder's own name has been looked at.
    close = in_folder or elsewhere if len(name.parts) == 1 else elsewhere or in_folder
    searched = [folder, *(other for other in others if not place.is_relative_to(other))]
    return f"there is nothing at {one_line(name)} in {' or '.join(map(one_line, searched))}{close}"


def tidy(path: Path) -> Path:
    """The path without ``folder/..``, for messages; as it is where a link leads elsewhere, and where nothing lies."""
    short = Path(os.path.normpath(path))
    with suppress(OSError, ValueError):
        return short if os.path.samefile(path, short) else path
    return path


def not_found(key: str, path: str | Path, advice: str = "") -> NotFound:
    """The error that nothing lies at the path that a key names.

    Args:
        key: the key or option that holds the path, with which the message begins.
        path: the path, as in :func:`nothing_at`.
        advice: what else to do, to end the message with.
    """
    return NotFound(f"{key}: {nothing_at(path)}{f'; {advice}' if advice else ''}")


def lacking(key: str, what: str, folder: str | Path, advice: str) -> NotFound:
    """The error that something is not in the folder that a key names.

    Args:
        key: the key that holds the path of the folder, with which the message begins.
        what: what is not there.
        folder: the folder, which may be missing, too.
        advice: what to do.
    """
    nothing = f", for {nothing_at(folder)}" if is_missing(Path(folder)) else ""
    return NotFound(f"{key}: {what} is not in {os.path.abspath(folder)!r}{nothing}; {advice}")


def in_current_directory(path: str | Path) -> Path | None:
    """What the current directory holds by the last parts of a path to another place; None if there is nothing.

    Who moves from one directory to another, or copies a path from the command line into a file, means this.
    """
    here, place = Path.cwd(), Path(os.path.abspath(path))
    ends = (here / Path(*place.parts[first:]) for first in range(1, len(place.parts)))
    return next((end for end in ends if end != place and not is_missing(end)), None)


def _nearest(path: str | Path, known: Iterable[str]) -> str:
    """The text ``; did you mean 'x'?`` if a path is known whose name is close to this one but for its ending."""
    by_stem: dict[str, list[str]] = {}
    for each in known:
        by_stem.setdefault(Path(each).stem.lower(), []).append(each)
    name = Path(path).stem.lower()
    stems = difflib.get_close_matches(name, by_stem, n=1) if len(name) < 200 else []
    close = [difflib.get_close_matches(str(path), by_stem[stem], n=1, cutoff=0) for stem in stems]
    return f"; did you mean {close[0][0]!r}?" if close else ""


def _here(path: str | Path) -> str:
    """What to go on with if the end of the path is found in the current directory."""
    found = in_current_directory(path)
    if found is None:
        return ""
    here = Path.cwd()
    there = f"the current directory, {one_line(here)}, has {one_line(found.relative_to(here))}"
    return f"; {there}, but paths in a file are relative to the file, and only others to the current directory"


def _not_shipped(path: str | Path) -> str:
    """What to do if the path is one that a shipped config names, which only the user can have."""
    # In a clone, the user's own data may lie beside the folder configs; in a wheel, nothing of theirs does.
    beside = Path(os.path.abspath(path)).is_relative_to(ROOT if ROOT.name == "shipped" else ROOT / "configs")
    if not beside or in_current_directory(path) is not None:
        return ""
    return "; the config is shipped, so name yours on the command line, as in data.path=FOLDER"
