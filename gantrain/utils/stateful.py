"""Parts of a game that keep numbers from one training step to the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Stateful:
    """A part of a game that may keep a state. By default it keeps none.

    Losses, penalties and augmentations are such parts. The state is saved in checkpoints, if the game holds the part as
    an attribute or in a list that is one. It must be the same on all processes, and move once in a training step,
    however often the step evaluates the game: :class:`gantrain.data.StepMeans` sees to both.

    Attributes:
        logged_as: the name of the part in the log; by default that of its class in lower case.
    """

    logged_as: str

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "logged_as" not in vars(cls):
            cls.logged_as = cls.__name__.lower()

    def state_dict(self) -> dict[str, Any]:
        """The state: tensors and numbers by name. Names, shapes and types never change."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned, perhaps from an earlier training step."""

    def scalars(self) -> Mapping[str, Tensor | float]:
        """Numbers of the state for the log, which calls them ``PART/NAME``, by ``logged_as``; by default none."""
        return {}


def stateful_parts(owner: object) -> dict[str, Stateful]:
    """The parts that an object holds as attributes, or in lists and tuples: ``penalties.0`` -> the part."""
    found: dict[str, Stateful] = {}
    for name, value in vars(owner).items():
        several = {f"{name}.{i}": each for i, each in enumerate(value)} if isinstance(value, list | tuple) else {}
        for key, each in (several or {name: value}).items():
            if isinstance(each, Stateful):
                found[key] = each
    return found
