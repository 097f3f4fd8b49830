"""Parametrised cases, of which only some are tried by default."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def few(cases: Iterable[Any], *kept: Any) -> list[Any]:
    """All cases for ``pytest.mark.parametrize``; those that are not kept are among the long tests."""
    return [case if case in kept else pytest.param(case, marks=pytest.mark.slow) for case in cases]
