"""Merging of configs: inheritance by ``base:``, and overrides ``a.b.c=value`` on the command line."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from gantrain.config import marks, shipped, yaml_files
from gantrain.config.paths import no_config, tidy
from gantrain.config.sections import ONE_OF_AVERAGE, Data, FolderName, kinds_of_average
from gantrain.config.types import Written, expanded, one_line, shown
from gantrain.errors import UserError

Key = tuple[str, ...]
"""A position in a config: ``("outer", "base")`` stands for ``outer.base``."""


class Setting(NamedTuple):
    """A key and its value, as ``a.b.c=value`` says them on the command line.

    Attributes:
        key: the dotted key.
        value: the value, which has been read already.
        place: where it stands, for messages.
    """

    key: str
    value: Any
    place: str = "command line"

    @property
    def tree(self) -> dict[str, Any]:
        """The nested mapping that the setting describes."""
        tree = self.value
        for part in reversed(self.key.split(".")):
            tree = {part: tree}
        return cast(dict[str, Any], tree)


Override = str | Setting

# More files or arguments than this are a mistake, and would take long to merge.
_MOST_FILES = 100
_MOST_OVERRIDES = 1000
_LONGEST_KEY = 1000
# Sections that hold either one part for all players, or a mapping from players to parts.
_PER_PLAYER: tuple[Key, ...] = (("optimizer",), ("sharpness",), ("constraint",))
# What lies at a position that a content does not have.
_NOTHING = object()
# Keys that stand beside a part's own keys and survive a change of the part.
_BESIDE: dict[Key, set[str]] = {("data",): Data.kept()}


def read_files(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Read a config file and all files that it inherits from.

    The key ``base`` names one file or several, relative to the file in which it stands, or shipped ones; they may have
    bases in turn.

    Args:
        path: the config file.
        above: the files that inherit from this one.

    Returns:
        Each file's path and content without the key ``base``. A file comes before the files over which it is merged; of
        several bases the last one comes first, since it is merged over those before it.

    Raises:
        UserError: a file is missing or wrong, or inherits from itself; there are too many files.
    """
    content = read_file(path)
    bases = content.pop("base", None)
    files = [(path, content)]
    for base in reversed(_listed(bases)):
        if not isinstance(base, str):
            raise UserError(f"{path}: base: expected the path of another config or a list of some, got {shown(bases)}")
        try:
            below = tidy(shipped.find(expanded(base), path.parent))
            real = os.path.realpath(below)
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: base: {one_line(base)}: {error}") from None
        if any(real == os.path.realpath(file) for file in (*above, path)):
            raise UserError(f"{path}: base: {one_line(base)} inherits from this file, which would go round in a circle")
        if shipped.is_missing(below):
            link = f"; {path} is a link, and paths in it are relative to the link's folder" if path.is_symlink() else ""
            raise UserError(f"{path}: base: {no_config(below, base)}{link}")
        # The first check ends a long chain, the second a tree in which files have several bases each.
        files += read_files(below, (*above, path)) if len(above) < _MOST_FILES else []
        if len(files) + len(above) >= _MOST_FILES:
            raise UserError(f"{path}: base: more than {_MOST_FILES} files are inherited from; name fewer")
    return files


def read_file(path: Path) -> dict[str, Any]:
    """Read one config file. Its texts know the file's folder, to which paths in them are relative.

    Paths in a run's own config are absolute already, and have nothing left to expand. An earlier version may have
    written relative ones, which mean what they meant then: they are relative to the current directory. The run's name
    and folder are those of the place where the file lies, since it may have been moved or renamed.

    Raises:
        UserError: as :func:`~gantrain.config.yaml_files.read`.
    """
    content: dict[str, Any] = yaml_files.read(path)
    of_run = yaml_files.first_line(path).startswith(marks.RUN)
    folder = os.path.abspath("" if of_run else path.parent)

    def written(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: written(inside) for key, inside in value.items()}
        if isinstance(value, list):
            return list(map(written, value))
        return Written.of(value, folder, not of_run) if isinstance(value, str) else value

    run = content.get("run")
    if of_run and isinstance(run, dict):
        content["run"] = run | _place_of_run(path.absolute().parent, run.get("name"))
    return {key: written(value) for key, value in content.items()}


