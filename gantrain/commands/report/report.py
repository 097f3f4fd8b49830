"""The report command: one HTML file about runs, for somebody who was not there."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gantrain import __version__
from gantrain.commands.comparison.groups import run_folders
from gantrain.commands.comparison.series import UNITS
from gantrain.commands.report.config import configs
from gantrain.commands.report.curves import POINTS, families, is_thinned
from gantrain.commands.report.facts import facts, shared
from gantrain.commands.report.pictures import Pictures, pictures, with_data_at
from gantrain.commands.report.plot import colour, dashes
from gantrain.commands.report.quality import Table, tables
from gantrain.commands.report.reading import Reading, ReportedRun, read_runs
from gantrain.commands.report.words import were_sought, words
from gantrain.compute.device import exact_arithmetic, find_device
from gantrain.config import shipped
from gantrain.errors import UserError
from gantrain.runs.last_rows import LastRows
from gantrain.utils.io import make_folder, open_regular, write_file

REPORT = "report.html"
# What the file of a report begins with, by which it is told apart from other files.
_MARK = "<!DOCTYPE html>\n<!-- A report of gantrain. -->\n"
# Pictures are shown of so many groups. If there is one group, or if there are several, each has so many grids over the
# training, and pictures of at most this width in pixels: even of noise, all of them take less than 8 MB.
_PICTURED = 8
_ONE, _SEVERAL = (12, 720), (4, 400)


def report_runs(
    runs: Sequence[str | Path],
    output: str | None = None,
    at: str | None = None,
    device: str = "auto",
    trust: bool = False,
    data: str | None = None,
) -> Path:
    """Write a report about runs as one HTML file, and return its path.

    Args:
        runs: folders of runs, or folders of such folders; a bare name is searched as in
            :func:`~gantrain.runs.saved.load`.
        output: the path of the file; by default ``report.html``, in the folder that was named, or in the current
            directory if several were.
        at: the kind of cost over which curves are drawn; see :func:`~gantrain.commands.report.reading.read_runs`.
        device: "cpu", "cuda", or "auto" for a GPU if there is one.
        trust: whether code outside gantrain that a run's config names is executed though the run was not trained here.
        data: where the training data lie now, if not where the config says.

    Raises:
        UserError: there is no run, or none that can be read; two runs are the same; a run has no cost of the kind
            ``at``; ``data`` is not where the data of a pictured run lie; the file cannot be written, or something else
            than a report lies there.
    """
    named = [shipped.find_run(run) for run in runs]
    folders = run_folders(named)
    place = Path(output) if output else (shipped.outputs(named[0]) if len(named) == 1 else Path()) / REPORT
    _require_replaceable(place)
    content = page(read_runs(folders, at, trust), named, device, trust, data)
    make_folder(place.parent)
    write_file(place, content)
    return place


def page(reading: Reading, named: Sequence[Path], device: str, trust: bool, data: str | None) -> str:
    """The report as HTML. Whatever comes from a run is escaped, and the page lets no other script run."""
    environment = Environment(
        loader=PackageLoader("gantrain.commands.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    quality, missing = tables(reading)
    facts_of = [facts(group.runs[0]) for group in reading.groups]
    place = find_device(device, "--device")
    several = len(reading.groups) > 1
    size = _SEVERAL if several else _ONE
    shown = [(group, group.pictured) for group in reading.groups[:_PICTURED]]
    moved = set() if data is None else with_data_at(data, [run for _, run in shown], trust)
    with exact_arithmetic(place):
        pictured = [
            (group, pictures(run, *size, place, trust, data if run.folder in moved else None)) for group, run in shown
        ]
    said = _said(reading)
    count = f"{len(reading.runs)} runs in {len(reading.groups)} groups"
    title = (f"{named[0].name}: {count}" if len(named) == 1 else count) if several else reading.groups[0].label
    return _MARK + environment.get_template("page.html").render(
        title=title,
        version=__version__,
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        reading=reading,
        unit=UNITS[reading.at],
        facts=shared(facts_of) | _sizes([found for _, found in pictured]) | _seed(reading),
        words=said,
        quiet=_quiet(said),
        runs=_runs(reading),
        quality=quality,
        missing=missing,
        families=families(reading),
        thinned=POINTS if is_thinned(reading) else None,
        legend=[(group.label, colour(i), dashes(i), _seeds(group.runs)) for i, group in enumerate(reading.groups)],
        pictured=pictured,
        unpictured=[group.label for group in reading.groups[_PICTURED:]],
        configs=configs(reading),
        cost=_cost(reading),
        commands=_commands(reading, named),
    )


def _require_replaceable(place: Path) -> None:
    """Refuse to replace anything but an earlier report.

    Raises:
        UserError: there is something else, or it cannot be read.
    """
    if place.is_dir():
        raise UserError(f"{place}: is a folder; name a file with --output, as in --output {place / REPORT}")
    try:
        with open_regular(place) as stream:
            mine = stream.read(len(_MARK)) == _MARK.encode()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{place}: cannot be replaced: {error.strerror or error}; choose another --output") from error
    if not mine:
        raise UserError(f"{place}: exists and is no report of gantrain; choose another --output")


def _said(reading: Reading) -> list[tuple[ReportedRun, list[str]]]:
    """The sentences about each run; where there are several, only those that tell it from one that went well."""
    several = len(reading.runs) > 1
    return [
        (run, [remark.text for remark in words(run, reading.at) if not (several and remark.quiet)])
        for run in reading.runs
    ]


def _quiet(said: Sequence[tuple[ReportedRun, list[str]]]) -> str:
    """A sentence about the runs about which there is nothing else to say."""
    runs = [run for run, lines in said if not lines]
    if not runs:
        return ""
    who = "All runs" if len(runs) == len(said) else f"The other {len(runs)} runs" if len(runs) > 1 else "The other run"
    sought = ", and showed no sign of trouble" if all(map(were_sought, runs)) else ""
    return f"{who} used up the budget{sought}."


def _hash(text: str) -> str:
    """What a policy of a page calls a script or a style sheet."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _seeds(runs: Sequence[ReportedRun]) -> str:
    """The number of runs of a group, and how many of them diverged."""
    lost = sum(run.series.diverged for run in runs)
    return (f"{len(runs)} seeds" if len(runs) > 1 else f"seed {runs[0].series.seed}") + (
        f", {lost} diverged" if lost else ""
    )


