"""The numbers of a run's parts that follow schedules: where they are kept, and their values as the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gantrain.config.registry import kind
from gantrain.config.schedules import Computed, Schedule
from gantrain.data.dataset import DataSet
from gantrain.errors import UserError

# What holds no number that a schedule could change.
_NO_PARTS = (str, bytes, float, int, type, Tensor, DataSet, FunctionType, BuiltinFunctionType, MethodType, ModuleType)
# From nothing to the dict in which a number is kept. Loading an optimizer's state replaces the dicts of its groups.
Holder = Callable[[], dict[Any, Any]]


class ScheduledNumbers(dict[str, float]):
    """The numbers that follow schedules, by key, each with the value that it has been given last.

    A schedule is found where a part has been given one in the place of a number: among the attributes of the part, and
    of the objects that it holds, and in the groups of an optimizer. Finding sets all numbers to their first values.

    Args:
        parts: the parts by the keys that they have in a config.
        networks: the networks of the players, whose numbers cannot follow schedules.

    Raises:
        UserError: a network or a learning rate has been given a schedule, or a part keeps what it has computed from
            one.
    """

    def __init__(self, parts: Mapping[str, object], networks: Mapping[str, nn.Module]):
        super().__init__()
        self._schedules: dict[str, Schedule] = {}
        self._places: dict[str, list[Callable[[float], None]]] = {}
        self._seen: set[int] = set()
        for key, network in networks.items():
            for module in network.modules():
                self._seen.add(id(module))
                if any(isinstance(value, Schedule | Computed) for value in vars(module).values()):
                    raise UserError(f"{key}: {type(module).__name__} cannot follow a schedule; give a network numbers")
        for key, part in parts.items():
            self._find(part, key)
        self.follow(0)

    def follow(self, images: float) -> None:
        """Set all numbers to their values when the run has seen so many images."""
        for key, schedule in self._schedules.items():
            self[key] = schedule.at(images)
            for put in self._places[key]:
                put(self[key])

    def described(self) -> dict[str, dict[str, Any]]:
        """The schedules by key, as a config writes them."""
        return {key: schedule.mapping() for key, schedule in self._schedules.items()}

    def _find(self, value: Any, path: str) -> None:
        """Find the schedules in what an object holds."""
        if isinstance(value, _NO_PARTS) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, list | tuple):
            for i, inside in enumerate(value):
                self._find(inside, f"{path}.{i}")
        elif isinstance(value, dict):
            self._find_in(lambda: value, path)
        elif isinstance(value, Optimizer):
            # An optimizer inside it, as Muon has one, shares groups with it, and is asked first.
            self._find_in(lambda: vars(value), path, without=("param_groups", "defaults", "state"))
            fixed = kind("optimizer").schedules or {}
            for i, group in enumerate(value.param_groups):
                if id(group) not in self._seen:
                    self._seen.add(id(group))
                    self._find_in(partial(_group, value, i), path, fixed, without=("params",))
            self._find_in(lambda: value.defaults, path, fixed)
        elif hasattr(value, "__dict__"):
            self._find_in(lambda: vars(value), path)

    def _find_in(
        self, holder: Holder, path: str, fixed: Mapping[str, str] = MappingProxyType({}), without: Sequence[str] = ()
    ) -> None:
        """Find the schedules in what a dict holds.

        Args:
            holder: the dict.
            path: its key.
            fixed: the keys in it whose numbers cannot follow a schedule, with what to do about them.
            without: the keys in it that are left out.
        """
        for key, value in list(holder().items()):
            if key in without:
                continue
            for inside, number in _numbers(value):
                name = ".".join((path, str(key), *map(str, inside)))
                if isinstance(number, Computed):
                    raise UserError(
                        f"{name}: was computed from a schedule when the part was made, and would not follow it; let "
                        "the part keep the number as it is given, and compute with it where it is used"
                    )
                if key in fixed:
                    raise UserError(f"{name}: cannot follow a schedule; {fixed[key]}")
                name = number.key or name
                self._schedules[name] = number
                self._places.setdefault(name, []).append(partial(_put, holder, key, inside))
            self._find(value, f"{path}.{key}")


def _numbers(value: Any, inside: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """The schedules, and what was computed from some, that a value is or that lists in it hold, with their places."""
    if isinstance(value, Schedule | Computed):
        yield inside, value
    elif isinstance(value, list | tuple):
        for i, each in enumerate(value):
            yield from _numbers(each, (*inside, i))


def _put(holder: Holder, key: Any, inside: tuple[int, ...], number: float) -> None:
    holds = holder()
    holds[key] = _replaced(holds[key], inside, number)


def _replaced(value: Any, inside: tuple[int, ...], number: float) -> Any:
    """The number, or the list with the number at its place."""
    if not inside:
        return number
    changed = list(value)
    changed[inside[0]] = _replaced(changed[inside[0]], inside[1:], number)
    return changed if isinstance(value, list) else tuple(changed)


def _group(optimizer: Optimizer, number: int) -> dict[str, Any]:
    return optimizer.param_groups[number]
