"""Groups of players: arguments of a game that map any number of names to networks, as configs write them.

The section of such an argument has the keys of a player, which hold for each of them, and under the name of a player
the keys in which this player differs. A game may number its players by another argument, a list: the players of
``firms`` are then called ``firm1``, ``firm2`` and so on, one for each entry of the list, and need not be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gantrain.config.base import nearest, one_of, problem_at
from gantrain.config.merge import merge
from gantrain.config.parts import Part, PlayerSection, PlaysMany, player_section
from gantrain.config.types import shown


def written_out(game: Mapping[str, Any], model: type[Part], numbered: Mapping[str, str]) -> dict[str, Any]:
    """The config of a game with a whole section for each player of its groups.

    Args:
        game: the config of the game, as it was written.
        model: the model of the game's keys.
        numbered: the argument whose entries number the players, for each group that has one.

    Raises:
        ValidationError: a group is no mapping, has no player, or has one that the game does not number.
    """
    written = dict(game)
    for group, field in model.model_fields.items():
        kinds = [mark.kind for mark in field.metadata if isinstance(mark, PlaysMany)]
        if kinds and group in game:
            names = _numbered(group, numbered[group], game) if group in numbered else None
            written[group] = _sections(group, game[group], player_section(kinds[0]), names)
    return written


def _numbered(group: str, by: str, game: Mapping[str, Any]) -> list[str]:
    """The names of the players whom the entries of another argument number."""
    entries = game.get(by)
    if isinstance(entries, list) and not entries:
        raise problem_at(("game", by), f"expected at least one entry; each is one of {group}", entries)
    # What is no list is found to be wrong by itself.
    return [f"{group.removesuffix('s')}{i}" for i in range(1, len(entries) + 1 if isinstance(entries, list) else 2)]


def _sections(group: str, section: Any, model: type[PlayerSection], names: list[str] | None) -> dict[str, Any]:
    keys = list(model.model_fields)
    if not isinstance(section, Mapping):
        message = f"expected a mapping with the keys {', '.join(keys)} and the names of players, got {shown(section)}"
        raise problem_at(("game", group), message, section)
    own = {name: changes for name, changes in section.items() if name not in keys}
    for name in own:
        if names is not None and name not in names:
            known = [*keys, *names]
            shortened = known if len(known) < 12 else [*known[:8], "...", known[-1]]
            message = f"unknown key or player; expected {one_of(shortened)}{nearest(name, known)}"
            raise problem_at(("game", group, name), message, own[name])
    common = {key: value for key, value in section.items() if key in keys}
    for key in common:
        if own and all(_replaces(own.get(name), key) for name in names or own):
            message = f"has no effect, since every player has its own {key}; change these, or leave them out"
            raise problem_at(("game", group, key), message, common[key])
    found = {}
    for name in own if names is None else names:
        changes = own.get(name)
        plain = changes is None or isinstance(changes, dict)
        found[name] = merge(common, changes or {}, ("game", group)) if plain else changes
    if not found:
        raise problem_at(
            ("game", group),
            "names no player; expected each name, with the keys in which it differs or {}",
            section,
        )
    return found


def _replaces(changes: Any, key: str) -> bool:
    """Whether what is different for a player has the key, and leaves nothing of what holds for all."""
    if not isinstance(changes, Mapping) or key not in changes:
        return False
    value = changes[key]
    return not isinstance(value, Mapping) or bool({"name", "target"} & value.keys())
