"""Targets: the classes and functions of the user's own, and of gantrain, that a config names as ``module:Class``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import typing
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from gantrain.config.base import nearest, problem_at
from gantrain.config.methods import misfit
from gantrain.config.registry import kind as kind_of
from gantrain.config.types import one_line, shown

_TARGET = re.compile(r"(?P<top>[^\W\d]\w*)(\.[^\W\d]\w*)*:[^\W\d]\w*")
_OWN = __name__.partition(".")[0]


def find_target(kind: str, path: str) -> Any:
    """The class or function that ``module:Class`` names. Its module is imported.

    Args:
        kind: the kind of the part.
        path: ``module:Class``, or ``module:function``.

    Raises:
        ValidationError: the path has another form or is in Python's standard library, which is not imported; the module
            does not import; or what is found is neither a class of the kind nor a function that is annotated as
            returning one.
    """
    form = _TARGET.fullmatch(path)
    if form is None:
        raise problem_at(("target",), f"expected package.module:Class, got {shown(path)}", path)
    expected = f"expected {_expected(kind)}"
    module, _, name = path.partition(":")
    if _is_standard(module):
        message = f"{form['top']} is a module of Python's standard library, which has no parts; {expected}"
        message += "; a module of your own needs another name"
        raise problem_at(("target",), message, path)
    try:
        imported: ModuleType = importlib.import_module(module)
        found = getattr(imported, name, None)
    except (Exception, SystemExit) as error:
        message = f"cannot import {module!r} ({type(error).__name__}: {str(error).partition(chr(10))[0]})"
        message += f"; expected package.module:Class{_searched(error, form['top'])}"
        raise problem_at(("target",), message, path) from error
    if not (isinstance(found, type) or inspect.isroutine(found)):
        names = [n for n, v in vars(imported).items() if isinstance(v, type)]
        raise problem_at(("target",), f"module {module!r} has no class {name!r}{nearest(name, names)}", path)
    origin = getattr(found, "__module__", None) or ""
    made = made_by(kind, found)
    if _is_standard(origin) or made is None or (is_own(path) and not (isinstance(found, type) and is_own(origin))):
        raise problem_at(("target",), f"{path} is no {kind_of(kind).title}; {expected}", path)
    if found is made and inspect.isabstract(found):
        lacking = ", ".join(sorted(vars(found)["__abstractmethods__"]))
        raise problem_at(("target",), f"{path} is abstract; expected a subclass of it that defines {lacking}", path)
    wrong = misfit(made, _class(kind_of(kind).called or kind_of(kind).interface), _OWN)
    if wrong is not None:
        raise problem_at(("target",), f"{path.partition(':')[0]}:{made.__name__}.{wrong}", path)
    return found


def _searched(error: BaseException, top: str) -> str:
    """What to do about a module that is nowhere; empty if something else is wrong."""
    if not isinstance(error, ModuleNotFoundError) or error.name != top:
        return ""
    here = os.getcwd()
    if {"", here}.isdisjoint(sys.path):
        return f"; add the folder in which {top} lies to sys.path or PYTHONPATH"
    return f"; {top} is searched in the current directory, {one_line(here)}, and on PYTHONPATH"


def made_by(kind: str, found: Any) -> type | None:
    """The class of the parts that a target makes: the class itself, or the class that a function says it returns.

    Returns:
        None if that is no class of the kind.
    """
    interface = _class(kind_of(kind).interface)
    made = found if isinstance(found, type) else _returned(found, interface)
    made = typing.get_origin(made) or made
    return made if isinstance(made, type) and (issubclass(made, interface) or _adopted(kind, made)) else None


def foreign_targets(content: Any, key: tuple[str, ...] = ()) -> dict[str, str]:
    """The targets in a config that are not gantrain's own, by their keys ``a.b.target``. Nothing is imported.

    Args:
        content: the config as plain data, or a part of it.
        key: the position of that part.
    """
    if isinstance(content, list):
        content = {str(i): entry for i, entry in enumerate(content)}
    if not isinstance(content, Mapping):
        return {}
    found = {}
    for name, value in content.items():
        # An argument of a part may be called target too, and be a number.
        if name == "target" and isinstance(value, str) and not (_TARGET.fullmatch(value) and is_own(value)):
            found[".".join((*key, name))] = value
        found |= foreign_targets(value, (*key, str(name)))
    return found


def is_own(path: str) -> bool:
    """Whether a module, or the module of a target, is gantrain's."""
    return re.split("[.:]", path)[0] == _OWN


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _expected(kind: str) -> str:
    interface = kind_of(kind).interface
    name = interface.rpartition(":")[2]
    other = kind_of(kind).adopts
    or_of_other = f" or of {other[0]}" if other else ""
    function = f"a function that is annotated as returning one (-> {name})"
    return f"a subclass of {interface.replace(':', '.')}{or_of_other}, or {function}"


def _adopted(kind: str, made: type) -> bool:
    """Whether a class is no part of the kind, but one whose objects the framework makes into parts."""
    other = kind_of(kind).adopts
    if other is None or issubclass(made, str | bytes | Mapping) or is_own(made.__module__):
        return False
    return hasattr(made, other[1])


def _class(path: str) -> type:
    """The class ``module:Class`` of gantrain's or torch's."""
    module, _, name = path.partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def _returned(function: Any, interface: type) -> Any:
    """The class that the return annotation of a function names; None for a callable of another type."""
    function = inspect.unwrap(function)
    if not inspect.isfunction(function):
        return None
    try:
        annotation = function.__annotations__.get("return")
        if isinstance(annotation, str):
            # The name of the interface is known, though it may have been imported for type checkers alone.
            annotation = eval(annotation, {interface.__name__: interface} | function.__globals__)
    except Exception:  # a name that is not defined there, or no expression
        return None
    return annotation
