"""Schedules: numbers that change while a run goes on, as a function of the images that it has seen."""

from __future__ import annotations

import functools
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from pydantic_core import core_schema

from gantrain.config.base import Schema, extended, one_of, problem
from gantrain.config.types import Number, PositiveFloat, Scalar, shown
from gantrain.errors import UserError

Shape = Literal["cosine", "linear", "step"]
_SHAPES = get_args(Shape)


class _Traced(float):
    """A number from which others are computed as :class:`Computed`."""


class Computed(_Traced):
    """A number that was computed from a schedule. It does not change any more, so that no part may keep it."""


def _traced(name: str) -> Callable[..., Any]:
    compute = getattr(float, name)

    @functools.wraps(compute)
    def method(*operands: Any) -> Any:
        found = compute(*operands)
        return Computed(found) if isinstance(found, float) else found

    return method


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
for _name in ("neg", "pos", "abs", "round", *_BINARY, *(f"r{operation}" for operation in _BINARY)):
    setattr(_Traced, f"__{_name}__", _traced(f"__{_name}__"))


class Schedule(_Traced):
    """A number that goes from ``start`` to ``end`` while the run sees its first ``kimg`` thousand images.

    After n images, with N = 1000 kimg: a "cosine" is ``end + (1 + cos(pi n / N)) / 2 (start - end)``, a "linear" one
    ``start + n / N (end - start)``, and a "step" is ``start``. From N on each of them is ``end``. As a float it is
    ``start``, which is what the constructor of a part sees.

    In Python you give it to a part in the place of a number, and :class:`gantrain.Trainer` sets the part's attribute,
    or the number of the optimizer, at the beginning of each training step.

    Args:
        schedule: "cosine", "linear" or "step".
        start: the first value.
        end: the last value.
        kimg: the number of images after which the last value is reached, in thousands.

    Attributes:
        key: the key of the number in a config; empty if it comes from Python.

    Raises:
        UserError: an argument is not what was expected.

    Examples:
        >>> weight = Schedule("cosine", 0.05, 0.005, kimg=20000)
        >>> [round(weight.at(kimg * 1000), 4) for kimg in (0, 10000, 20000, 30000)]
        [0.05, 0.0275, 0.005, 0.005]
    """

    schedule: Shape
    start: float
    end: float
    kimg: float
    key: str

    def __new__(cls, schedule: Shape, start: float, end: float, kimg: float) -> Schedule:
        if schedule not in _SHAPES:
            raise UserError(f"schedule: expected {one_of(_SHAPES)}, got {shown(schedule)}")
        for name, value in {"start": start, "end": end, "kimg": kimg}.items():
            number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
            if not number or name == "kimg" and value <= 0:
                expected = "a number above 0" if name == "kimg" else "a number"
                raise UserError(f"schedule: {name}: expected {expected}, got {shown(value)}")
        made = super().__new__(cls, start)
        made.schedule, made.start, made.end, made.kimg = schedule, float(start), float(end), float(kimg)
        made.key = ""
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Schedule, (self.schedule, self.start, self.end, self.kimg), {"key": self.key}

    def __repr__(self) -> str:
        return f"Schedule({self.schedule!r}, {self.start:g}, {self.end:g}, kimg={self.kimg:g})"

    def at(self, images: float) -> float:
        """The value when the run has seen so many images."""
        done = images / (1000 * self.kimg)
        if done >= 1:
            return self.end
        if done <= 0 or self.schedule == "step":
            return self.start
        if self.schedule == "linear":
            return self.start + done * (self.end - self.start)
        return self.end + (1 + math.cos(math.pi * done)) / 2 * (self.start - self.end)

    def at_key(self, key: str) -> Schedule:
        """The same schedule for the number at this key of a config."""
        made = Schedule(self.schedule, self.start, self.end, self.kimg)
        made.key = key
        return made

    def mapping(self) -> dict[str, Any]:
        """The schedule as a config writes it."""
        return {"schedule": self.schedule, "from": self.start, "to": self.end, "kimg": self.kimg}


