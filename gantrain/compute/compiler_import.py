"""Optimizers that take their steps without torch's compiler, which takes as long to import as the rest of torch."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch.optim import Optimizer


def compiler_imported() -> bool:
    """Whether torch's compiler is imported; without it nothing is compiled."""
    return "torch._dynamo" in sys.modules


def postpone_compiler() -> None:
    """Let torch's optimizers work without torch's compiler for as long as nothing else has imported it.

    By themselves they import the compiler when they are made and at each step, to tell it what not to trace. Where
    nothing is compiled, nothing traces. Once the compiler is there, they do what they did before. A version of torch
    whose optimizers are made in another way is left as it is.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        _replace(Optimizer, name, "inner", lambda plain, optimizer, *a, **k: plain(optimizer, *a, **k))
    for cls in vars(torch.optim).values():
        if isinstance(cls, type) and issubclass(cls, Optimizer):
            _replace(cls, "step", "_use_grad", _step)


def _step(plain: Callable[..., Any], optimizer: Optimizer, *arguments: Any, **named: Any) -> Any:
    with torch.set_grad_enabled(optimizer.defaults["differentiable"]):
        return plain(optimizer, *arguments, **named)


def _replace(cls: type[Optimizer], name: str, wrapper: str, call: Callable[..., Any]) -> None:
    """Call a method of a class by ``call``, unless the compiler is there.

    Args:
        cls: the class.
        name: the method.
        wrapper: the name that torch's wrapper of the method has, which imports the compiler.
        call: is called with the method inside the wrapper, and with the arguments.
    """
    whole = vars(cls).get(name)
    if not isinstance(whole, FunctionType) or whole.__code__.co_name != wrapper:
        return
    plain = inspect.unwrap(whole)

    @functools.wraps(plain)
    def method(*arguments: Any, **named: Any) -> Any:
        if compiler_imported():
            return whole(*arguments, **named)
        return call(plain, *arguments, **named)

    setattr(cls, name, method)
