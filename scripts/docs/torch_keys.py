"""What the keys of torch's own classes mean, from torch's docstrings: gantrain takes any optimizer and scheduler."""

from __future__ import annotations

import functools
import importlib
import re

from griffe import Docstring, DocstringSectionKind


@functools.cache
def meanings(path: str) -> dict[str, str]:
    """The arguments of the constructor of ``module:Class``, each with its entry in the docstring."""
    module, _, name = path.partition(":")
    text = getattr(importlib.import_module(module), name).__doc__ or ""
    sections = Docstring(text, lineno=1).parse("google", warnings=False)
    found = (section.value for section in sections if section.kind is DocstringSectionKind.parameters)
    return {entry.name: _plain(entry.description) for entries in found for entry in entries}


def address(path: str) -> str:
    """The page of torch's documentation on ``module:Class``."""
    return f"https://docs.pytorch.org/docs/stable/generated/{path.replace(':', '.')}.html"


def _plain(text: str) -> str:
    """The text without Sphinx's links and directives."""
    text = re.split(r"\n\s*\.\. ", text)[0]
    return re.sub(r":ref:`([^`<]+?)(?:<[^>]*>)?`|`([^`<]+?)\s*(?:<[^>]*>)?`_+", r"\1\2", text).strip()
