"""The values that a key of a config may have, where there are only some, for the completion in a shell."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from gantrain.config.base import Schema
from gantrain.config.parts import Part
from gantrain.config.registry import kind as kind_of


def choices(config: Schema, key: str) -> list[str]:
    """The values of a key as they are written in YAML: words, names of parts, true and false, null; else none.

    Args:
        config: a validated config, whose parts decide which keys there are.
        key: the full key ``a.b.c``.
    """
    place: Any = config
    *above, last = key.split(".")
    for name in above:
        place = _inside(place, name)
    if isinstance(place, Schema | type) and "part" in _fields(place) and last not in _fields(place):
        place = getattr(place, "part", None)
    if isinstance(place, Part) and last == "name":
        return list(kind_of(type(place).part_kind).parts)
    if last not in _fields(place):
        return []
    schema = _class(place).model_json_schema()
    words = list(dict.fromkeys(_words(schema["properties"][last], schema)))
    return [] if words == ["null"] else words  # beside numbers or texts, which are more than some


def _inside(place: Any, name: str) -> Any:
    """What lies at a key of a place: a value, or the class of a section that is null."""
    if isinstance(place, Mapping):
        return place.get(name)
    if isinstance(place, list | tuple):
        return place[int(name)] if name.isdecimal() and int(name) < len(place) else None
    if name not in _fields(place):
        part = getattr(place, "part", None)
        return _inside(part, name) if isinstance(part, Part) else None
    value = getattr(place, name, None) if isinstance(place, Schema) else None
    return _section(_fields(place)[name].annotation) if value is None else value


def _section(annotation: Any) -> Any:
    options = (annotation, *typing.get_args(annotation))
    return next((option for option in options if isinstance(option, type) and issubclass(option, Schema)), None)


def _class(place: Any) -> type[Schema]:
    found: type[Schema] = place if isinstance(place, type) else type(place)
    return found


def _fields(place: Any) -> Mapping[str, Any]:
    return getattr(_class(place), "model_fields", {})


def _words(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> list[str]:
    """The words that a JSON schema admits."""
    if "$part" in schema:
        return list(kind_of(schema["$part"]).parts)
    if "$ref" in schema:
        return _words(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    if "enum" in schema:
        return [str(word) for word in schema["enum"] if word is not None]
    if isinstance(schema.get("const"), str):
        return [schema["const"]]
    found = [word for option in schema.get("anyOf", ()) for word in _words(option, whole)]
    return found + {"boolean": ["true", "false"], "null": ["null"]}.get(str(schema.get("type")), [])
