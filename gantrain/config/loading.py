"""Loading of the configs of training runs, of ``gantrain solve`` and of ``gantrain map`` from YAML files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from gantrain.config import json_schemas, keys, merge, shipped, yaml_files
from gantrain.config.base import Schema, lines
from gantrain.config.moved import moved
from gantrain.config.paths import no_config
from gantrain.config.registry import kind as kind_of
from gantrain.config.schema import Config, MapConfig, SolveConfig, config_of
from gantrain.config.types import one_line
from gantrain.errors import NotFound, UserError

AnySchema = TypeVar("AnySchema", bound=Schema)
Command = Literal["train", "solve", "map"]
# The largest number of keys that a message proposes.
_MOST_KEYS = 4
_SCHEMAS: dict[str, type[Schema]] = {"train": Config, "solve": SolveConfig, "map": MapConfig}


def load(
    path: str | Path,
    overrides: Sequence[merge.Override] = (),
    check: Callable[[Any], None] | None = None,
    data: str | None = None,
) -> Config:
    """Load the config of a training run. Its paths are absolute, but for that of the folder of the runs.

    Args:
        path: the YAML file, in the working directory or among those shipped, such as ``configs/quickstart.yaml``.
        overrides: arguments ``a.b.c=value``, or keys and values that have been read, which are merged over the file.
        check: is given the merged content before anything that it names is imported, and may refuse it.
        data: where the data lie now, if not where the config says.

    Raises:
        UserError: the file cannot be read or the config is wrong; the message has one line for each problem.
    """
    return _load(Config, path, overrides, check, data)


def load_solve(path: str | Path, overrides: Sequence[str] = ()) -> SolveConfig:
    """Load the config of ``gantrain solve``; see :func:`load`."""
    return _load(SolveConfig, path, overrides)


def load_map(path: str | Path, overrides: Sequence[str] = ()) -> MapConfig:
    """Load the config of ``gantrain map``; see :func:`load`."""
    return _load(MapConfig, path, overrides)


def load_any(command: Command, path: str | Path, overrides: Sequence[str] = ()) -> Schema:
    """Load the config of a command; see :func:`load`."""
    return _load(_SCHEMAS[command], path, overrides)


def sources(path: str | Path, overrides: Sequence[merge.Override] = ()) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What a config is based on, and what it says itself, both before defaults are filled in.

    Args:
        path: as in :func:`load`.
        overrides: as in :func:`load`.

    Returns:
        The names of the files that the file inherits from, or of the file itself if it inherits from none; what these
        say; and what the file and the overrides make of it.
    """
    files = merge.read_files(shipped.find(path))
    below = files[1:] or files
    content = merge.merge(merge.merge_files(files), merge.parse_overrides(overrides)[0])
    return ", ".join(shipped.shown(file) for file, _ in reversed(below)), merge.merge_files(below), content


def resolved(config: Schema) -> dict[str, Any]:
    """The config as dicts, lists and scalars, with every default filled in."""
    return config.model_dump(mode="json")


def dump(config: Schema) -> str:
    """The config as YAML that loads back to the same, from any current directory."""
    return yaml_files.text(resolved(config))


def json_schema(command: Command = "train") -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the configs of a command."""
    if command == "train":
        return json_schemas.describe(*(config_of(game) for game in kind_of("game").parts.values()))
    return json_schemas.describe(_SCHEMAS[command])


def known_keys(command: Command, path: str | Path | None, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The keys that the config of a command has, with their values.

    Args:
        command: the command that takes the config.
        path: the file of the config. If it cannot be loaded, the keys are those that every config may have.
        overrides: arguments ``a.b.c=value``; they are left out if the config is wrong with them.
    """
    for given in (overrides, ()):
        try:
            if path is not None:
                return keys.all_keys(_load(_SCHEMAS[command], path, given))
        except UserError:
            continue
    return keys.section_keys(config_of(kind_of("game").parts["gan"]) if command == "train" else _SCHEMAS[command])


