"""A config without the keys that have their defaults: what somebody would write to get it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from gantrain.config.loading import resolved, validate
from gantrain.config.schema import Config
from gantrain.config.targets import foreign_targets
from gantrain.errors import UserError


def without_defaults(content: Mapping[str, Any], where: str, own_code: bool = False) -> dict[str, Any]:
    """The keys of a config that cannot be left out without changing it, in their order.

    The defaults of a part of one's own are known only to its code. Without ``own_code``, a config that names code
    outside gantrain is returned whole.

    Args:
        content: the config of a training run as plain data.
        where: where it comes from, for messages.
        own_code: whether code outside gantrain that the config names may be imported. Default false.

    Raises:
        UserError: the config is wrong.
    """
    if not own_code and foreign_targets(content):
        return dict(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the config has been read before, and what it warns of was said then
        whole = resolved(validate(Config, content, where))
        short = copy.deepcopy(whole)

        def is_whole() -> bool:
            try:
                return resolved(Config.model_validate(short)) == whole
            except (ValidationError, UserError):
                return False

        _shorten(short, is_whole)
    return short


def _shorten(node: dict[str, Any], is_whole: Callable[[], bool]) -> None:
    """Delete the keys of a mapping, and of those in it, without which the config is the same."""
    for key in list(node):
        value = node.pop(key)
        if is_whole():
            continue
        node[key] = value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                _shorten(inner, is_whole)
