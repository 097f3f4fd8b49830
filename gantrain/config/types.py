"""Types of the values in config files, as the constructors of parts write them in their annotations.

YAML is taken at its word: booleans are not numbers, text is not a number, ``1e3`` may stand for the whole number 1000
and ``0`` for the number 0.0.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic_core import PydanticCustomError, core_schema


def shown(value: Any) -> str:
    """A value as an error message quotes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Checked:
    """A scalar that is checked by :meth:`check`, in words of our own.

    Args:
        expected: what is expected, as the error says it.
        schema: its JSON schema.
    """

    def __init__(self, expected: str, schema: dict[str, Any]):
        self.expected = expected
        self.schema = schema

    def convert(self, value: Any) -> Any:
        """The value in the type that the signature wants.

        Raises:
            ValueError: it is not one of these.
        """
        raise NotImplementedError

    def check(self, value: Any) -> Any:
        try:
            return self.convert(value)
        except (ValueError, OverflowError):
            message = f"expected {self.expected}, got {shown(value)}"
            # Braces would be taken for a template of the message.
            raise PydanticCustomError("problem", "{message}", {"message": message}) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return dict(self.schema)


class Number(Checked):
    """A number within bounds.

    Args:
        whole: whole numbers only.
        least: smallest value allowed.
        above: every value must be larger.
        most: largest value allowed.
        below: every value must be smaller.
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
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise ValueError
        if self.whole and value != int(value):
            raise ValueError
        value = int(value) if self.whole else float(value)
        if (
            (self.least is not None and value < self.least)
            or (self.above is not None and value <= self.above)
            or (self.most is not None and value > self.most)
            or (self.below is not None and value >= self.below)
        ):
            raise ValueError
        return value


class Choice(Checked):
    """One of some whole numbers; a bare ``Literal`` would take true for 1.

    Args:
        choices: the numbers.
    """

    def __init__(self, *choices: int):
        *others, last = map(str, choices)
        super().__init__(f"{', '.join(others)} or {last}" if others else last, {"enum": list(choices)})
        self.choices = choices

    def convert(self, value: Any) -> int:
        if isinstance(value, bool) or value not in self.choices:
            raise ValueError
        return int(value)


class Switch(Checked):
    """true or false."""

    def __init__(self) -> None:
        super().__init__("true or false", {"type": "boolean"})

    def convert(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


class Words(Checked):
    """Text."""

    def __init__(self) -> None:
        super().__init__("text", {"type": "string"})

    def convert(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        return value


Bool = Annotated[bool, Switch()]
Text = Annotated[str, Words()]
Int = Annotated[int, Number(whole=True)]
Float = Annotated[float, Number()]
PositiveInt = Annotated[int, Number(whole=True, least=1)]
NonNegativeInt = Annotated[int, Number(whole=True, least=0)]
PositiveFloat = Annotated[float, Number(above=0)]
NonNegativeFloat = Annotated[float, Number(least=0)]
Fraction = Annotated[float, Number(least=0, most=1)]
FractionBelowOne = Annotated[float, Number(least=0, below=1)]
