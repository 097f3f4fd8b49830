"""The runs of a report, and their groups. What is damaged in a run is said in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gantrain.commands.comparison.groups import Group, Member, data_digest, grouped
from gantrain.commands.comparison.series import NoSuchCost, Series, read_series
from gantrain.config import yaml_files
from gantrain.config.loading import resolved, validate
from gantrain.config.sections import Run
from gantrain.config.shortened import without_defaults
from gantrain.errors import UserError
from gantrain.runs.data_record import DataForm, recorded_form
from gantrain.runs.folder import BUILT_IN_PYTHON, CONFIG, comparable_config
from gantrain.runs.last_rows import METRICS
from gantrain.runs.summary import Summary, summarise
from gantrain.runs.trust import require_trusted


@dataclass(frozen=True)
class ReportedRun:
    """A run as its folder describes it.

    Attributes:
        summary: how far the run is, and how good.
        series: what it has logged; empty if that cannot be read.
        content: the config of the run with all defaults; of a run that was built in Python, the description of its
            parts.
        from_config: whether the run was built from a config, and not in Python.
        samples: the number of training samples; None if it is not on record.
        form: the form of the training data; None if it is not on record.
        note: what is wrong with the log, in one line; else empty.
        own_code: whether code outside gantrain that the config names may be imported.
    """

    summary: Summary
    series: Series
    content: Mapping[str, Any]
    from_config: bool
    samples: int | None
    form: DataForm | None
    note: str = ""
    own_code: bool = False

    @cached_property
    def short(self) -> Mapping[str, Any]:
        """The config without the keys that have their defaults, or all of it where these are not known."""
        try:
            where = str(self.folder / CONFIG)
            return without_defaults(self.content, where, self.own_code) if self.from_config else self.content
        except UserError:
            return self.content

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.summary.folder


@dataclass(frozen=True)
class ReportedGroup:
    """Runs that differ only in the seed, and what their folders say."""

    group: Group
    runs: tuple[ReportedRun, ...]

    @property
    def label(self) -> str:
        """The name of the group in tables and pictures."""
        return self.group.label

    @property
    def pictured(self) -> ReportedRun:
        """The run that is pictured: the first with a checkpoint that did not diverge, or else the first."""
        states = ("finished", "stopped", "running", "running?")
        return next((run for run in self.runs if run.summary.state in states), self.runs[0])


@dataclass(frozen=True)
class Reading:
    """The runs of a report.

    Attributes:
        groups: the runs in groups, at least one.
        at: the kind of cost over which curves are drawn: "gradients", "kimg" or "step".
        left_out: a line for each run that could not be read.
    """

    groups: tuple[ReportedGroup, ...]
    at: str
    left_out: tuple[str, ...]

    @property
    def runs(self) -> list[ReportedRun]:
        """All runs."""
        return [run for group in self.groups for run in group.runs]


def read_runs(folders: Sequence[Path], at: str | None = None, trust: bool = False) -> Reading:
    """Read runs, and put those that differ only in the seed into groups, as ``gantrain compare`` does.

    Args:
        folders: the folders of runs, at least one.
        at: the kind of cost over which curves are drawn: "gradients", "kimg" or "step". None takes training steps for a
            single group, and gradient evaluations for several.
        trust: whether code outside gantrain is imported though the run was not trained here.

    Raises:
        UserError: no run can be read, two runs are the same, or a run has no cost of this kind.
    """
    found = _read(folders, at or "step", trust)
    return _read(folders, "gradients", trust) if at is None and len(found.groups) > 1 else found


def one_line(error: object, folder: Path) -> str:
    """What an error or a notice says, with the names of files as they are in a folder, and without the folder's own."""
    return " ".join(str(error).removeprefix(f"{folder}: ").replace(f"{folder}/", "").split())


def _read(folders: Sequence[Path], at: str, trust: bool) -> Reading:
    members, runs, failures = [], {}, []
    for folder in folders:
        try:
            member, run = _run(folder, at, trust)
        except NoSuchCost:
            raise
        except UserError as error:
            failures.append(one_line(error, folder.parent))
            continue
        members.append(member)
        runs[folder] = run
    if not members:
        raise UserError(failures[0])
    groups = [ReportedGroup(group, tuple(runs[series.folder] for series in group.runs)) for group in grouped(members)]
    return Reading(tuple(groups), at, tuple(failures))


def _run(folder: Path, at: str, trust: bool) -> tuple[Member, ReportedRun]:
    content: dict[str, Any] = yaml_files.read(folder / CONFIG)
    from_config = yaml_files.first_line(folder / CONFIG) != BUILT_IN_PYTHON
    config = comparable_config(folder) if from_config else _described(content, f"{folder / CONFIG}: run")
    seed = config["run"]["seed"]
    series, note = Series(folder, seed, 0.0, {}), ""
    try:
        series = read_series(folder, seed, at)
    except NoSuchCost:
        raise
    except UserError as error:
        log = folder / METRICS
        empty = not log.exists() or log.is_file() and not log.stat().st_size
        note = "It has no log, so that there are no curves" if empty else one_line(error, folder)
    digest = data_digest(folder)
    samples = None if digest is None else digest.samples
    own_code = _is_trusted(folder / CONFIG, content, trust)
    run = ReportedRun(summarise(folder), series, content, from_config, samples, recorded_form(folder), note, own_code)
    return Member(series, config, digest), run


def _is_trusted(file: Path, content: dict[str, Any], trust: bool) -> bool:
    try:
        require_trusted(file, content, trust)
    except UserError:
        return False
    return True


def _described(content: dict[str, Any], where: str) -> dict[str, Any]:
    """The description of a run that was built in Python, as configs of runs are compared."""
    return {**content, "run": resolved(validate(Run, content.get("run"), where))}