def _place_of_run(folder: Path, name: Any) -> dict[str, str]:
    """The keys of ``run`` that say where a run lies whose config is in a folder; empty for a copy of a config.

    A run in a folder of another name has been renamed. Its log tells it from a copy.
    """
    place = {"folder": str(folder.parent), "name": folder.name}
    if name == folder.name:
        return place
    try:
        return {**place, "name": FolderName().convert(folder.name)} if (folder / marks.LOG).is_file() else {}
    except ValueError:
        return {}


def merge_files(files: Sequence[tuple[Path, dict[str, Any]]]) -> dict[str, Any]:
    """The content of all files, each merged over the one after it."""
    return functools.reduce(merge, (content for _, content in reversed(files)), {})


def origin(files: Sequence[tuple[Path, dict[str, Any]]], key: str) -> Path:
    """The file from which the value of the key ``a.b.c`` comes; the first file where none holds the key."""
    return next((path for path, content in files if _holds(content, key.split("."))), files[0][0])


class Replacement(NamedTuple):
    """The choice of another part, which dropped the keys of the part below.

    Attributes:
        layer: the number of the content that chose it.
        part: the key of the part.
        old: the ``name`` or ``target`` of the part below.
        new: that of the other part.
    """

    layer: int
    part: str
    old: str
    new: str


def replacement(contents: Sequence[dict[str, Any]], key: str) -> Replacement | None:
    """The last replacement of the innermost part to which the key ``a.b.c`` belongs and that was replaced, if any.

    Args:
        contents: the contents in the order in which they are merged, each over those before it.
        key: the key.
    """
    layers: list[dict[str, Any]] = list(itertools.accumulate(contents, merge, initial={}))
    path = key.split(".")
    for length in range(len(path) - 1, 0, -1):
        values = [_value(layer, path[:length]) for layer in layers]
        for layer, (old, new) in reversed(list(enumerate(itertools.pairwise(values)))):
            before, after = _choice(old), _choice(new)
            if before and after and _keys_of(old) - _keys_of(new):
                return Replacement(layer, ".".join(path[:length]), before, after)
    return None


def _choice(part: Any) -> str | None:
    """The ``name`` or ``target`` that a part is written with; None where it has neither."""
    chosen = next((part[key] for key in ("name", "target") if key in part), None) if isinstance(part, dict) else part
    return chosen if isinstance(chosen, str) else None


def _keys_of(part: Any) -> set[str]:
    """The keys of a part beside its choice, which alone is a text."""
    return part.keys() - {"name", "target"} if isinstance(part, dict) else set()


