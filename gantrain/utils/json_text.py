"""JSON for other programs, on standard output."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def json_text(content: Any) -> str:
    """Numbers, texts, lists and mappings as JSON with an indentation of two.

    Numbers that JSON does not have, NaN and the infinities, are ``null``, as they are in ``metrics.jsonl``.

    Examples:
        >>> json_text([1.5, float("nan")])
        '[\\n  1.5,\\n  null\\n]'
    """
    return json.dumps(_finite(content), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(each) for each in value]
    return value
