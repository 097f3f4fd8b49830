"""The methods of a class of the user's own: whether they can be called as gantrain calls them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def misfit(cls: type, contract: type, top: str) -> str | None:
    """What is wrong with the first method that cannot be called as the method of the same name that it overrides.

    Methods are called with their arguments by position. Those with a default may be left out of an override. An
    argument that has the name of one at another place is a mistake, too: it would silently be given the other.

    Args:
        cls: the class.
        contract: a class whose methods ``cls`` overrides, though it need not be derived from it.
        top: the package whose classes say how methods are called; methods that its own classes define are not checked.

    Returns:
        The method as it is and as it is expected, for a message; None if all are well.
    """
    bases = [base for base in (*cls.__mro__, *contract.__mro__) if base.__module__.partition(".")[0] == top]
    for owner in cls.__mro__:
        if owner in bases:
            break
        for name, value in vars(owner).items():
            overridden = next((vars(base)[name] for base in bases if name in vars(base)), None)
            if (name.startswith("_") and name != "__call__") or type(value) is not type(overridden):
                continue
            found, wanted = _arguments(value), _arguments(overridden)
            if found is not None and wanted is not None and not _fits(found, wanted):
                return f"{name}({_shown(found)}): expected {name}({_shown(wanted)}), called by position in this order"
    return None


def _arguments(method: Any) -> list[Parameter] | None:
    """The arguments of a method without the first, which is the object or the class; None of what is no method."""
    function: Callable[..., Any] = method.__func__ if isinstance(method, classmethod) else method
    if not inspect.isfunction(function):
        return None
    try:
        return list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return None


def _fits(found: list[Parameter], wanted: list[Parameter]) -> bool:
    names = [p.name for p in wanted if p.kind in _BY_POSITION]
    required = sum(p.default is Parameter.empty for p in wanted if p.kind in _BY_POSITION)
    places = [p.name for p in found if p.kind in _BY_POSITION]
    if any(name in names and names.index(name) != i for i, name in enumerate(places)):
        return False
    signature = inspect.Signature(found)
    return any(_binds(signature, count) for count in range(required, len(names) + 1))


def _binds(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _shown(parameters: list[Parameter]) -> str:
    plain = [p.replace(annotation=Parameter.empty) for p in parameters]
    return str(inspect.Signature(plain))[1:-1]
