"""Paths in configs: what a relative path is relative to, and what a message says where nothing lies at a path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from gantrain.config.shipped import ROOT, is_missing
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
    place = Path(os.path.abspath(path))
    folder = next(parent for parent in place.parents if not is_missing(parent))
    name = place.relative_to(folder)
    if folder.is_file():
        return f"there is nothing at {one_line(place)}: {one_line(folder)} is a file"
    try:
        names = [entry.name for entry in islice(os.scandir(folder), _MOST_NAMES)]
    except OSError:
        names = []
    close = _nearest(name.parts[0], names) or _nearest(place.name, known)
    searched = " or ".join(map(one_line, (folder, *others)))
    return f"there is nothing at {one_line(name)} in {searched}{close}{_elsewhere(place)}"


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


def _nearest(name: str, known: Iterable[str]) -> str:
    """The text ``; did you mean 'x'?`` if a path is known whose name is close to this one but for its ending."""
    by_stem = {Path(path).stem.lower(): path for path in known}
    close = difflib.get_close_matches(Path(name).stem.lower(), by_stem, n=1) if len(name) < 200 else []
    return f"; did you mean {by_stem[close[0]]!r}?" if close else ""


def _elsewhere(place: Path) -> str:
    """What to go on with if the path is that of a shipped config, or its end is found in the current directory."""
    found = in_current_directory(place)
    if found is None:
        # In a clone, the user's own data may lie beside the folder configs; in a wheel, nothing of theirs does.
        beside = place.is_relative_to(ROOT if ROOT.name == "shipped" else ROOT / "configs")
        return "; the config is shipped, so name yours on the command line, as in data.path=FOLDER" if beside else ""
    here = Path.cwd()
    there = f"the current directory, {one_line(here)}, has {one_line(found.relative_to(here))}"
    return f"; {there}, but paths in a file are relative to the file, and only others to the current directory"
