"""What a config says that differs from the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gantrain.config.base import Schema
from gantrain.config.parts import Part


def chosen(config: Schema) -> dict[str, Any]:
    """A config as plain data without the keys that have their defaults, to be read and not to be loaded.

    A part keeps its name or target also where that is the default. A default that depends on another key counts as one
    although it was written down; :func:`gantrain.config.shortened.without_defaults` keeps such keys.
    """
    found: dict[str, Any] = _chosen(config, config.model_dump(mode="json"))
    return found


def _chosen(value: Any, plain: Any) -> Any:
    """A validated value without defaults; ``plain`` is the whole of it as plain data."""
    if isinstance(value, Schema) and isinstance(plain, Mapping):
        fields, found = type(value).model_fields, dict[str, Any]()
        for number, (key, field) in enumerate(fields.items()):
            inside = getattr(value, key)
            if key not in plain:  # the data set, whose keys stand beside those of its section
                found |= _chosen(inside, plain)
            elif inside != field.default or isinstance(value, Part) and number == 0:
                found[key] = _chosen(inside, plain[key])
        return found
    if isinstance(value, Mapping) and isinstance(plain, Mapping):
        return {key: _chosen(value[key], inside) for key, inside in plain.items()}
    if isinstance(value, list | tuple) and isinstance(plain, list):
        return [_chosen(*pair) for pair in zip(value, plain, strict=True)]
    return plain
