"""Complaints about a config in the user's words: full key path, what was expected, the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError


def explained(error: ValidationError, data: Any, prefix: str, known_keys: Callable) -> list[str]:
    """One line for each problem: ``key.path: what is wrong``."""
    return [f"{prefix}: {e['loc']} {e['msg']}" for e in error.errors()]
