"""The base class of all sections of a config: it is strict, and its errors say what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, create_model, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from gantrain.config.types import one_line, shown

# So many problems of one config are reported; who has made more has one cause for most of them.
_MOST_PROBLEMS = 20
AnySchema = TypeVar("AnySchema", bound="Schema")


def problem(message: str, kind: str = "problem", **context: Any) -> PydanticCustomError:
    """An error that a validator may raise, with this message.

    Args:
        message: the message; it is used as it is, braces included.
        kind: the type of the error.
        context: further values that go with the error.
    """
    return PydanticCustomError(kind, "{message}", {"message": message, **context})


def problem_at(key: Sequence[str | int], message: str, value: Any = None, kind: str = "problem") -> ValidationError:
    """An error about a key below the one whose validator raises the error.

    Args:
        key: the path of the key, relative to the validator's.
        message: the message.
        value: the value at the key.
        kind: "absent" where the key need not occur in what the user wrote.
    """
    details = InitErrorDetails(type=problem(message, kind), loc=tuple(key), input=value)
    return ValidationError.from_exception_data("config", [details])


def nearest(word: Any, known: Iterable[str]) -> str:
    """The text ``; did you mean 'x'?`` if a known word is close to ``word``, and an empty text otherwise."""
    by_lower = {k.lower(): k for k in known}
    comparable = isinstance(word, str | Path) and len(str(word)) < 200
    close = difflib.get_close_matches(str(word).lower(), by_lower, n=1) if comparable else []
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def one_of(words: Iterable[str]) -> str:
    """The text ``one of a, b, c``, or the word itself if there is only one."""
    words = list(words)
    return "".join(words) if len(words) < 2 else f"one of {', '.join(words)}"


class Schema(BaseModel):
    """A mapping with a fixed set of keys; other keys are refused, and the object cannot be changed."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, value: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
        """Validate a mapping, with messages that name the keys and the section's fields; pydantic's own do not."""
        if isinstance(value, cls):
            return value
        value = cls.normalised(value)
        if not isinstance(value, Mapping):
            raise problem(f"expected a mapping with the keys {', '.join(cls.model_fields)}, got {shown(value)}")
        try:
            return handler(value)
        except ValidationError as error:
            details = [cls._explained(e) for e in cls.told(error.errors(include_url=False))]
            raise ValidationError.from_exception_data(cls.__name__, details) from None

    @classmethod
    def normalised(cls, value: Any) -> Any:
        """The value of the section with shorthands written out; subclasses that have shorthands override this."""
        return value

    @classmethod
    def told(cls, errors: list[ErrorDetails]) -> list[ErrorDetails]:
        """Those of the errors that the user is told; subclasses whose sections repeat others override this."""
        return errors

    @classmethod
    def absent(cls, key: str | int) -> str:
        """Why there is no such key, for the message; empty if there is nothing to say."""
        return ""

    @classmethod
    def _explained(cls, error: ErrorDetails) -> InitErrorDetails:
        kind: str | PydanticCustomError = error["type"]
        loc = error["loc"]
        if kind == "extra_forbidden" and len(loc) == 1:
            kind = problem("unknown key", "unknown", known=list(cls.model_fields), why=cls.absent(loc[0]))
        elif kind == "missing" and len(loc) == 1:
            description = cls.model_fields[str(loc[0])].description or ""
            sentence = " ".join(description.split()).split(". ")[0].rstrip(".")
            kind = problem(f"is missing{f' ({sentence})' if sentence else ''}", "absent")
        elif error.get("ctx", {}).get("message") is not None:
            kind = PydanticCustomError(error["type"], "{message}", error["ctx"])
        else:
            return InitErrorDetails(type=kind, loc=loc, input=error["input"], ctx=error.get("ctx", {}))
        return InitErrorDetails(type=kind, loc=loc, input=error["input"])


def extended(base: type[AnySchema], name: str, doc: str | None, fields: Mapping[str, Any]) -> type[AnySchema]:
    """A section with more keys than ``base``, each with its description in its ``Field``.

    Args:
        base: the class of the section.
        name: the name of the new class.
        doc: the docstring of the new class.
        fields: the types of the further keys, and their ``Field`` each.
    """
    # Looking for docstrings below fields that have none takes pydantic half of the time in which a config is checked.
    options = {"use_attribute_docstrings": False}
    return create_model(name, __base__=base, __doc__=doc, __cls_kwargs__=options, **fields)


def lines(error: ValidationError, data: Any) -> list[tuple[str, str]]:
    """The problems that pydantic found, one for each key.

    Args:
        error: pydantic's error.
        data: the value that was validated.

    Returns:
        The full path of each key, such as ``outer.base.name``, and what is wrong with its value.
    """
    found: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for e in error.errors(include_url=False):
        found.setdefault(_path(e, data), []).append(e)
    # Each alternative reports a value that fits none of them. The user meant the alternative that got furthest.
    passed = {path[:n] for path in found for n in range(len(path))}
    deepest = [path for path in found if path not in passed]
    named = [
        (".".join(map(_word, path)), _joined(list(dict.fromkeys(map(_message, found[path])))))
        for path in deepest[:_MOST_PROBLEMS]
    ]
    if len(deepest) > _MOST_PROBLEMS:
        named.append((_word(deepest[_MOST_PROBLEMS][0]), f"and {len(deepest) - _MOST_PROBLEMS} more problems"))
    return named


def _word(key: str | int) -> str:
    """A key as messages write it: as it is, unless it would not stay on its line."""
    return one_line(key) if len(str(key)) <= 60 else shown(key)


def _path(error: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    """The path of an error in ``data``, without the names of alternatives that pydantic inserts into it."""
    path: list[str | int] = []
    for key in error["loc"]:
        in_mapping = isinstance(data, Mapping) and key in data
        in_list = isinstance(data, (list, tuple)) and isinstance(key, int) and key < len(data)
        if in_mapping or in_list:
            data = data[key]
        elif error["type"] not in ("absent", "missing") or key != error["loc"][-1]:
            continue
        path.append(key)
    return tuple(path)


def _message(error: ErrorDetails) -> str:
    kind, context, got = error["type"], error.get("ctx", {}), shown(error["input"])
    if kind == "unknown":
        known = context["known"]
        return f"unknown key{context['why']}; expected {one_of(known)}{nearest(error['loc'][-1], known)}"
    if kind == "literal_error":
        known = re.findall(r"'([^']*)'", context["expected"])
        return f"expected {context['expected']}, got {got}{nearest(error['input'], known)}"
    if kind in ("tuple_type", "list_type"):
        return f"expected a list, got {got}"
    if kind == "dict_type":
        return f"expected a mapping, got {got}"
    if kind == "too_long":
        return f"expected at most {context['max_length']} values, got {context['actual_length']}"
    if kind == "too_short":
        return f"expected at least {context['min_length']} values, got {context['actual_length']}"
    if kind == "missing":
        return "is missing"
    return context.get("message") or error["msg"]


def _joined(messages: list[str]) -> str:
    """One message ``expected A or B, got x`` from several messages ``expected A, got x``."""
    if len(messages) == 1:
        return messages[0]
    split = [m.removeprefix("expected ").partition(", got ") for m in messages]
    # What was got is the same in all, and the longest text also has a hint.
    return f"expected {' or '.join(s[0] for s in split)}, got {max((s[2] for s in split), key=len)}"
