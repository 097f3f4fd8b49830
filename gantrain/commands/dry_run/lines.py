"""The report of a dry run as lines for a terminal, and as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

from gantrain.config.clock import in_words
from gantrain.data.storage import amount
from gantrain.utils.json_text import json_text

# The parts of the memory that the run itself knows, as the report calls them and as its lines do.
_PARTS = {key: key for key in ("networks", "gradients", "optimizers", "average")}
_PARTS |= {"method": "oracles and outer loop", "samples": "samples"}


def text(report: dict[str, Any]) -> str:
    """The report as lines for a terminal."""
    rows = list(_rows(report))
    width = max(len(subject) for subject, _ in rows)
    return "\n".join(f"{subject:<{width}}  {line}" for subject, line in rows)


def as_json(report: dict[str, Any]) -> str:
    """The report as JSON; sizes are in bytes, times in seconds."""
    return json_text(report)


def _rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    run, step, budget, spent, memory = (report[key] for key in ("run", "step", "budget", "time", "memory"))
    many = run["processes"]
    where = f"{many} process{'es' if many > 1 else ''} on {run['device']}"
    yield "run", f"{run['name']}: {run['game']} by {run['outer']}, seed {run['seed']}, {run['precision']}, {where}"
    for player in report["players"]:
        more = "".join(f", {player[key]}" for key in ("scheduler", "sharpness") if player[key])
        frozen = f" and {player['frozen']:,} frozen ones" if player["frozen"] else ""
        yield (
            player["name"],
            f"{player['parameters']:,} parameters in {player['network']}{frozen}; {player['optimizer']} with "
            f"lr={player['lr']:g}{more}; gradient evaluations per step: {player['gradient_evaluations']:.4g}",
        )
        if player["init"] is not None:
            yield "", player["init"]
    for average in report["averages"]:
        name = "" if average["name"] == "ema" else f"{average['name']}, "
        yield "average", f"{name}of the weights of {average['of_player']}{', '.join(['', *_settings(average)])}"
    yield "data", f"{report['data']['samples']}; batches of {report['data']['batch_size']}"
    for weight in report["r1"]:
        yield "r1", f"weight {weight['weight']:.3g}; as a comparison, {weight['comparison']}"
    parts = [f"{name} {amount(memory[key])}" for key, name in _PARTS.items() if memory[key]]
    each = " in each process" if many > 1 else ""
    yield "memory", f"{', '.join(parts)}{each}"
    if memory["gpu_peak"] is not None:
        yield "", f"at most {amount(memory['gpu_peak'])} on the GPU, with the activations"
    which, bare = "this" if many == 1 else "the first", amount(memory["process_before"])
    workers = " without its workers" if report["data"]["workers"] else ""
    yield (
        "",
        f"at most {amount(memory['process_peak'])} in {which} process{workers}; Python and torch alone have {bare}",
    )
    pace = f"{_short(step['seconds'])}, {step['samples_per_second']:.4g} samples/s"
    yield "step", f"{pace} (the median of {step['measured']} steps)"
    limits = ", ".join(f"run.{key}={value:g}" for key, value in budget.items() if key in ("steps", "gradients", "kimg"))
    taken = f", {budget['steps_taken']} of them taken" if budget["steps_taken"] else ""
    yield "budget", f"{limits}: {budget['total_steps']} steps{taken}"
    yield "time", f"about {_long(spent['total'])} on this machine, of which"
    yield "", f"{_long(spent['start'])} until the first steps are taken"
    yield "", f"{_long(spent['steps'])} for {budget['steps_left']} steps and the log"
    for occasion in spent["occasions"]:
        if occasion["seconds"] is not None and occasion["times"]:
            each = f"{occasion['times']} x {occasion['name']} of {_short(occasion['seconds'])}"
            yield "", f"{_long(occasion['total'])} for {each}, every {in_words(occasion['every'])}"
    for what in spent["not_included"]:
        yield "", f"not included: {what}"
    disk = report["disk"]
    short = "" if disk["free"] >= disk["needed"] else ": too little, free some space"
    yield (
        "disk",
        f"a checkpoint has {amount(disk['checkpoint'])}, the run needs about {amount(disk['needed'])}; "
        f"{disk['place']} has {amount(disk['free'])} free{short}",
    )
    folder = report["folder"]
    if folder["earlier_run"] is None:
        yield "folder", f"{folder['path']} is free"
    else:
        held = f"; {folder['held_by']} writes into it" if folder["held_by"] else ""
        yield "folder", f"{folder['earlier_run']}{held}"
        yield "", folder["advice"]
    for path, what in report["writes"].items():
        yield "", f"{path}: {what}"
    if report["watch"] is not None:
        yield "watch", report["watch"]


def _settings(average: dict[str, Any]) -> Iterator[str]:
    """How an average is taken, in words."""
    for key, value in average.items():
        if key == "uniform":
            yield key
        elif key == "start":
            yield f"from {in_words(value)} on"
        elif key == "of" and value == "anchor":
            yield "at the anchors of the outer loop"
        elif key in ("decay", "half_life_kimg", "ramp"):
            yield f"{key} {value}"


def _short(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _long(seconds: float) -> str:
    return _short(seconds) if seconds < 100 else str(datetime.timedelta(seconds=round(seconds)))
