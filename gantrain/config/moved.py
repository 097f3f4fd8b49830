"""Data that have been moved: a config is given their new place under the keys that name the old one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from gantrain.config.parts import Part, part_model, target_model
from gantrain.config.types import HubLocation, Location, OutputLocation, shown
from gantrain.errors import UserError

# The keys that name the place of a data set, also where its constructor says that they are text, or may be a name on a
# hub.
_USUAL = ("path", "root")


def moved(content: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The content of a config whose data lie at another place.

    The place takes that of the data set's ``path`` or ``root``, whichever it has. Of a data set that names several
    files or folders it is the folder that holds them now. Other data sets of the config that name the same place, such
    as ``evaluate.data``, follow.

    Args:
        content: the merged content of the config's files. What its data set names is imported.
        place: the path at which the data lie now.

    Raises:
        UserError: the data set names no file and no folder, or there is none.
    """
    data = content.get("data")
    if data is None:
        raise UserError("--data: the config has no section data, which could have moved; leave it out")
    data = {"name": data} if isinstance(data, str) else data
    chosen = _model(data)
    if not isinstance(data, Mapping) or chosen is None:
        return dict(content)  # the config is wrong, and its validation says what is
    keys = place_keys(data)
    old = {key: data.get(key, chosen.model_fields[key].default) for key in keys}
    old = {key: value for key, value in old.items() if isinstance(value, str)}
    new = dict.fromkeys(old or keys[:1], place)
    if not new:
        name = shown(data.get("name", data.get("target")))
        raise UserError(f"--data: the data set {name} names no file and no folder that could have moved; leave it out")
    if len(old) > 1:
        new = {key: os.path.join(place, os.path.basename(_absolute(value))) for key, value in old.items()}
    others = {key: _followed(value, old, new) for key, value in content.items() if key != "data"}
    return {**content, **others, "data": {**data, **new}}


def place_keys(data: Any) -> list[str]:
    """The keys of a data set that name the files or folders in which it lies.

    Args:
        data: the section ``data`` of a config. What it names is imported.
    """
    chosen = _model(data)
    fields = {} if chosen is None else chosen.model_fields
    return [
        key
        for key, field in fields.items()
        if key in _USUAL or any(map(_is_place, (*field.metadata, field.annotation)))
    ]


def _model(data: Any) -> type[Part] | None:
    """The model of the data set that a section describes; None if the section is wrong."""
    try:
        if isinstance(data.get("target"), str) and "name" not in data:
            return target_model("data", data["target"])
        return part_model("data", data["name"])
    except (AttributeError, KeyError, TypeError, ValidationError, PydanticCustomError):
        return None


def _is_place(annotation: Any) -> bool:
    if isinstance(annotation, Location):
        return not isinstance(annotation, HubLocation | OutputLocation)
    inside = (*get_args(annotation), *getattr(annotation, "__metadata__", ()))
    return any(map(_is_place, inside))


def _followed(value: Any, old: Mapping[str, str], new: Mapping[str, str]) -> Any:
    """A part of the content in which the keys that named the old place name the new one."""
    if isinstance(value, list):
        return [_followed(entry, old, new) for entry in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: new[key]
        if key in old and isinstance(entry, str) and _absolute(entry) == _absolute(old[key])
        else _followed(entry, old, new)
        for key, entry in value.items()
    }


def _absolute(path: str) -> str:
    try:
        return Location("").convert(path)
    except ValueError:
        return path