def _sizes(found: Sequence[Pictures]) -> dict[str, str]:
    """The numbers of parameters, if they are the same in all groups of which they are known."""
    known = [each.parameters for each in found if each.parameters]
    if not known or any(each != known[0] for each in known):
        return {}
    return {"parameters": ", ".join(f"{name} {count:,}" for name, count in known[0].items())}


def _seed(reading: Reading) -> dict[str, str]:
    """The seed of a single run; several stand in the table of runs."""
    return {"seed": str(reading.runs[0].series.seed)} if len(reading.runs) == 1 else {}


def _runs(reading: Reading) -> Table:
    """All runs, as ``gantrain list`` shows them."""
    names = list(dict.fromkeys(run.summary.metric for run in reading.runs if run.summary.metric))
    head = ["", "seed", "state", "step", "best", "at step", "last", "time"]
    rows = []
    for run in reading.runs:
        found = run.summary
        numbers = [f"{found.best:.4g}" if found.best is not None else "", _shown(found.best_step)]
        numbers += [f"{found.last:.4g}" if found.last is not None else "", _clock(found.seconds)]
        rows.append([run.folder.name, str(run.series.seed), found.state, _shown(found.step), *numbers])
    return Table("", head, rows, f"“best” and “last” are of {' or '.join(names)}." if names else "")


def _cost(reading: Reading) -> Table:
    """What each group has cost so far, as means over its runs; of a single group a row for each kind of cost."""
    columns: dict[str, list[str]] = {}
    for group in reading.groups:
        last = [LastRows(run.folder).last("gradients/") or {} for run in group.runs if not run.note]
        spent = [[v for k, v in row.items() if k.startswith("gradients/")] for row in last]
        speeds = [run.series.values.get("images_per_second") for run in group.runs]
        found = {
            "steps": _mean([row.get("step") for row in last]),
            "gradient evaluations": _mean([max(counts, default=None) for counts in spent]),
            "thousand samples": _mean([row.get("kimg") for row in last]),
            "samples per second": _mean([float(np.median(values[1])) for values in speeds if values is not None]),
            "time": _clock(_average([run.summary.seconds for run in group.runs])),
        }
        for name, text in found.items():
            columns.setdefault(name, []).append(text)
    columns = {name: texts for name, texts in columns.items() if any(texts)}
    labels = [group.label for group in reading.groups]
    note = "Gradient evaluations are those of the player that takes most; the time is that of the training with its "
    note += "evaluations, over all resumptions." + " Numbers are means over the runs." * (len(reading.runs) > 1)
    if len(labels) == 1:
        return Table("", ["", labels[0]], [[name, *texts] for name, texts in columns.items()], note)
    rows = [[label, *(texts[i] for texts in columns.values())] for i, label in enumerate(labels)]
    return Table("", ["", *columns], rows, note)


def _average(values: Sequence[Any]) -> float | None:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    return sum(numbers) / len(numbers) if numbers else None


def _mean(values: Sequence[Any]) -> str:
    found = _average(values)
    return "" if found is None else f"{found:,.0f}" if found >= 100 else f"{found:.4g}"


def _clock(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def _commands(reading: Reading, named: Sequence[Path]) -> list[tuple[str, str]]:
    """Commands with which a reader goes on, and what they do."""
    paths = " ".join(shlex.quote(str(path)) for path in named)
    first = shlex.quote(str(reading.runs[0].folder))
    found = [(f"gantrain report {paths}", "writes this report again")]
    found.append((f"gantrain list {paths}", "says how far the runs are"))
    if len(reading.runs) > 1:
        found.append((f"gantrain compare {paths}", "compares them at equal cost; --help has more tests"))
    found.append(
        (f"gantrain diagnose {first}", "measures the shape of the game, and says in plain words what it means")
    )
    found.append((f"tensorboard --logdir {shlex.quote(str(named[0]))}", "shows all curves, and more pictures"))
    return found
