"""One config over another: inheritance by ``base:``, and ``a.b.c=value`` on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gantrain import yaml_files
from gantrain.errors import UserError
from gantrain.types import shown

# Mappings whose ``name`` is just a name. Everywhere else it chooses a part, and the keys beside it are that part's.
_NOT_PARTS = ((), ("run",))
# Keys that stand beside a part's own and survive a change of the part.
_BESIDE = {("data",): ("batch_size",)}


def read_with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A config file merged over the one that its ``base`` names, relative to itself, and so on.

    Raises:
        UserError: a file is missing or wrong, or the files form a cycle.
    """
    content = yaml_files.read(path)
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"{path}: base: expected the path of another config, got {shown(base)}")
    here = (*above, path.resolve())
    below = path.parent / base
    if below.resolve() in here:
        raise UserError(f"{path}: base: {base} inherits from this file, which would go round in a circle")
    if not below.is_file():
        raise UserError(f"{path}: base: no such file as {below}")
    return merge(read_with_base(below, here), content)


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
    if not isinstance(old, dict) or (key not in _NOT_PARTS and _other_part(old, new)):
        kept = _BESIDE.get(key, ()) if isinstance(old, dict) else ()
        old = {k: v for k, v in old.items() if k in kept} if kept else {}
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
        parsed = yaml_files.parse(value, key)
        for part in reversed(path):
            parsed = {part: parsed}
        tree = merge_trees(tree, parsed)
        keys.append(key)
    return tree, keys


def merge_trees(old: Any, new: Any) -> Any:
    """The same without parts: nothing is dropped, so that the order of overrides does not matter."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {k: merge_trees(old.get(k), v) for k, v in new.items()}


def _other_part(old: dict[str, Any], new: dict[str, Any]) -> bool:
    if not {"name", "target"} & old.keys():
        return False
    if "name" in new:
        return new["name"] != old.get("name")
    # A part may have an argument called target; a class is text with a colon.
    return isinstance(new.get("target"), str) and ":" in new["target"] and new["target"] != old.get("target")


def _merge_list(old: list, new: dict[str, Any], key: tuple[str, ...]) -> list:
    merged = list(old)
    for position, value in new.items():
        if int(position) >= len(merged):
            where = ".".join((*key, position))
            raise UserError(f"{where}: there is no such entry; the list has {len(merged)}")
        merged[int(position)] = merge(merged[int(position)], value, (*key, position))
    return merged
