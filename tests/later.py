"""Modules that take long to import: every worker collects all tests, and runs only a part of them."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

import pytest


class Later:
    """A module that is imported when something of it is first asked for."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith(("_", "pytest")):  # pytest looks for its own marks at everything in a module
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)


def later_or_skip(name: str) -> Later:
    """The same of a module that need not be installed; without it the tests of the file are skipped."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return Later(name)