class Scheduled(Scalar):
    """A number, or a schedule whose first and last values are such numbers.

    Args:
        number: the number.
        instead: what else can change the number, if a schedule cannot; None if a schedule can.
    """

    def __init__(self, number: Number, instead: str | None = None):
        mark = [] if instead else [{"$schedule": True}]
        super().__init__(number.expected, {"anyOf": [number.schema, *mark]} if mark else number.schema)
        self.number = number
        self.instead = instead

    def convert(self, value: Any) -> Any:
        return self.number.convert(value)

    def hint(self, value: Any) -> str:
        return self.number.hint(value)

    def validate(self, value: Any) -> Any:
        if isinstance(value, Schedule):
            value = value.mapping()
        if not isinstance(value, Mapping):
            return super().validate(value)
        if self.instead is not None:
            raise problem(f"expected {self.expected}, got {shown(value)}; {self.instead}")
        section: Any = _section(self.number).model_validate(value)
        return Schedule(section.schedule, getattr(section, "from"), section.to, section.kimg)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(_written)
        return core_schema.no_info_plain_validator_function(self.validate, serialization=written)


@functools.cache
def _section(number: Number) -> type[Schema]:
    """The section of a schedule whose values are numbers of a kind."""
    value = Annotated[float, number]
    described = {
        "schedule": (Shape, "The curve: cosine, linear, or step, which jumps at its end."),
        "from": (value, "The first value."),
        "to": (value, "The last value."),
        "kimg": (PositiveFloat, "The number of images after which the last value is reached, in thousands."),
    }
    fields = {key: (kind, Field(description=text)) for key, (kind, text) in described.items()}
    return extended(Schema, "Schedule", "A number that changes with the images that the run has seen.", fields)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a schedule, for numbers of any kind."""
    return _section(Number()).model_json_schema()


def with_schedules(annotation: Any, instead: str | None = None) -> Any:
    """The type that also accepts a schedule in the place of each number in it that need not be whole.

    Args:
        annotation: the type of an argument, as :func:`~gantrain.config.signatures.understood` gives it.
        instead: as in :class:`Scheduled`.
    """
    origin, arguments = typing.get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        number = arguments[1]
        whole = not isinstance(number, Number) or number.whole
        return annotation if whole else Annotated[float, Scheduled(number, instead)]
    inside = tuple(with_schedules(argument, instead) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[inside]  # noqa: UP007 - built at run time
    return origin.__class_getitem__(inside) if origin in (list, tuple, dict) and inside else annotation


def schedules_in(
    value: Any, key: tuple[str | int, ...] = (), owner: Schema | None = None
) -> Iterator[tuple[tuple[str | int, ...], Schema]]:
    """The keys in a validated config at which schedules stand, each with the part or the section that has the number.

    Args:
        value: a config, or a value in one.
        key: the key of the value.
        owner: the part or the section that holds the value.
    """
    if isinstance(value, Schema):
        for name in type(value).model_fields:
            yield from schedules_in(getattr(value, name), (*key, name), value)
    elif isinstance(value, Schedule) and owner is not None:
        yield key, owner
    elif isinstance(value, Mapping | list | tuple):
        for place, inside in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from schedules_in(inside, (*key, place), owner)


def ended(value: Any) -> Any:
    """A value, or lists of values, with the last value of each schedule in its place; the same object without one."""
    if isinstance(value, Schedule):
        return value.end
    if isinstance(value, list | tuple):
        inside = [ended(each) for each in value]
        return type(value)(inside) if any(a is not b for a, b in zip(inside, value, strict=True)) else value
    return value


def _written(value: Any) -> Any:
    """A number as plain data, or what else stands in its place."""
    if isinstance(value, Schedule):
        return value.mapping()
    return list(map(_written, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value
