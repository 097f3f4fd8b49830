"""Classes whose arguments ``__new__`` takes, such as subclasses of float: pages show its signature as theirs."""

from __future__ import annotations

from typing import Any

from griffe import Class, Extension


class Constructors(Extension):
    """Reads ``__new__`` in the place of an ``__init__`` that is not there."""

    def on_class(self, *, cls: Class, **others: Any) -> None:
        if "__new__" in cls.members and "__init__" not in cls.members:
            cls.members["__init__"] = cls.members["__new__"]
