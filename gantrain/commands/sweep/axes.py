"""The axes of a sweep: the alternatives between which its runs differ, from the command line or from a sweep file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantrain.config import merge, shipped, yaml_files
from gantrain.config.base import nearest, one_of
from gantrain.config.merge import Setting
from gantrain.config.paths import no_config, tidy
from gantrain.config.schema import Config
from gantrain.config.types import expanded, one_line, shown
from gantrain.errors import NotFound, UserError

# The keys of a sweep file. No config has over, so that it tells the two apart.
_KEYS = ("base", "set", "over", "seeds")
# The columns that sweep.csv has for every sweep.
_COLUMNS = ("name", "seed", "outcome", "step", "gradients", "seconds", "reason")
# Keys that a sweep sets, and what the user is told instead.
_SWEEP_KEYS = {
    "run.name": "the runs are named by their values",
    "run.folder": "all runs lie in one folder",
    "run.seed": "use --seeds",
}


@dataclass(frozen=True)
class Alternative:
    """One of the alternatives of an axis.

    Attributes:
        settings: the values of the keys that it sets.
        columns: what the table of the sweep says of it, by columns.
        base: the path of the config that it takes; None leaves the choice to the sweep.
    """

    settings: Sequence[Setting]
    columns: Mapping[str, Any]
    base: str | None = None


@dataclass(frozen=True)
class Axis:
    """What the runs of a sweep differ in.

    Attributes:
        name: its name, in the names of the runs.
        alternatives: the alternatives by their words in the names of the runs.
        keys: the keys that it sets, if it comes from the command line.
    """

    name: str
    alternatives: Mapping[str, Alternative]
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says; see :func:`read_sweep`.

    Attributes:
        base: the path of the config of all runs whose alternatives name none.
        settings: what is set for all runs.
        axes: the axes, in their order.
        seeds: the number of seeds.
    """

    base: str
    settings: Sequence[Setting] = ()
    axes: Sequence[Axis] = ()
    seeds: int = 1


@dataclass(frozen=True)
class Axes:
    """The axes of a sweep.

    Attributes:
        of_file: those of the sweep file, or what ``--over`` leaves of them.
        further: those of ``--over``.
    """

    of_file: Sequence[Axis]
    further: Sequence[Axis]


def read_sweep(path: str | Path) -> SweepFile:
    """Read a sweep file: a YAML file with the key ``over``.

    ``over`` maps the name of each axis to its alternatives, and these map their words to what they set: keys such as
    ``run.steps``, and ``base``, the path of the config that a run takes. Instead of an axis there may be keys, as in
    ``outer`` or ``run.steps,log.every``, with a list of values, as after ``--over``. ``base``, ``set`` and ``seeds``
    say the config, what is set for all runs, and the number of seeds. Paths are relative to the file.

    Args:
        path: the file, in the current directory or among those that are shipped. A config is a sweep without axes.

    Raises:
        UserError: it is a sweep file and is wrong.
    """
    found = shipped.find(path)
    content = {} if shipped.is_missing(found) else merge.read_file(found)
    if "over" not in content:
        return SweepFile(str(path))  # what loads it as a config says what is wrong with it
    where = one_line(path)
    for key in content:
        if key not in _KEYS:
            of_config = key.partition(".")[0] in Config.model_fields
            advice = f"; write it below set, as in set: {{{key}: …}}" if of_config else nearest(key, _KEYS)
            raise UserError(f"{where}: {key}: expected {one_of(_KEYS)}{advice}")
    over, seeds = content["over"], content.get("seeds", 1)
    if not isinstance(over, dict) or not over:
        got = "an empty mapping" if over == {} else shown(over)
        raise UserError(f"{where}: over: expected a mapping from axes to their alternatives, got {got}")
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise UserError(f"{where}: seeds: expected a whole number from 1, got {shown(seeds)}")
    base = _base(content.get("base"), found, f"{where}: base")
    settings = _settings(content.get("set", {}), f"{where}: set", ())
    groups = {name: _keys(name) for name in over}
    axes = []
    for name, values in over.items():
        at = f"{where}: over.{name}"
        if isinstance(values, list):
            for key in groups[name]:
                if [each for keys in groups.values() for each in keys].count(key) > 1:
                    raise UserError(f"{at}: {key} is given twice; put all its values into one list")
            _require_free(groups[name], at)
            axes.append(_keyed_axis(groups[name], values, groups.values(), at, at))
        else:
            axes.append(_named_axis(name, values, found, at))
    based = [axis.name for axis in axes if any(a.base is not None for a in axis.alternatives.values())]
    if len(based) + (base is not None) != 1:
        what = "two say it" if based else "nothing says which config the runs take"
        raise UserError(f"{where}: base: {what}; expected base here, or in all alternatives of one axis")
    for axis in axes:
        lacking = [word for word, each in axis.alternatives.items() if each.base is None]
        if axis.name in based and lacking:
            raise UserError(f"{where}: over.{axis.name}.{lacking[0]}.base: is missing; other alternatives have it")
    return SweepFile(base or "", settings, axes, seeds)


