"""The choice of the images among the files of a container; whatever is left out is said in one line."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import PurePosixPath

from gantrain.config import marks
from gantrain.data.readers.containers import Container
from gantrain.data.readers.images import SUFFIXES
from gantrain.data.readers.magic import START, kind_of
from gantrain.errors import Notice
from gantrain.utils.system_files import is_hidden_or_system

# No more files without an image's name are opened to see whether they are images.
_OPENED = 10_000
# Pictures that commands draw beside tables of the same name.
_DRAWN = ("comparison.png", "map.png", "trajectory.png")
_CHECKPOINT = re.compile(r"step_\d+")


def select_images(container: Container) -> list[str]:
    """The names of the image files in a container, in any order.

    Left out are hidden files and folders, those of operating systems and file servers, whatever is no regular file,
    files whose names do not end like an image's, and the pictures in run folders and beside other results of gantrain.
    A notice says how many these are and names an example of each kind.
    """
    images: dict[str, tuple[str, ...]] = {}
    others: dict[str, tuple[str, ...]] = {}
    left_out: dict[str, list[str]] = {}
    for name, odd in container.entries():
        place = path_parts(name)
        system = next((i for i, part in enumerate(place, start=1) if is_hidden_or_system(part)), None)
        if system is not None:
            left_out.setdefault("hidden or of the system", []).append("/".join(place[:system]))
        elif odd is not None:
            left_out.setdefault(odd, []).append(name)
        else:
            (images if name.lower().endswith(SUFFIXES) else others)[name] = place

    runs = _run_folders(container, others)
    tables = {place[:-1] + (PurePosixPath(place[-1]).stem,) for place in others.values() if place[-1].endswith(".csv")}

    def in_run(place: tuple[str, ...]) -> bool:
        return bool(runs) and any(place[:depth] in runs for depth in range(len(place)))

    for name, place in list(images.items()):
        if in_run(place) or (place[-1] in _DRAWN and place[:-1] + (PurePosixPath(place[-1]).stem,) in tables):
            left_out.setdefault("written by gantrain", []).append(name)
            del images[name]
    strangers = [name for name, place in others.items() if not in_run(place)]
    parts = [f"{len(set(names))} {why} ({min(names)})" for why, names in left_out.items()]
    total = sum(len(set(names)) for names in left_out.values()) + len(strangers)
    if strangers:
        parts.append(f"{len(strangers)} not named like images ({min(strangers)}){_unnamed(container, strangers)}")
    if total:
        files = "1 file or folder is" if total == 1 else f"{total} files or folders are"
        warnings.warn(Notice(f"data: {files} left out of {container.path}: {', '.join(parts)}"), stacklevel=2)
    return list(images)


def path_parts(name: str) -> tuple[str, ...]:
    """The folders in the path of a file, and its name. Archives that were made on Windows may have backslashes."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def image_path_parts(name: str) -> tuple[str, ...] | None:
    """The folders in the path of an image file and its name; None for hidden files and for files of another kind."""
    place = path_parts(name)
    return place if place and not any(map(is_hidden_or_system, place)) and name.lower().endswith(SUFFIXES) else None


def _run_folders(container: Container, others: dict[str, tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The folders of training runs: those with a run's config, or with checkpoints if the config is damaged."""
    configs = [name for name, place in others.items() if place[-1] == "config.yaml"]
    mark = marks.RUN.encode()
    found = {others[configs[i]][:-1] for i, start in container.contents(configs, len(mark)) if start == mark}
    return found | {
        place[:-2]
        for place in others.values()
        if len(place) > 1 and place[-1] == "manifest.json" and _CHECKPOINT.fullmatch(place[-2])
    }


def _unnamed(container: Container, names: Sequence[str]) -> str:
    """How many of these files are images by their content, for the notice."""
    found = []
    opened = names[:_OPENED]
    for i, start in container.contents(opened, START):
        kind = kind_of(start) if isinstance(start, bytes) else None
        if kind is not None and kind.group == "image":
            found.append((opened[i], kind.name))
    if not found:
        return ""
    name, kind_name = min(found)
    count = f"at least {len(found)}" if len(names) > _OPENED else f"{len(found)}"
    return f", of which {count} by content are images ({name} is {kind_name}): rename or convert these to use them"
