"""One config over another: inheritance by ``base:``, and ``a.b.c=value`` on the command line."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gantrain.config import yaml_files
from gantrain.config.sections import Data
from gantrain.config.types import shown
from gantrain.errors import UserError

# Mappings whose ``name`` is just a name. Everywhere else it chooses a part, and the keys beside it are that part's.
_NOT_PARTS = ((), ("run",))
# Where a part may stand for all players or, by player, one for each.
_PER_PLAYER = (("optimizer",), ("sharpness",), ("constraint",))
# Keys that stand beside a part's own and survive a change of the part.
_BESIDE = {("data",): Data.beside()}


def read_files(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """A config file, then those that its ``base`` names, relative to itself, each with its own; without the keys.

    Of several bases the last goes over those before it: it comes first here.

    Args:
        path: of the file.
        above: the files that inherit from it.

    Raises:
        UserError: a file is missing or wrong, or inherits from itself.
    """
    content = yaml_files.read(path)
    bases = content.pop("base", None)
    files = [(path, content)]
    for base in reversed(_listed(bases)):
        if not isinstance(base, str):
            raise UserError(f"{path}: base: expected the path of another config or a list of some, got {shown(bases)}")
        below = path.parent / base
        if any(below.resolve() == file.resolve() for file in (*above, path)):
            raise UserError(f"{path}: base: {base} inherits from this file, which would go round in a circle")
        if not below.is_file():
            raise UserError(f"{path}: base: no such file as {below}")
        files += read_files(below, (*above, path))
    return files


def merge_files(files: Sequence[tuple[Path, dict[str, Any]]]) -> dict[str, Any]:
    """Each file over the one after it."""
    return functools.reduce(merge, (content for _, content in reversed(files)), {})


def origin(files: Sequence[tuple[Path, dict[str, Any]]], key: str) -> Path:
    """The file that ``a.b.c`` comes from; the first where none holds it."""
    return next((path for path, content in files if _holds(content, key.split("."))), files[0][0])


def merge(old: Any, new: Any, key: tuple[str, ...] = ()) -> Any:
    """``new`` over ``old``: mappings are merged key by key, everything else is replaced.

    Where ``new`` chooses another part by ``name`` or ``target``, the keys of the old part go. A mapping whose keys are
    positions changes single entries of a list.
    """
    if not isinstance(new, dict):
        return new
    if isinstance(old, list) and new and all(k.isdecimal() for k in new):
        return _merge_list(old, new, key)
    if isinstance(old, str) and key not in _NOT_PARTS:
        old = {"name": old}
    if not isinstance(old, dict):
        old = {}
    elif key not in _NOT_PARTS and (_other_part(old, new) or key in _PER_PLAYER and _other_form(old, new)):
        old = {k: v for k, v in old.items() if k in _BESIDE.get(key, ())}
    merged = {k: merge(v, new[k], (*key, k)) if k in new else v for k, v in old.items()}
    # Merged over nothing, so that positions and nulls below mean the same everywhere.
    return merged | {k: merge(None, v, (*key, k)) for k, v in new.items() if k not in old}


def parse_overrides(overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The tree that ``a.b.c=value`` arguments describe, and their keys.

    Raises:
        UserError: an argument is not of this form, or its value does not parse.
    """
    tree: dict[str, Any] = {}
    keys = []
    for override in overrides:
        key, equals, value = override.partition("=")
        path = key.split(".")
        if not equals or not all(path):
            raise UserError(f"{override!r}: expected key=value, as in outer.relaxation=0.5")
        parsed = yaml_files.parse(value, f"command line: {key}")
        for part in reversed(path):
            parsed = {part: parsed}
        tree = merge(tree, parsed)
        keys.append(key)
    return tree, keys


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _other_part(old: dict[str, Any], new: dict[str, Any]) -> bool:
    if not {"name", "target"} & old.keys():
        return False
    if "name" in new:
        return new["name"] != old.get("name")
    # A part may have a number called target; a class is text.
    return isinstance(new.get("target"), str) and new["target"] != old.get("target")


def _other_form(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether one is a part and the other has parts by player."""
    if {"name", "target"} & new.keys():
        return not {"name", "target"} & old.keys()
    return bool({"name", "target"} & old.keys()) and any(isinstance(part, dict) for part in new.values())


def _merge_list(old: list, new: dict[str, Any], key: tuple[str, ...]) -> list:
    merged = list(old)
    for position, value in new.items():
        if int(position) >= len(merged):
            where = ".".join((*key, position))
            raise UserError(f"{where}: there is no such entry; the list has {len(merged)}")
        merged[int(position)] = merge(merged[int(position)], value, (*key, position))
    return merged


def _holds(content: Any, path: Sequence[str]) -> bool:
    for part in path:
        if isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        elif isinstance(content, dict) and part in content:
            content = content[part]
        else:
            return False
    return True
