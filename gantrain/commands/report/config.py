"""The configs of the runs of a report: what they have in common, and what sets each group apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gantrain.commands.comparison.tables import shown
from gantrain.commands.report.reading import Reading, ReportedRun
from gantrain.config import yaml_files
from gantrain.utils.nested import flatten

# Keys that say which run of a group it is, or where it lies.
_OF_A_RUN = ("run.name", "run.seed", "run.folder")


@dataclass(frozen=True)
class Configs:
    """The configs of a report.

    Attributes:
        about: what the config of a single group is.
        texts: for each group its name, the config without defaults as YAML, and the same with all defaults.
        keys: the keys in whose values the groups differ.
        rows: for each group its name and its values of ``keys``; an empty text stands for the default.
    """

    about: str
    texts: Sequence[tuple[str, str, str]]
    keys: Sequence[str]
    rows: Sequence[tuple[str, list[str]]]


def configs(reading: Reading) -> Configs:
    """The configs of the groups."""
    flat = [{k: v for k, v in flatten(group.runs[0].short).items() if k not in _OF_A_RUN} for group in reading.groups]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    apart = [key for key in keys if any(one.get(key) != flat[0].get(key) for one in flat)]
    rows = [
        (group.label, [shown(one[key]) if key in one else "" for key in apart])
        for group, one in zip(reading.groups, flat, strict=True)
    ]
    texts = [(group.label, _text(group.runs[0].short), _text(group.runs[0].content)) for group in reading.groups]
    return Configs(_about(reading.groups[0].runs[0]), texts, apart, rows)


def _about(run: ReportedRun) -> str:
    if not run.from_config:
        return "What the trainer was given in Python."
    if run.short == run.content:
        return "The whole config. The defaults of code outside gantrain are not known."
    return "The keys that differ from their defaults. A file with them trains the run again."


def _text(content: Mapping[str, Any]) -> str:
    """A config as YAML, without the folder, which is that of the run."""
    run = content.get("run")
    kept = {key: value for key, value in run.items() if key != "folder"} if isinstance(run, Mapping) else run
    return yaml_files.text({**content, "run": kept})
