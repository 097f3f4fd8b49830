"""JSON schemas of the configs, with which editors check and complete them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gantrain.config import schedules
from gantrain.config.base import Schema
from gantrain.config.parts import part_model
from gantrain.config.registry import kind as kind_of
from gantrain.config.sections import Data

_TARGET = {
    "type": "object",
    "required": ["target"],
    "properties": {
        "target": {
            "type": "string",
            "pattern": r"^[\w.]+:\w+$",
            "description": "One of your own: package.module:Class",
        },
        "name": False,
    },
}


def describe(*configs: type[Schema]) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a file that holds one of several configs, with all sections and parts.

    Only the keys at the top of a file are required, and only if the file has no ``base``, since a base may hold the
    keys that a file lacks.

    Args:
        configs: the classes of the configs; the description of the schema is that of the first.
    """
    definitions: dict[str, Any] = {}
    schemas = [_lenient(_linked(config.model_json_schema(), definitions)) for config in configs]
    sections = {name: section for schema in schemas for name, section in schema.pop("$defs", {}).items()}
    if "Data" in sections:
        sections["Data"] = _data(sections["Data"], definitions)
    base = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
        "description": "Another config, relative to this file, over which this one is merged; or several, in turn.",
    }
    keys = dict.fromkeys(key for schema in schemas for key in schema["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schemas[0],
        "properties": {
            "base": base,
            **{key: _either([s["properties"][key] for s in schemas if key in s["properties"]]) for key in keys},
        },
        "if": {"not": {"required": ["base"]}},
        "then": _required(list(keys), configs),
        "$defs": {**sections, **dict(sorted(definitions.items()))},
    }


def _required(keys: Sequence[str], configs: Sequence[type[Schema]]) -> dict[str, Any]:
    """The schema that requires the sections which all configs require, or those of the game that the file names."""
    number = {key: sum(_requires(config, key) for config in configs) for key in keys}
    required = {"required": [key for key in keys if number[key] == len(configs)]}
    conditional = [_required_by_games(key, configs) for key in keys if 0 < number[key] < len(configs)]
    return required | ({"allOf": conditional} if conditional else {})


def _required_by_games(key: str, configs: Sequence[type[Schema]]) -> dict[str, Any]:
    """The schema by which some games, but not all, require a section."""
    paths = {getattr(config, "game_path", None) for config in configs if _requires(config, key)}
    names = {"enum": [name for name, path in kind_of("game").parts.items() if path in paths]}
    game = {"anyOf": [names, {"type": "object", "required": ["name"], "properties": {"name": names}}]}
    return {"if": {"properties": {"game": game}}, "then": {"required": [key]}}


def _requires(config: type[Schema], key: str) -> bool:
    return key in config.model_fields and config.model_fields[key].is_required()


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """A schema that accepts what one of the given schemas accepts; they belong to one key of several configs."""
    different = [schema for i, schema in enumerate(schemas) if schema not in schemas[:i]]
    if len(different) == 1:
        return different[0]
    return {"description": different[0].get("description", ""), "anyOf": different}


def _linked(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with references in the place of its marks ``$part`` and ``$schedule``.

    What is referred to is added to ``definitions``.
    """
    if isinstance(schema, list):
        return [_linked(s, definitions) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if "$schedule" in schema:
        definitions.setdefault("schedule", _lenient(schedules.json_schema()))
        return {"$ref": "#/$defs/schedule"}
    if "$part" not in schema:
        return {key: _linked(value, definitions) for key, value in schema.items()}
    kind = schema["$part"]
    _define(kind, definitions)
    return {"$ref": f"#/$defs/{kind}", **{k: v for k, v in schema.items() if k != "$part"}}


def _define(kind: str, definitions: dict[str, Any]) -> None:
    if kind in definitions:
        return
    described = kind_of(kind)
    definitions[kind] = {
        "title": described.title,
        "anyOf": [
            *([{"type": "string", "enum": list(described.parts)}] if described.parts else []),
            *({"$ref": f"#/$defs/{kind}.{name}"} for name in described.parts),
            _TARGET,
        ],
    }
    for name in described.parts:
        part = _lenient(_linked(part_model(kind, name).model_json_schema(), definitions))
        definitions.update(part.pop("$defs", {}))
        definitions[f"{kind}.{name}"] = part


def _lenient(schema: Any) -> Any:
    """The schema without ``required``, since a base may hold the keys; several alternatives may then fit."""
    if isinstance(schema, list):
        return [_lenient(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "required" and isinstance(value, list))}
    return {"anyOf" if key == "oneOf" else key: _lenient(value) for key, value in kept.items()}


def _data(section: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of the section data, where a data set's keys stand beside those of the section."""
    beside = {key: value for key, value in section["properties"].items() if key != "part"}
    names, *references, target = definitions["data"]["anyOf"]
    parts = [definitions[reference["$ref"].removeprefix("#/$defs/")] for reference in references]
    # A data set of one's own has the keys that stand beside every data set's.
    common = {key: parts[0]["properties"][key] for key in Data.kept() - Data.beside()}
    return {
        "description": section.get("description", ""),
        "anyOf": [
            names,
            *({**part, "properties": part["properties"] | beside} for part in parts),
            {**target, "properties": target["properties"] | common | beside},
        ],
    }
