"""What was trained, in a few words for each part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gantrain.commands.report.reading import ReportedRun

# A part with more settings than this is described by the first of them.
_MOST = 8


def facts(run: ReportedRun) -> dict[str, str]:
    """What was trained, by the names of the parts; settings that have their defaults are left out."""
    content, short = run.content, run.short
    found = {"data": ", ".join(_data(run))} if "data" in content else {}
    game = short.get("game", {})
    players = _players(content)
    found["game"] = described({key: value for key, value in game.items() if key not in players})
    for name in players:
        found[name] = "; ".join(_player(content["game"][name], game.get(name, {})))
    found["outer loop"] = described(short.get("outer") or _name(content.get("outer")))
    if content.get("ema"):
        found["average of the weights"] = described(content["ema"] if not short.get("ema") else short["ema"])
    return {name: text for name, text in found.items() if text}


def described(value: Any) -> str:
    """A value of a config in words: a part by its name, with its settings in brackets."""
    if isinstance(value, Mapping):
        name = value.get("name", value.get("target"))
        others = [(key, inner) for key, inner in value.items() if key not in ("name", "target")]
        if name is None and not others:
            return ""
        settings = [f"{key} {described(inner)}" for key, inner in others[:_MOST]]
        settings += ["…"] * (len(others) > _MOST)
        if name is None:
            return ", ".join(settings)
        return f"{name} ({', '.join(settings)})" if settings else str(name)
    if isinstance(value, list | tuple):
        inner = [f"[{described(one)}]" if isinstance(one, list | tuple) else described(one) for one in value]
        return ", ".join(inner) if inner else "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(part: Any) -> Any:
    """The name of a part whose settings have their defaults; None for what is no part."""
    return part.get("name", part.get("target")) if isinstance(part, Mapping) else None


def _players(content: Mapping[str, Any]) -> list[str]:
    """The names of the players, whose sections have an optimizer."""
    game = content.get("game")
    sections = game.items() if isinstance(game, Mapping) else ()
    return [name for name, section in sections if isinstance(section, Mapping) and "optimizer" in section]


def _player(section: Mapping[str, Any], short: Mapping[str, Any]) -> Iterator[str]:
    """The parts of a player; the learning rate is named also where it has its default."""
    for key, value in section.items():
        own = short.get(key, value) if isinstance(short, Mapping) else value
        if key == "optimizer" and isinstance(value, Mapping) and isinstance(own, Mapping):
            rate = {"lr": value["lr"]} if "lr" in value else {}
            name = {key: own[key] for key in ("name", "target") if key in own}
            own = name | rate | {key: inner for key, inner in own.items() if key not in ("name", "target", "lr")}
        elif key not in short:
            own = _name(value)
            if own is None:
                continue
        yield described(own) if key == "model" else f"{key} {described(own)}"


def _data(run: ReportedRun) -> Iterator[str]:
    data, short = run.content["data"], run.short.get("data", {})
    if not isinstance(data, Mapping) or run.form is not None and not math.prod(run.form.spec.shape):
        return  # the game takes no data
    chosen = described({key: value for key, value in short.items() if key not in ("batch_size", "accumulation")})
    if chosen:
        yield chosen
    if run.samples is not None:
        yield f"{run.samples} samples"
    if run.form is not None:
        yield f"of the shape {' × '.join(map(str, run.form.spec.shape))}"
        if run.form.spec.classes:
            yield f"{run.form.spec.classes} classes"
    if "batch_size" in data:
        yield f"batches of {data['batch_size']}"


def shared(of_groups: list[dict[str, str]]) -> dict[str, str]:
    """The facts that all groups have in common."""
    first, *others = of_groups
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}