def merge(old: Any, new: Any, key: Key = ()) -> Any:
    """Merge ``new`` over ``old``: mappings are merged key by key, and other values are replaced.

    Where ``new`` chooses another part by ``name`` or ``target``, the keys of the old part are dropped. So are an old
    interval ``every``, the old way in which an average is taken, and the step and weights of an ``init`` from another
    run, where ``new`` has its own. A mapping whose keys are positions changes single entries of a list.

    Args:
        old: the value below, or None.
        new: the value above.
        key: the position of both values in the config.

    Raises:
        UserError: ``new`` changes an entry that a list does not have.

    Examples:
        The keys of one part are merged; another part drops the keys of the old one.

        >>> old = {"outer": {"name": "rapp", "inner_steps": 3}, "list": [1, 2]}
        >>> merge(old, {"outer": {"relaxation": 0.5}, "list": {"1": 7}})
        {'outer': {'name': 'rapp', 'inner_steps': 3, 'relaxation': 0.5}, 'list': [1, 7]}
        >>> merge(old, {"outer": {"name": "gda"}})
        {'outer': {'name': 'gda'}, 'list': [1, 2]}
    """
    if not isinstance(new, dict):
        return new
    if isinstance(old, list) and new and all(map(str.isdecimal, new)):
        return _merge_list(old, new, key)
    of_init = key[:1] == ("game",) and key[-1:] == ("init",) and "model" not in key
    if isinstance(old, str) and _chooses_part(key):
        old = {"run" if of_init else "name": old}
    other_run = of_init and isinstance(old, dict) and "run" in new and old.get("run", new["run"]) != new["run"]
    if not isinstance(old, dict) or key[-1:] == ("every",) or other_run:
        old = {}
    elif key[:1] == ("ema",) and (kinds := kinds_of_average(new)):
        other = kinds_of_average(old) not in ([], kinds)
        old = {k: v for k, v in old.items() if k not in ONE_OF_AVERAGE and not (other and k in ("ramp", "start"))}
    elif _chooses_part(key) and (_other_part(old, new) or key in _PER_PLAYER and _other_form(old, new)):
        old = {k: v for k, v in old.items() if k in _BESIDE.get(key, ())}
    merged = {k: merge(v, new[k], (*key, k)) if k in new else v for k, v in old.items()}
    # New values are merged over None, so that positions and nulls in them have the same meaning everywhere.
    return merged | {k: merge(None, v, (*key, k)) for k, v in new.items() if k not in old}


def parse_overrides(overrides: Sequence[Override]) -> tuple[dict[str, Any], list[str]]:
    """The nested mapping that arguments ``a.b.c=value`` describe, and the keys of the arguments.

    An argument may also have been read already. Arguments go over those before them where these stand elsewhere: what
    the command line says goes over what a sweep file says.

    Raises:
        UserError: an argument does not have this form, or its value is not valid YAML; two of one place contradict one
            another; there are too many arguments.
    """
    if len(overrides) > _MOST_OVERRIDES:
        raise UserError(f"command line: {len(overrides)} arguments key=value; expected at most {_MOST_OVERRIDES}")
    tree: dict[str, Any] = {}
    keys = []
    of_place: dict[tuple[type, str], list[Setting]] = {}
    for position, override in enumerate(overrides):
        setting = override if isinstance(override, Setting) else Setting(*_parsed(override, overrides, position))
        tree = merge(tree, setting.tree)
        keys.append(setting.key)
        # What has been read already may stand on the command line, too, but in an option of its own.
        of_place.setdefault((type(override), setting.place), []).append(setting)
    for settings in of_place.values():
        _require_agreement(settings)
    return tree, keys


def says(overrides: Sequence[Override], key: str) -> bool:
    """Whether arguments ``a.b.c=value`` say the key."""
    return _holds(parse_overrides(overrides)[0], key.split("."))


def _require_agreement(settings: Sequence[Setting]) -> None:
    """Refuse settings of one place of which a later one says anew what an earlier one says, or drops it."""
    tree: dict[str, Any] = {}
    before: list[Setting] = []
    for setting in settings:
        merged = merge(tree, setting.tree)
        if any(each.key == setting.key for each in before):
            raise UserError(f"{setting.place}: {setting.key}: is given twice; leave one out")
        if _count(merged) < _count(tree) + _count(setting.tree):
            other = next(each for each in before if _drops(setting, each))
            advice = "leave one of the two out" if _drops(other, setting) else f"write {setting.key} first"
            raise UserError(f"{setting.place}: {setting.key}: undoes what {other.key} says before it; {advice}")
        tree = merged
        before.append(setting)


def _drops(later: Setting, earlier: Setting) -> bool:
    """Whether not all that the two settings say is left where the later one is merged over the earlier one."""
    return _count(merge(earlier.tree, later.tree)) < _count(earlier.tree) + _count(later.tree)


