"""The rows, the table, the figure and the grids of the study of the SNGAN pair on CIFAR-10."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from gantrain.config import yaml_files
from gantrain.plotting.figures import Curve, comparison
from gantrain.plotting.images import figure_to_png
from gantrain.runs.folder import CONFIG, is_run
from gantrain.runs.monitor import read_metrics
from gantrain.utils.io import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUN = ("method", "learning_rate", "width", "batch", "seed", "device")
COLUMNS = (*RUN, "turn", "gradients", "kimg", "hours", "weights", "samples", "metric", "value")
TITLES = {
    "adam": ("Adam", "gda"),
    "la_adam": ("LA-Adam", "lookahead"),
    "extra_adam": ("ExtraAdam", "extragradient"),
    "la_extra_adam": ("LA-ExtraAdam", "lookahead_extragradient"),
    "rapp": ("RAPP", "rapp"),
}
WEIGHTS = {"ema": "average", "live": "live", "anchor": "anchor"}
VALUE = re.compile(r"(?P<metric>\w+\[[\w-]+\])\[(?P<weights>ema|live|anchor)\]")
Row = dict[str, str]


def collect(folder: Path, results: Path) -> bool:
    """Write the rows and the last grids of all runs in a folder to the results; whether there is any.

    Rows of runs that are not in the folder stay.
    """
    rows = _read(results)
    for run in sorted(path for path in folder.glob("*") if is_run(path)):
        new = _rows(run)
        if not new:
            continue
        rows = [row for row in rows if _run(row) != _run(new[0])] + new
        if grids := sorted(run.glob("samples/step_*.png"), key=lambda path: int(re.findall(r"\d+", path.stem)[0])):
            target = results / "sngan_cifar10"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(grids[-1], target / f"{'_'.join(_run(new[0]))}.png")
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        results.mkdir(parents=True, exist_ok=True)
        write_file(results / "sngan_cifar10.csv", text.getvalue())
    return bool(rows)


def report(results: Path) -> str:
    """Write the table of the rows, and a figure for each setting with more than one turn; return the table."""
    runs: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in _read(results):
        runs[_run(row)].append(row)
    if not runs:
        return f"{results / 'sngan_cifar10.csv'}: there are no rows yet"
    settings = list(dict.fromkeys(run[2:] for run in runs))
    text = "\n\n".join(_table(runs, setting) for setting in settings) + "\n"
    write_file(results / "sngan_cifar10.txt", text)
    for setting in settings:
        chosen = {run: rows for run, rows in runs.items() if run[2:] == setting}
        if len({row["turn"] for rows in chosen.values() for row in rows}) > 1:
            figure_to_png(_figure(chosen), results / f"sngan_cifar10_{'_'.join(setting)}.png")
    return text


def _figure(runs: dict[tuple[str, ...], list[Row]]) -> Figure:
    """The values over the gradients, a panel for each metric."""
    panels: dict[str, list[Curve]] = defaultdict(list)
    for run, rows in runs.items():
        title, colour = TITLES[run[0]]
        for metric, weights in dict.fromkeys((row["metric"], row["weights"]) for row in rows):
            points = [row for row in rows if (row["metric"], row["weights"]) == (metric, weights)]
            values = [float(row["value"]) for row in points]
            label = f"{title} {float(run[1]):g}, {WEIGHTS[weights]}"
            gradients = [int(row["gradients"]) for row in points]
            panels[metric].append(Curve(label, colour, gradients, values, [float("nan")] * len(values)))
    ways = {metric: "lower is better" if "distance" in metric else "higher is better" for metric in panels}
    return comparison(panels, "gradients of each player", verdicts=ways)


def _table(runs: dict[tuple[str, ...], list[Row]], setting: tuple[str, ...]) -> str:
    """The table of the runs that agree in all but the method and its learning rate."""
    chosen = {run: rows for run, rows in runs.items() if run[2:] == setting}
    common = min(max(int(row["turn"]) for row in rows) for rows in chosen.values())
    width, batch, seed, device = setting
    metrics = list(dict.fromkeys(row["metric"] for rows in chosen.values() for row in rows))
    lines = [
        f"widths {2 * int(width)} and {width}, batch {batch}, seed {seed}, {device}; "
        f"{next(iter(chosen.values()))[0]['samples']} samples; turn {common}, the last that all have finished",
        " | ".join(["method", "rate", "weights", "gradients", "kimg", "hours", *metrics, "lowest distance, at"]),
    ]
    for run, rows in chosen.items():
        for weights in dict.fromkeys(row["weights"] for row in rows):
            mine = [row for row in rows if row["weights"] == weights]
            at = {row["metric"]: row for row in mine if int(row["turn"]) == common}
            first = at[metrics[0]]
            best = min((row for row in mine if row["metric"] == metrics[0]), key=lambda row: float(row["value"]))
            values = [f"{float(at[metric]['value']):.3f}" for metric in metrics]
            lines.append(
                " | ".join(
                    [TITLES[run[0]][0], f"{float(run[1]):g}", WEIGHTS[weights], first["gradients"], first["kimg"]]
                    + [first["hours"], *values, f"{float(best['value']):.3f}, {best['gradients']}"]
                )
            )
    return "\n".join(lines)


def _rows(folder: Path) -> list[Row]:
    """What a run has measured so far."""
    config = yaml_files.read(folder / CONFIG)
    game, every = config["game"], config["evaluate"]["every"]["gradients"]
    about = (
        *(folder.name.partition("-")[0], game["generator"]["optimizer"]["lr"], game["discriminator"]["model"]["width"]),
        *(config["data"]["batch_size"], config["run"]["seed"], config["run"]["device"]),
    )
    run = dict(zip(RUN, map(str, about), strict=True))
    logged = read_metrics(folder)
    costs = {row["step"]: row for row in logged if "gradients/generator" in row}
    rows = []
    for row in logged:
        cost = costs.get(row["step"])
        if cost is None:
            continue
        for name, value in row.items():
            if (found := VALUE.fullmatch(name)) is not None:
                gradients = int(cost["gradients/generator"])
                rows.append(
                    run
                    | {"turn": str(gradients // every), "gradients": str(gradients), "kimg": f"{cost['kimg']:.0f}"}
                    | {"hours": f"{row['time'] / 3600:.2f}", "samples": str(config["evaluate"]["samples"])}
                    | {**found.groupdict(), "value": repr(value)}
                )
    return rows


def _run(row: Row) -> tuple[str, ...]:
    return tuple(row[column] for column in RUN)


def _read(results: Path) -> list[Row]:
    path = results / "sngan_cifar10.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
