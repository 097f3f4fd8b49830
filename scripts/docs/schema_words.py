"""The types, defaults and descriptions of a JSON schema in words for a reader, as HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

from dialect import as_code

from gantrain.config.registry import KINDS, kind

Link = Callable[[str], str]
"""From the name of a definition to the address of its place in the pages."""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
# What a value of a definition is called in a type, where its name would not say it.
_CALLED = {
    "schedule": "a schedule",
    "Init": "a section init",
    "PublishedNetwork": "a published network",
    "EMA": "an average",
    "Evaluate": "an evaluation of a GAN",
    "Accuracy": "of a classifier",
    "Correlation": "of a regression",
}


def words(schema: dict[str, Any], link: Link) -> str:
    """The values that a schema accepts, in words with links to the definitions.

    Args:
        schema: the schema of a key.
        link: the function from the name of a definition to the address of its place.
    """
    return _either(list(dict.fromkeys(_alternatives(schema, link))))


def _alternatives(schema: dict[str, Any], link: Link) -> list[str]:
    if "anyOf" in schema:
        return [found for option in schema["anyOf"] for found in _alternatives(option, link)]
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return [f'<a href="{link(name)}">{_title(name)}</a>']
    if "const" in schema or "enum" in schema:
        return [_code(value) for value in schema.get("enum", [schema.get("const")])]
    return [_of_type(schema, link)]


def _of_type(schema: dict[str, Any], link: Link) -> str:
    bounds = " and ".join(f"{sign} {default(schema[key], False)}" for key, sign in _BOUNDS.items() if key in schema)
    match schema.get("type"):
        case "null":
            return _code(None)
        case "boolean":
            return f"{_code(True)} or {_code(False)}"
        case "integer" | "number" as kind:
            return " ".join(filter(None, ["whole number" if kind == "integer" else "number", bounds]))
        case "string":
            return "text"
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(words(item, link) for item in schema['prefixItems'])}]"
        case "array":
            each = words(schema["items"], link) if "items" in schema else "values"
            exactly = schema.get("minItems") if schema.get("minItems") == schema.get("maxItems") else None
            return f"list of {exactly} times {each}" if exactly else f"list of {each}"
        case "object" if schema.get("properties") and not any(v is False for v in schema["properties"].values()):
            return f"{{{', '.join(f'<code>{k}</code>: {words(v, link)}' for k, v in schema['properties'].items())}}}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"mapping from names to {words(schema['additionalProperties'], link)}"
        case "object":
            return "mapping"
    return "any value"


def _either(options: list[str]) -> str:
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last


def _title(name: str) -> str:
    """What a type calls a definition."""
    if name in KINDS:
        title = kind(name).title
        return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"
    if name in _CALLED:
        return _CALLED[name]
    return "a player" if name.endswith("Player") else f"a section {name.lower()}"


def default(value: Any, code: bool = True) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, dict):
        text = f"{{{', '.join(f'{key}: {default(each, False)}' for key, each in value.items())}}}"
    elif isinstance(value, list):
        text = f"[{', '.join(default(each, False) for each in value)}]"
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = str(value)
    return f"<code>{html.escape(text)}</code>" if code else text


_code = default


def prose(text: str) -> str:
    """A description as HTML: its paragraphs, with code for what stands between backticks, and for ``{key: value}``."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", as_code(text).strip()):
        escaped = html.escape(" ".join(paragraph.split()), quote=False)
        pieces = re.split(r"(``.+?``|`[^`]+`|\{[^{}]+\})", escaped)
        coded = (f"<code>{p.strip('`')}</code>" if p[:1] in ("`", "{") else p for p in pieces)
        paragraphs.append(f"<p>{''.join(coded)}</p>")
    return "".join(paragraphs) if text.strip() else ""
