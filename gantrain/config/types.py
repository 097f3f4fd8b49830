"""Types of the values in config files, which the constructors of parts use in their annotations.

Booleans and text are not accepted as numbers. ``1e3`` is accepted as the whole number 1000, ``0`` as the number 0.0.
"""

from __future__ import annotations

import math
import numbers
import os
import re
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic_core import PydanticCustomError, core_schema

from gantrain.config import shipped

LARGEST_INT = 2**63 - 1
"""The largest whole number that torch and numpy can hold."""
LARGEST_SINGLE = 3.4028234663852886e38
"""The largest number of single precision, in which networks are trained."""
_LONGEST = 60
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_bounded = reprlib.Repr()
_bounded.maxlevel = 3
_bounded.maxlist = _bounded.maxtuple = _bounded.maxset = _bounded.maxdict = 20
_bounded.maxstring = _bounded.maxother = 2 * _LONGEST


def shown(value: Any) -> str:
    """A value in the form in which error messages quote it: one line of at most 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python may refuse to write it out
        return "a number of more than 3000 digits"
    text = _bounded.repr(value).replace("\n", " ")
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def one_line(text: object) -> str:
    """A path or another text as it is, or in quotes and with escapes if it would not stay on its line."""
    return str(text) if str(text).isprintable() else repr(str(text))


def expanded(path: str) -> str:
    """The path with ``~``, ``~user``, ``$NAME`` and ``${NAME}`` replaced by what they stand for.

    Raises:
        ValueError: a variable is not set or not closed, or there is no such user; the text says which.
    """
    if re.search(r"\$\{(\}|[^}]*$)", path):
        raise ValueError("${ needs the name of a variable and a closing brace, as in ${HOME}")
    for name in re.findall(r"\$(?:(\w+)|\{([^}]*)\})", path):
        if not os.environ.get("".join(name)):
            raise ValueError(f"${''.join(name)} is not set")
    path = os.path.expanduser(os.path.expandvars(path))
    if path.startswith("~"):
        raise ValueError(f"there is no user {path[1:].partition('/')[0]}; begin the path with ./ if ~ is its name")
    return path


def absolute(path: str, folder: str) -> str:
    """The path, which is relative to the folder, as an absolute one."""
    place = os.path.join(os.path.abspath(folder), path)
    plain = os.path.normpath(place)
    # Where a folder is a link, x/.. is not the folder that holds x.
    return plain if os.path.realpath(plain) == os.path.realpath(place) else place


class Written(str):
    """Text of a config file, which knows what a path in the file is relative to.

    Attributes:
        folder: the path of the folder to which it is relative.
        expand: whether ``~`` and variables in a path are expanded.
    """

    folder: str
    expand: bool

    @classmethod
    def of(cls, text: str, folder: str, expand: bool = True) -> Written:
        """The text of a file; see the attributes."""
        made = cls(text)
        made.folder, made.expand = folder, expand
        return made


class Scalar(ABC):
    """A kind of scalar, which validates values with error messages of our own.

    Args:
        expected: the values that are expected, as the error message calls them.
        schema: the JSON schema of these values.
    """

    def __init__(self, expected: str, schema: dict[str, Any]):
        self.expected = expected
        self.schema = schema

    @abstractmethod
    def convert(self, value: Any) -> Any:
        """The value in the type of the annotation.

        Raises:
            ValueError: the value is not of this kind.
        """

    def hint(self, value: Any) -> str:
        """What to do about a wrong value, to go on with in a message; by default nothing is added."""
        return ""

    def validate(self, value: Any) -> Any:
        """The converted value; pydantic calls this.

        Raises:
            PydanticCustomError: the value is not of this kind.
        """
        try:
            return self.convert(value)
        except (ValueError, OverflowError):
            message = f"expected {self.expected}, got {shown(value)}{self.hint(value)}"
            # pydantic would take braces in the value for places to fill in, hence the template.
            raise PydanticCustomError("problem", "{message}", {"message": message}) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return dict(self.schema)


class Number(Scalar):
    """A number within bounds.

    Args:
        whole: whether only whole numbers are accepted.
        least: the smallest value that is accepted.
        above: a bound below all values that are accepted.
        most: the largest value that is accepted.
        below: a bound above all values that are accepted.
    """

    def __init__(
        self,
        whole: bool = False,
        least: float | None = None,
        above: float | None = None,
        most: float | None = None,
        below: float | None = None,
    ):
        bounds = {
            f"of at least {least}": ("minimum", least),
            f"above {above}": ("exclusiveMinimum", above),
            f"at most {most}": ("maximum", most),
            f"below {below}": ("exclusiveMaximum", below),
        }
        bounds = {words: bound for words, bound in bounds.items() if bound[1] is not None}
        kind = "a whole number" if whole else "a number"
        super().__init__(
            " ".join([kind, " and ".join(bounds)]) if bounds else kind,
            {"type": "integer" if whole else "number", **dict(bounds.values())},
        )
        self.whole = whole
        self.least, self.above, self.most, self.below = least, above, most, below

    def convert(self, value: Any) -> int | float:
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not real or not math.isfinite(value):
            raise ValueError
        if self.whole and value != int(value):
            raise ValueError
        number = int(value) if self.whole else float(value)
        if self.whole and abs(number) > LARGEST_INT:
            raise ValueError
        if (
            (self.least is not None and number < self.least)
            or (self.above is not None and number <= self.above)
            or (self.most is not None and number > self.most)
            or (self.below is not None and number >= self.below)
        ):
            raise ValueError
        return number

    def hint(self, value: Any) -> str:
        if isinstance(value, Mapping) and "schedule" in value:
            return f"; {'a whole number' if self.whole else 'this number'} cannot follow a schedule"
        whole = self.whole and isinstance(value, int | float) and not isinstance(value, bool)
        return f"; whole numbers go up to {LARGEST_INT}" if whole and LARGEST_INT < abs(value) < math.inf else ""


_COUNT = Number(whole=True, least=1)
_AMOUNT = Number(above=0)


class Period(Scalar):
    """An interval of a run: a number of training steps, or a mapping ``{kimg: 10}`` or ``{gradients: 500}``."""

    def __init__(self) -> None:
        units = {"kimg": _AMOUNT, "gradients": _COUNT}
        mappings = [
            {"type": "object", "properties": {unit: number.schema}, "additionalProperties": False}
            for unit, number in units.items()
        ]
        super().__init__(
            "a number of training steps, {kimg: N} or {gradients: N}", {"anyOf": [_COUNT.schema, *mappings]}
        )
        self.units = units

    def validate(self, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return _COUNT.validate(value) if number else super().validate(value)

    def convert(self, value: Any) -> int | dict[str, float]:
        if not isinstance(value, Mapping):
            return int(_COUNT.convert(value))
        given = {unit: number for unit, number in value.items() if number is not None}
        if len(given) != 1 or not given.keys() <= self.units.keys():
            raise ValueError
        return {unit: self.units[unit].convert(number) for unit, number in given.items()}

    def hint(self, value: Any) -> str:
        if not isinstance(value, Mapping):
            return ""
        wrong = next((unit for unit in value if unit not in self.units), None)
        if wrong is not None:
            return f" with the key {shown(wrong)}"
        wrong = next((u for u, number in value.items() if number is not None and not self._fits(u, number)), None)
        if wrong is not None:
            return f" in which {wrong} is {shown(value[wrong])}, and must be {self.units[wrong].expected}"
        return f" with {len(value)} keys; name one"

    def _fits(self, unit: str, number: Any) -> bool:
        try:
            self.units[unit].convert(number)
        except (ValueError, OverflowError):
            return False
        return True


class Bounds(Scalar):
    """A bound for each of some values, as in ``{fid: 100}``. Bounds that are null are left out.

    Args:
        names: the names of the values; any names by default, which the section then checks.
    """

    def __init__(self, *names: str):
        values = {"properties": {name: Number().schema for name in names}, "additionalProperties": False}
        some = values if names else {"additionalProperties": Number().schema}
        example = f"{{{names[0]}: N}}" if names else "{fid: 100}"
        super().__init__(f"a number for each value, as in {example}", {"type": "object", **some})
        self.names = names

    def convert(self, value: Any) -> dict[str, float]:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            raise ValueError
        if self.names and not value.keys() <= set(self.names):
            raise ValueError
        return {str(name): float(Number().convert(bound)) for name, bound in value.items() if bound is not None}

    def hint(self, value: Any) -> str:
        if not isinstance(value, Mapping):
            return ""
        for name, bound in value.items():
            if self.names and name not in self.names:
                *first, last = self.names
                return f" with the key {shown(name)}; the values are {', '.join(first)} and {last}"
            if bound is not None and (isinstance(bound, bool) or not isinstance(bound, int | float)):
                return f" in which {name} is {shown(bound)}"
        return " with a number that is not finite, or a key that is no text"


class Choice(Scalar):
    """One of several whole numbers; a bare ``Literal`` would accept true for 1.

    Args:
        choices: the numbers that are accepted.
    """

    def __init__(self, *choices: int):
        *others, last = map(str, choices)
        super().__init__(f"{', '.join(others)} or {last}" if others else last, {"enum": list(choices)})
        self.choices = choices

    def convert(self, value: Any) -> int:
        if isinstance(value, bool) or value not in self.choices:
            raise ValueError
        return int(value)


class Switch(Scalar):
    """A truth value, true or false."""

    def __init__(self) -> None:
        super().__init__("true or false", {"type": "boolean"})

    def convert(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


class Words(Scalar):
    """Text."""

    def __init__(self) -> None:
        super().__init__("text", {"type": "string"})

    def convert(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        return str(value)  # without what Written knows

    def hint(self, value: Any) -> str:
        if isinstance(value, bool | int | float):
            return f'; quote it: "{shown(value)}", and in a shell \'"{shown(value)}"\''
        return ""


class Sides(Number):
    """The height and the width of images in pixels: one number for both, or a pair ``[height, width]``."""

    def __init__(self) -> None:
        super().__init__(whole=True, least=1)
        self.expected = f"{self.expected}, or two of them, [height, width]"
        side = self.schema
        self.schema = {"anyOf": [side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}]}

    def convert(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return super().convert(value)
        height, width = value
        return super().convert(height), super().convert(width)


class Location(Words):
    """The path of a file or a folder that is read: absolute, with ``~`` and variables such as ``$HOME`` expanded.

    A relative path is relative to the file in which it is written, or else to the current directory.

    Args:
        expected: what lies at the path, as the error message calls it.
    """

    def __init__(self, expected: str):
        super().__init__()
        self.expected = expected

    def convert(self, value: Any) -> str:
        path = super().convert(value)
        if not path.strip() or CONTROL.search(path):
            raise ValueError
        folder, expand = (value.folder, value.expand) if isinstance(value, Written) else (os.getcwd(), True)
        return self.located(expanded(path) if expand else path, folder)

    def located(self, path: str, folder: str) -> str:
        """The path, which is relative to the folder, as parts of the program take it."""
        return absolute(path, folder)

    def hint(self, value: Any) -> str:
        if value is None:
            return '; in YAML ~ alone is null, so quote it: "~", or write $HOME'
        if not isinstance(value, str):
            return super().hint(value)
        try:
            expanded(value)
        except ValueError as error:
            return f"; {error}"
        return ""


class HubLocation(Location):
    """A path, or a name on the Hugging Face hub such as ``organisation/model``, which stays as it is."""

    def located(self, path: str, folder: str) -> str:
        place = absolute(path, folder)
        may_be_on_hub = not path.startswith((".", "/")) and path.count("/") < 2
        return path if may_be_on_hub and shipped.is_missing(Path(place)) else place


class RunLocation(Location):
    """The path of a run, or the name of one under ``checkpoints`` or of one that is shipped."""

    def located(self, path: str, folder: str) -> str:
        return absolute(str(shipped.find_run(path, folder)), folder)


class OutputLocation(Location):
    """The path of a folder that is written: a relative path is relative to the current directory, wherever it stands.

    A run's config has the absolute path.
    """

    def located(self, path: str, folder: str) -> str:
        return path

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        whole = core_schema.plain_serializer_function_ser_schema(os.path.abspath, when_used="json")
        return core_schema.no_info_plain_validator_function(self.validate, serialization=whole)


Bool = Annotated[bool, Switch()]
Text = Annotated[str, Words()]
FilePath = Annotated[str, Location("the path of a file")]
FolderPath = Annotated[str, Location("the path of a folder")]
AnyPath = Annotated[str, Location("the path of a file or a folder")]
HubPath = Annotated[str, HubLocation("the path of a folder or a name on the Hugging Face hub")]
RunPath = Annotated[str, RunLocation("the path of a run")]
OutputFolder = Annotated[str, OutputLocation("the path of a folder")]
Int = Annotated[int, Number(whole=True)]
Float = Annotated[float, Number()]
PositiveInt = Annotated[int, Number(whole=True, least=1)]
LayerCount = Annotated[int, Number(whole=True, least=1, most=10_000)]
ImageSize = Annotated[int | tuple[int, int], Sides()]
NonNegativeInt = Annotated[int, Number(whole=True, least=0)]
Interval = Annotated[int | Mapping[str, float], Period()]
"""From one time at which a run does something to the next: training steps, ``{kimg: 10}`` or ``{gradients: 500}``."""
PositiveFloat = Annotated[float, Number(above=0)]
NonNegativeFloat = Annotated[float, Number(least=0)]
Fraction = Annotated[float, Number(least=0, most=1)]
PositiveFraction = Annotated[float, Number(above=0, most=1)]
FractionBelowOne = Annotated[float, Number(least=0, below=1)]
Order = Literal["simultaneous", "alternating"]
"""The order of a move: all players are evaluated at one joint point, or each after the moves of those before it."""
Draws = Literal["fresh", "same"]
"""Whether each inner move of a step takes a fresh batch, or all inner moves of a step take the same batch."""
