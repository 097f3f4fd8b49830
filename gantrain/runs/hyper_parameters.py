"""The columns of TensorBoard's table of hyper-parameters.

TensorBoard takes the columns of the whole table from one run, whichever it reads first. All runs of a game therefore
have the same columns: one for each place of the config at which a part may stand, with the part and those of its keys
that differ from the defaults as text. Whatever runs differ in shows in one of them. Numbers that differ from their
defaults have columns of their own as well, which can be axes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gantrain.utils.nested import flatten

Cell = bool | int | float | str

# The column with what a run changes of the config that it is based on.
CHANGES = "changes"
# The sections that say how a run trains.
_SECTIONS = ("data", "game", "outer", "ema")
# Keys of the section run that say where, how long and how safely a run trains, and change no gradient.
_NO_SETTINGS = (
    *("name", "folder", "steps", "gradients", "kimg", "device", "processes", "threads", "timeout"),
    *("on_error", "on_nonfinite", "rollbacks", "seed"),
)
# Keys of the section data that stand beside the data set, and the folder of downloads.
_BESIDE_DATA = ("batch_size", "accumulation", "storage", "workers", "root")
# Keys of a player's section that have columns of their own; the others share one.
_SLOTS = ("model", "optimizer", "sharpness")


def hyper_parameters(config: Mapping[str, Any], chosen: Mapping[str, Any] | None = None) -> dict[str, Cell]:
    """The columns of a run and its cells, by the key of the config.

    Args:
        config: the resolved config.
        chosen: the config without the keys that have their defaults; by default the whole of it.
    """
    chosen = config if chosen is None else chosen
    run, data, game = (_section(config, key) for key in ("run", "data", "game"))
    own_run, own_data, own_game = (_section(chosen, key) for key in ("run", "data", "game"))
    columns: dict[str, Cell] = {}
    if "outer" in config:
        columns["outer"] = worded(chosen.get("outer", config["outer"]))
    columns |= {
        "run.seed": run.get("seed", 0),
        "run": _rest(own_run, _NO_SETTINGS),
        "data": _rest(own_data, _BESIDE_DATA),
        "ema": worded(chosen.get("ema", config.get("ema"))),
    }
    if "batch_size" in data:
        columns["data.batch_size"] = data["batch_size"]
    for key, value in game.items():
        if key in ("name", "target"):
            columns["game"] = str(value)
            continue
        for place, player in _players(f"game.{key}", value):
            columns |= _of_player(place, player, _at(chosen, place))
        if not any(_players(f"game.{key}", value)):
            columns[f"game.{key}"] = value if _is_number(value) else worded(own_game.get(key, value))
    sections = {key: chosen[key] for key in _SECTIONS if key in chosen}
    numbers = {key: value for key, value in flatten(sections).items() if _is_number(value)}
    return columns | {key: value for key, value in numbers.items() if key not in columns}


def is_setting(key: str) -> bool:
    """Whether a key of a config says how the run trains, and not where, how long or how it is observed."""
    first, _, rest = key.partition(".")
    if first == "run":
        return rest == "seed" or rest not in _NO_SETTINGS
    return first in _SECTIONS and not (first == "data" and rest in _BESIDE_DATA and rest != "batch_size")


def worded(value: Any) -> str:
    """A part or a value as short text, such as ``lookahead (inner_steps 5, base extragradient)``."""
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, Mapping):
        name = value.get("name", str(value.get("target", "")).rpartition(":")[2])
        rest = ", ".join(f"{key} {worded(v)}" for key, v in value.items() if key not in ("name", "target"))
        return f"{name} ({rest})" if name and rest else str(name or rest)
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        return " + ".join(map(worded, value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _of_player(place: str, section: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Cell]:
    """The columns of a player: its parts, the learning rate, and all else that its section says."""
    columns: dict[str, Cell] = {
        f"{place}.{slot}": worded(chosen.get(slot, section[slot])) for slot in _SLOTS if slot in section
    }
    rate = _section(section, "optimizer").get("lr")
    if isinstance(rate, int | float):
        columns[f"{place}.optimizer.lr"] = rate
    return columns | {place: _rest(chosen, _SLOTS)}


def _rest(chosen: Mapping[str, Any], without: Sequence[str]) -> str:
    """What a section says under other keys than these, if that differs from the defaults."""
    rest = {key: value for key, value in chosen.items() if key not in without and value not in (None, [])}
    return worded(rest) if rest else "default"


def _players(place: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sections of players that stand at a key of the game, each with its own key."""
    if isinstance(value, Mapping) and "optimizer" in value:
        yield place, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if isinstance(each, Mapping) and "optimizer" in each:
                yield f"{place}.{name}", each


def _section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _at(config: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """The section at a dotted key; empty if there is none."""
    for key in place.split("."):
        config = _section(config, key)
    return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