def command_line_axes(over: Sequence[str], axes: Sequence[Axis]) -> Axes:
    """The axes of a sweep with what ``--over`` says.

    Args:
        over: ``KEY=VALUE,VALUE,...`` for each key that differs; the values are a list in YAML without its brackets. In
            ``KEY,KEY=VALUE,...`` all keys have the same value. ``AXIS=WORD,WORD,...`` takes a part of an axis.
        axes: the axes of the sweep file.

    Raises:
        UserError: an entry of ``over`` is malformed, or names an alternative that its axis does not have.
    """
    known = {name: axis for axis in axes for name in (axis.name, ",".join(axis.keys)) if name}
    values: dict[tuple[str, ...], list[Any]] = {}
    parts: dict[str, Axis] = {}
    for entry in over:
        left, equals, right = entry.partition("=")
        if equals and left in known:
            if known[left].name in parts:
                raise UserError(f"--over {left} is given twice; put all its values into one, as in {left}=A,B")
            parts[known[left].name] = _part(known[left], right.split(","))
            continue
        keys, alternatives = _alternatives(entry)
        for key in keys:
            if any(key in others for others in values) or keys.count(key) > 1:
                raise UserError(f"--over {key} is given twice; put all its values into one, as in {key}=A,B")
        values[keys] = alternatives
    swept = [*values, *(axis.keys or (axis.name,) for axis in axes)]
    further = [
        _keyed_axis(keys, each, swept, f"--over {','.join(keys)}", "command line") for keys, each in values.items()
    ]
    return Axes([parts.get(axis.name, axis) for axis in axes], further)


def _keyed_axis(
    keys: tuple[str, ...], values: Sequence[Any], swept: Iterable[tuple[str, ...]], where: str, place: str
) -> Axis:
    """The axis of keys that all have the same value.

    Args:
        keys: the keys.
        values: the values.
        swept: the keys of all such axes, among which this axis needs a name of its own.
        where: where the values stand, for messages.
        place: where the keys stand, for messages about them.

    Raises:
        UserError: there is no value, or two values have the same word.
    """
    alternatives: dict[str, Alternative] = {}
    name = _shortest(keys, swept)
    for value in values:
        word = _word(value)
        if word in alternatives:
            raise UserError(f"{where}: two runs would be called {name}={word}; give each value once")
        settings = [Setting(key, value, place) for key in keys]
        alternatives[word] = Alternative(settings, dict.fromkeys(keys, value))
    if not alternatives:
        raise UserError(f"{where}: expected one value or more")
    return Axis(name, alternatives, keys)


def _named_axis(name: str, values: Any, path: Path, where: str) -> Axis:
    if not isinstance(values, dict) or not values:
        got = "an empty mapping" if values == {} else shown(values)
        raise UserError(f"{where}: expected alternatives by name, or a list of values of the key, got {got}")
    _require_word(name, where)
    if name in _COLUMNS:
        raise UserError(f"{where}: sweep.csv has a column of this name already; choose another name")
    alternatives = {}
    for word, content in values.items():
        at = f"{where}.{word}"
        _require_word(word, at)
        if not isinstance(content, dict):
            raise UserError(f"{at}: expected keys and their values, as in {{run.steps: 1000}}, got {shown(content)}")
        base = _base(content.get("base"), path, f"{at}.base")
        settings = _settings({k: v for k, v in content.items() if k != "base"}, at, _SWEEP_KEYS)
        alternatives[word] = Alternative(settings, {name: word}, base)
    return Axis(name, alternatives)