def _count(content: Any) -> int:
    """The number of values that a content says."""
    if isinstance(content, dict):
        return sum(map(_count, content.values()))
    return sum(map(_count, content)) if isinstance(content, list) and content else 1


def _parsed(override: str, overrides: Sequence[Override], position: int) -> tuple[str, Any]:
    """The key and the value of an argument ``a.b.c=value``."""
    key, equals, value = override.partition("=")
    path = key.split(".")
    if not equals or not all(path):
        example = _joined([str(each) for each in overrides], position) or "outer.relaxation=0.5"
        raise UserError(f"{shown(override)}: expected key=value, as in {one_line(example)}")
    if len(path) > yaml_files.DEEPEST or len(key) > _LONGEST_KEY or not key.isprintable():
        raise UserError(f"command line: {shown(key)}: there is no such key")
    parsed = yaml_files.parse(value, f"command line: {key}")
    if isinstance(parsed, str) and len(value.strip().splitlines()) > 1:
        raise UserError(f"command line: {key}: text with a line break, which YAML turns into a space; leave it out")
    return key, parsed


def _joined(overrides: Sequence[str], position: int) -> str:
    """The argument that was meant by a wrong one and those beside it: ``a=1`` for ``a 1``, ``a = 1`` and ``a:1``."""
    before, here, *after = ["", *overrides][position:]
    if before.endswith("="):  # a= 1
        return f"{before}{here}"
    if here.startswith("="):  # a =1
        return f"{before}{here}" if before and "=" not in before else ""
    key, colon, value = here.partition(":")
    if after and not value and after[0].startswith("="):
        value = "".join(after[:2] if after[0] == "=" else after[:1])[1:]
    elif after and not value and "=" not in after[0]:
        value = after[0]
    return f"{key}={value}" if value and all(re.fullmatch(r"\w+", part) for part in key.split(".")) else ""


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _chooses_part(key: Key) -> bool:
    """Whether the ``name`` of a mapping chooses a part, which owns the other keys, and is not an ordinary key."""
    of_tracker = key[:2] == ("log", "to") and len(key) > 3
    return key not in ((), ("run",)) and key[:1] != ("ema",) and not of_tracker


def _other_part(old: dict[str, Any], new: dict[str, Any]) -> bool:
    if not {"name", "target"} & old.keys():
        return False
    if "name" in new:
        return new["name"] != old.get("name")
    # A part may have a key target whose value is a number; a class is named by text.
    return isinstance(new.get("target"), str) and new["target"] != old.get("target")


def _other_form(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether one of the two is a part and the other a mapping from players to parts."""
    if {"name", "target"} & new.keys():
        return not {"name", "target"} & old.keys()
    return bool({"name", "target"} & old.keys()) and any(isinstance(part, dict) for part in new.values())


def _merge_list(old: list[Any], new: dict[str, Any], key: Key) -> list[Any]:
    merged = list(old)
    for position, value in new.items():
        if not _is_entry(position, merged):
            where = ".".join((*key, position if len(position) < 20 else shown(position)))
            raise UserError(f"{where}: there is no such entry; the list has {len(merged)}")
        merged[int(position)] = merge(merged[int(position)], value, (*key, position))
    return merged


def _is_entry(position: str, entries: list[Any]) -> bool:
    """Whether a key is the position of an entry; Python reads no number of thousands of digits."""
    return position.isdecimal() and len(position) < 20 and int(position) < len(entries)


def _holds(content: Any, path: Sequence[str]) -> bool:
    return _value(content, path, _NOTHING) is not _NOTHING


def _value(content: Any, path: Sequence[str], default: Any = None) -> Any:
    """The value at a position of a content; the default where the content has no such position."""
    for part in path:
        if isinstance(content, list) and _is_entry(part, content):
            content = content[int(part)]
        elif isinstance(content, dict) and part in content:
            content = content[part]
        else:
            return default
    return content