def validate(schema: type[AnySchema], content: Any, where: str) -> AnySchema:
    """The validated config of a content that has been read already.

    Args:
        schema: the class of the config.
        content: the config as plain data.
        where: where the content comes from, with which each line of the message begins.

    Raises:
        UserError: the config is wrong; the message has one line for each problem.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        found = lines(error, content)
        raise UserError("\n".join(f"{where}{f': {key}' if key else ''}: {what}" for key, what in found)) from None


def _load(
    schema: type[AnySchema],
    path: str | Path,
    overrides: Sequence[merge.Override],
    check: Callable[[Any], None] | None = None,
    data: str | None = None,
) -> AnySchema:
    found = shipped.find(path)
    if shipped.is_missing(found):
        swapped = "; the config's file comes before KEY=VALUE" if "=" in str(path) else ""
        raise NotFound(f"{one_line(path)}: {no_config(path, path)}{swapped}")
    files = merge.read_files(found)
    content = merge.merge_files(files)
    tree, overridden = merge.parse_overrides(overrides)
    if "over" in content:
        raise UserError(f"{path}: is a sweep file; name it in gantrain sweep, as in gantrain sweep {one_line(path)}")
    if not content:
        raise UserError(f"{path}: is empty; expected a mapping with the keys {', '.join(schema.model_fields)}")
    before, content = content, merge.merge(content, tree)
    if check is not None:
        check(content)
    if data is not None:
        content = moved(content, data)
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        wrong = lines(error, content)
    for command, other in _SCHEMAS.items():
        if other is not schema and _is_valid(other, content):
            raise UserError(f"{path}: is a config of gantrain {command}; name it there")
    given = tuple(f"{key}." for key in overridden)
    meant = {key: _meant(schema, before, key, overridden) for key, what in wrong if what.startswith("unknown key;")}
    messages = []
    for key, what in wrong:
        written = f"{key}.".startswith(given) or meant.get(key) or (_has(tree, key) and not _has(before, key))
        place = _place(overrides, key) if written else merge.origin(files, key)
        if what.startswith("is missing"):
            place, what = _dropped(files, tree, overrides, key, what) or (place, what)
        messages.append(f"{place}: {key}: {meant.get(key) or what}")
    raise UserError("\n".join(messages))


def _dropped(
    files: Sequence[tuple[Path, dict[str, Any]]],
    tree: dict[str, Any],
    overrides: Sequence[merge.Override],
    key: str,
    missing: str,
) -> tuple[str | Path, str] | None:
    """Where the part was chosen that lacks a key, and the message with the reason, if it replaced another part."""
    above = [*reversed(files), (None, tree)]
    found = merge.replacement([content for _, content in above], key)
    if found is None:
        return None
    place = above[found.layer][0] or _place(overrides, found.part)
    return place, (
        f"{missing}; {found.part}: {found.new} took the place of {found.old}, whose keys were dropped; give the keys "
        f"that {found.new} needs"
    )


def _place(overrides: Sequence[merge.Override], key: str) -> str:
    """Where the override stands that says a key, or keys above it, or else keys below it."""
    settings = [each for each in reversed(overrides) if isinstance(each, merge.Setting)]
    says = [each.place for each in settings if f"{key}.".startswith(f"{each.key}.")]
    below = [each.place for each in settings if each.key.startswith(f"{key}.")]
    return next(iter(says + below), "command line")


def _is_valid(schema: type[Schema], content: dict[str, Any]) -> bool:
    try:
        schema.model_validate(content)
    except ValidationError:
        return False
    return True


def _has(content: Any, key: str) -> bool:
    """Whether a content has a key ``a.b.c``."""
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


def _meant(schema: type[Schema], content: dict[str, Any], unknown: str, overridden: Sequence[str]) -> str:
    """What is wrong with an unknown key of the command line that ends like other keys, with the full names of these.

    Returns:
        The message; empty if no key ends like it.
    """
    written = next((key for key in overridden if f"{key}.".startswith(f"{unknown}.")), None)
    if written is None:
        return ""
    try:
        known = keys.all_keys(schema.model_validate(content))
    except ValidationError:
        return ""
    # A part that the command line replaces may have the key that the new one lacks.
    found = keys.meant(written, [key for key in known if not f"{key}.".startswith(f"{unknown}.")])
    return f"unknown key; did you mean {' or '.join(found[:_MOST_KEYS])}?" if found else ""
