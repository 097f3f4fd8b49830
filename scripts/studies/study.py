"""What the studies share: runs that go on where they were stopped, and a CSV file that holds what they measured.

The CSV file of a study has a row for each evaluation of each run, and all tables and pictures are made from it. A run
that has ended has rows in it and is not trained again, also where its folder is gone. So a study may be stopped at any
time, by Ctrl-C or by killing it, and the same command goes on, also in another clone that has the file.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
from timing import machine

from gantrain.cli import main as command_line
from gantrain.commands.comparison.metrics import EVALUATED
from gantrain.commands.sweep import Outcome, PlannedRun, plan, train
from gantrain.plotting.images import figure_to_png
from gantrain.runs.monitor import read_metrics
from gantrain.utils.io import write_file

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# Where the runs' folders lie; what is measured goes from there into the CSV file.
RUNS = Path("checkpoints/studies")
# Columns of every study beside those that say which run it is, and the values measured.
_RUN = ("outcome", "step", "gradients", "seconds")

Row = dict[str, str]


@dataclass(frozen=True)
class Trial:
    """A run of a study.

    Attributes:
        setting: what distinguishes it from the other runs but the seed, as columns of the CSV file, such as
            ``{"method": "rapp", "lr": "0.002"}``.
        seed: its seed.
        overrides: ``KEY=VALUE`` that make the study's config that of the run.
        config: the path of the config.
    """

    setting: Mapping[str, str]
    seed: int
    overrides: tuple[str, ...]
    config: str

    @property
    def name(self) -> str:
        return ",".join(f"{key}={value}" if key != "method" else value for key, value in self.setting.items())

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        return (*self.setting.items(), ("seed", str(self.seed)))


class Study:
    """The runs and the results of a study.

    Args:
        name: the name of the study, of the folder of its runs, and of its files in ``results``.
        settings: the names of the columns that distinguish the runs but for the seed.
        results: the folder of the CSV file.
        runs: the folder in which the folder of its runs lies.

    Attributes:
        rows: what was measured: a row for each evaluation of each run that has ended.
    """

    def __init__(self, name: str, settings: Sequence[str], results: Path = RESULTS, runs: Path = RUNS):
        self.name = name
        self.settings = tuple(settings)
        self.path = results / f"{name}.csv"
        self.folder = runs / name
        self.rows: list[Row] = []
        if self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as stream:
                self.rows = list(csv.DictReader(stream))

    def measure(self, trials: Iterable[Trial], workers: int = 1) -> None:
        """Train those of the runs that are not in the CSV file yet, ordered by their seeds, and add them to it.

        The exit of the process is that of the sweep where it was stopped or where a run failed for another reason than
        that it diverged; what was measured until then is in the file.
        """
        known = {self._key(row) for row in self.rows}
        waiting = [trial for trial in trials if trial.key not in known]
        planned: list[PlannedRun] = []
        trial_of: dict[str, Trial] = {}
        for seed, of_seed in itertools.groupby(sorted(waiting, key=lambda trial: trial.seed), lambda trial: trial.seed):
            trials_of_seed = list(of_seed)
            runs = plan(self.folder, {t.name: (t.config, t.overrides) for t in trials_of_seed}, [seed])
            trial_of |= {run.name: trial for run, trial in zip(runs, trials_of_seed, strict=True)}
            planned += runs
        if not planned:
            return
        code = train(
            planned,
            workers,
            lambda line: print(line, flush=True),
            command_line,
            ended=lambda run, outcome: self._record(trial_of[run.name], run.folder, outcome),
        )
        if code:
            sys.exit(code)

    def last(
        self, setting: Mapping[str, str], column: str, seeds: Sequence[int], before: int = 0
    ) -> dict[int, float | None]:
        """The last values of a column, by seed, of the runs of a setting that have ended; None for one that diverged.

        Args:
            setting: as in :class:`Trial`.
            column: the name of the value.
            seeds: the seeds of the runs that are looked at.
            before: how many measurements before the last one.
        """
        found: dict[int, list[float | None]] = {}
        for row in self.rows:
            if int(row["seed"]) in seeds and all(row[key] == value for key, value in setting.items()):
                values = found.setdefault(int(row["seed"]), [])
                values.append(float(row[column]) if row["outcome"] == "finished" else None)
        return {
            seed: None if None in values else values[-1 - before]
            for seed, values in found.items()
            if None in values or len(values) > before
        }

    def at(self, setting: Mapping[str, str], column: str, seeds: Sequence[int], step: int) -> dict[int, float | None]:
        """The value of a column at a step, by seed, of the runs of a setting that have it; None for one that diverged
        before."""
        found: dict[int, float | None] = {}
        for row in self.rows:
            value = row.get(column) if row["step"] == str(step) else ""
            if not value and row["outcome"] != "diverged":
                continue
            if int(row["seed"]) in seeds and all(row[key] == of_run for key, of_run in setting.items()):
                found.setdefault(int(row["seed"]), None)
                if value:
                    found[int(row["seed"])] = float(value)
        return found

    def publish(self, command: str, tables: str, picture: Figure) -> None:
        """Print the tables, and write them and the picture beside the CSV file.

        Args:
            command: the command that makes them.
            tables: the tables as text.
            picture: the picture.
        """
        seconds = {self._key(row): float(row["seconds"]) for row in self.rows}
        head = [
            f"$ {command}",
            f"{machine()}; {len(seconds)} runs, which took {sum(seconds.values()) / 3600:.1f} hours of their workers",
        ]
        text = "\n".join([*head, "", tables])
        print(text)
        write_file(self.path.with_suffix(".txt"), text)
        figure_to_png(picture, self.path.with_suffix(".png"))

    def _record(self, trial: Trial, folder: Path, outcome: Outcome) -> None:
        if outcome.state == "failed":
            return
        logged = read_metrics(folder)
        evaluated = [row for row in logged if any(map(is_measured, row))]
        shared = {**trial.setting, "seed": str(trial.seed), "seconds": f"{outcome.seconds:.1f}"}
        # The weights of a run are evaluated one after the other, each in a row of the log.
        for step, rows in itertools.groupby(evaluated, lambda row: int(row["step"])):
            values = {key: f"{value:.6g}" for row in rows for key, value in row.items() if is_measured(key)}
            cost = {"step": str(step), "gradients": str(_gradients(logged, step))}
            self.rows.append({**shared, "outcome": outcome.state, **cost, **values})
        if outcome.state == "diverged" or not evaluated:
            self.rows.append({**shared, "outcome": outcome.state})
        self._write()

    def _write(self) -> None:
        measured = dict.fromkeys(key for row in self.rows for key in row)
        columns = [*self.settings, "seed", *_RUN]
        columns += [key for key in measured if key not in columns]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_file(self.path, text.getvalue(), durable=True)

    def _key(self, row: Row) -> tuple[tuple[str, str], ...]:
        return (*((key, row[key]) for key in self.settings), ("seed", row["seed"]))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all studies have."""
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder of the results")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the folder of the runs")
    parser.add_argument("--tables", action="store_true", help="train nothing; make the tables anew")


def is_measured(name: str) -> bool:
    """Whether a logged value is one of those that say how good a run is, or what shape its game has."""
    return name.partition("[")[0] in EVALUATED or name.startswith("diagnose/")


def _gradients(logged: Sequence[Mapping[str, float]], step: int) -> int:
    """The gradients of the player that is evaluated most at a step; each step costs as many as the next."""
    row = next(row for row in reversed(logged) if "outer_steps" in row)
    return round(max(v for key, v in row.items() if key.startswith("gradients/")) * step / row["step"])
