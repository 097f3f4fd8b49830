"""Networks of which a part keeps its weights while the rest learns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import nn

from gantrain.config.base import nearest
from gantrain.config.types import shown
from gantrain.errors import UserError

_PARAMETRISED = re.compile(r"parametrizations\.(\w+)\.original(?=\d*$)")
# So many names of a network's modules are listed in a message.
_NAMED = 12


def freeze(network: nn.Module, patterns: Sequence[str], key: str = "freeze") -> list[str]:
    """Let some parameters of a network never change, as ``requires_grad_(False)`` does.

    Buffers are no parameters: the running statistics of batch norm and the vectors of spectral norm go on following the
    data and the weights.

    Args:
        network: the network, before it is given to a game.
        patterns: names of parameters, or of modules, which stand for all parameters inside them. ``*`` and ``?`` stand
            for any letters, also for dots, and ``[01]`` for one of the letters.
        key: where the patterns stand, for messages.

    Returns:
        The names of the frozen parameters.

    Raises:
        UserError: a pattern matches no parameter, or all parameters are frozen.

    Examples:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> freeze(network, ["0"])
        ['0.weight', '0.bias']
    """
    parameters = dict(network.named_parameters(remove_duplicate=False))
    frozen = set()
    for number, pattern in enumerate(patterns):
        found = [name for name in parameters if any(fnmatchcase(part, pattern) for part in _names(name))]
        if not found:
            known = list(dict.fromkeys(part for name in parameters for part in _within(_plain(name))))
            raise UserError(
                f"{key}.{number}: no parameter or module of the network is called {shown(pattern)}; it has "
                f"{', '.join(_modules(parameters))}{nearest(pattern, known)}"
            )
        frozen |= set(found)
    if frozen and all(name in frozen for name in parameters):
        raise UserError(f"{key}: all parameters of the network would be frozen; leave at least one to be trained")
    for name in frozen:
        parameters[name].requires_grad_(False)
    return [name for name in parameters if name in frozen]


def _modules(parameters: Iterable[str]) -> list[str]:
    """The modules that hold the parameters, as deep inside the network as a message has room for."""
    modules = [_plain(name).split(".")[:-1] or [name] for name in parameters]
    for depth in range(max(map(len, modules)), 0, -1):
        names = list(dict.fromkeys(".".join(module[:depth]) for module in modules))
        if len(names) <= _NAMED:
            return names
    return [*names[:_NAMED], "…"]


def _plain(name: str) -> str:
    """The name of a parameter as its layer has it, also where something such as spectral norm is applied to it."""
    return _PARAMETRISED.sub(r"\1", name)


def _names(name: str) -> Iterator[str]:
    yield from _within(name)
    yield from _within(_plain(name))


def _within(name: str) -> Iterator[str]:
    """A parameter's name, and those of the modules that hold the parameter, from the inside out."""
    while name:
        yield name
        name = name.rpartition(".")[0]
