"""JSON schemas of the configs, for editors."""

from __future__ import annotations

from typing import Any

from gantrain.config.base import Schema
from gantrain.config.parts import part_model
from gantrain.config.registry import kind as kind_of

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
    """The schema (draft 2020-12) of a file that is one of these configs: every section, and every part with its keys.

    Keys are required only where the file has no ``base``, and there only at the top: what a section still lacks may
    stand in a base.
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
        "then": {"required": [name for name, field in configs[0].model_fields.items() if field.is_required()]},
        "$defs": {**sections, **dict(sorted(definitions.items()))},
    }


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """What fits one of the schemas of a key that several configs have."""
    different = [schema for i, schema in enumerate(schemas) if schema not in schemas[:i]]
    if len(different) == 1:
        return different[0]
    return {"description": different[0].get("description", ""), "anyOf": different}


def _linked(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace the marks of parts by references, and define the kinds that are referred to."""
    if isinstance(schema, list):
        return [_linked(s, definitions) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if "$part" not in schema:
        return {key: _linked(value, definitions) for key, value in schema.items()}
    kind = schema["$part"]
    _define(kind, definitions)
    return {"$ref": f"#/$defs/{kind}", **{k: v for k, v in schema.items() if k != "$part"}}


def _define(kind: str, definitions: dict[str, Any]) -> None:
    if kind in definitions:
        return
    about = kind_of(kind)
    definitions[kind] = {
        "title": about.title,
        "anyOf": [
            {"type": "string", "enum": list(about.parts)},
            *({"$ref": f"#/$defs/{kind}.{name}"} for name in about.parts),
            _TARGET,
        ],
    }
    for name in about.parts:
        part = _lenient(_linked(part_model(kind, name).model_json_schema(), definitions))
        definitions.update(part.pop("$defs", {}))
        definitions[f"{kind}.{name}"] = part


def _lenient(schema: Any) -> Any:
    """Without ``required``, which a base may fulfil; what then fits several alternatives is no error."""
    if isinstance(schema, list):
        return [_lenient(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if not (key == "required" and isinstance(value, list))}
    return {"anyOf" if key == "oneOf" else key: _lenient(value) for key, value in kept.items()}


def _data(section: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The data section: each data set's keys with those of the section beside them."""
    beside = {key: value for key, value in section["properties"].items() if key != "part"}
    names, *references, target = definitions["data"]["anyOf"]
    parts = [definitions[reference["$ref"].removeprefix("#/$defs/")] for reference in references]
    return {
        "description": section.get("description", ""),
        "anyOf": [
            names,
            *({**part, "properties": part["properties"] | beside} for part in parts),
            {**target, "properties": target["properties"] | beside},
        ],
    }