def _settings(content: Any, where: str, reserved: Iterable[str]) -> list[Setting]:
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected keys and their values, as in {{run.steps: 1000}}, got {shown(content)}")
    settings = [Setting(key, value, where) for key, value in content.items()]
    run = merge.parse_overrides(settings)[0].get("run")
    for key in reserved:
        if isinstance(run, dict) and key.removeprefix("run.") in run:
            raise UserError(f"{where}: {key}: a sweep sets it itself: {_SWEEP_KEYS[key]}")
    return settings


def _base(value: Any, path: Path, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise UserError(f"{where}: expected the path of a config, got {shown(value)}")
    try:
        found = tidy(shipped.find(expanded(value), path.parent))
    except ValueError as error:
        raise UserError(f"{where}: {one_line(value)}: {error}") from None
    if shipped.is_missing(found):
        raise NotFound(f"{where}: {no_config(found, value)}")
    return str(found)


def _part(axis: Axis, words: Sequence[str]) -> Axis:
    chosen = {}
    for word in map(str.strip, words):
        if word not in axis.alternatives:
            expected = f"expected some of {', '.join(axis.alternatives)}"
            raise UserError(f"--over {axis.name}: {expected}, got {word!r}{nearest(word, axis.alternatives)}")
        chosen[word] = axis.alternatives[word]
    return Axis(axis.name, chosen, axis.keys)


def _alternatives(entry: str) -> tuple[tuple[str, ...], list[Any]]:
    left, equals, values = entry.partition("=")
    keys = _keys(left)
    if not equals or not all(all(key.split(".")) for key in keys):
        raise UserError(f"--over {entry!r}: expected KEY=VALUE,VALUE,..., as in outer=gda,extragradient")
    _require_free(keys, f"--over {left}")
    alternatives = yaml_files.parse(f"[{values}]", f"--over {left}")
    if not isinstance(alternatives, list) or not alternatives:
        raise UserError(f"--over {left}: expected one value or more, separated by commas")
    return keys, alternatives


def _keys(text: str) -> tuple[str, ...]:
    return tuple(key.strip() for key in text.split(","))


def _require_free(keys: Sequence[str], where: str) -> None:
    for key in keys:
        if key in _SWEEP_KEYS:
            raise UserError(f"{where}: a sweep sets it itself: {_SWEEP_KEYS[key]}")


def _require_word(word: str, where: str) -> None:
    if not re.fullmatch(r"[\w.+-]+", word):
        raise UserError(
            f"{where}: {shown(word)} becomes part of the names of folders; use letters, digits, _ . + and -"
        )


def _shortest(keys: tuple[str, ...], swept: Iterable[tuple[str, ...]]) -> str:
    """The shortest common end of dotted keys with which none of the other keys that are swept over ends.

    Keys without a common end have their own shortest ends, with + between them.
    """
    others = [key.split(".") for group in swept for key in group if key not in keys]
    words = keys[0].split(".")
    for count in range(1, len(words) + 1):
        end = words[-count:]
        if any(key.split(".")[-count:] != end for key in keys):
            break
        if end not in [other[-count:] for other in others]:
            return ".".join(end)
    return keys[0] if len(keys) == 1 else "+".join(_shortest((key,), swept) for key in keys)


def _word(value: Any) -> str:
    """A value as part of a folder's name: ``{name: rapp, inner_steps: 3}`` is ``rapp-inner_steps=3``."""
    if isinstance(value, dict):
        return "-".join(_word(v) if k in ("name", "target") else f"{k}={_word(v)}" for k, v in value.items())
    if isinstance(value, list):
        return "-".join(map(_word, value))
    return re.sub(r"[^\w.+-]+", "_", value if isinstance(value, str) else json.dumps(value))
