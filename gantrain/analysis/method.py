"""How a run trains: what advice is compared with, so that it advises nothing that the run does already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gantrain.config.parts import Part, game_players, part_arguments, part_name
from gantrain.config.schema import Config


@dataclass(frozen=True)
class Method:
    """How a run trains. What is not known of it is left out.

    Attributes:
        outer: the outer loop with all of its settings, and its base by its name.
        optimizers: the optimizers that do not take plain gradient steps, each once.
        oracles: the name of the gradient oracle by the names of those players whose gradient is not the plain one.
    """

    outer: Mapping[str, Any] = field(default_factory=dict)
    optimizers: tuple[str, ...] = ()
    oracles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> Method:
        """The method of the run that a config describes."""
        players = game_players(config.game)
        optimizers = [_as_words(section.optimizer) for section in players.values()]
        oracles = {name: part_name(s.sharpness) for name, s in players.items() if s.sharpness is not None}
        return cls(
            _outer(config.outer),
            tuple(dict.fromkeys(words for words in optimizers if words != "sgd")),
            {name: oracle for name, oracle in oracles.items() if oracle != "plain"},
        )

    def has(self, outer: Mapping[str, Any]) -> bool:
        """Whether an outer loop is the run's own."""
        return all(self.outer.get(key) == value for key, value in outer.items())

    def beside(self, outer: Mapping[str, Any]) -> dict[str, Any]:
        """The run's outer loop by those of its settings that another loop has, too."""
        return {key: value for key, value in self.outer.items() if key in outer}


def _outer(part: Part) -> dict[str, Any]:
    settings = {"name": part_name(part), **part_arguments(part)}
    if "order" in settings:
        settings["order"] = settings["order"] or "simultaneous"
    if "base" in settings:
        base = settings["base"]
        settings["base"] = "gda" if base is None else base if isinstance(base, str) else part_name(base)
    return settings


def _as_words(optimizer: Part) -> str:
    return part_name(optimizer) + (" with momentum" if part_arguments(optimizer).get("momentum") else "")
