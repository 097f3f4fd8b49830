"""What the log says about a run beside its rows: the command, the changes of a config, the hyper-parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from gantrain.config.chosen import chosen
from gantrain.config.loading import resolved
from gantrain.config.schema import Config
from gantrain.runs.hyper_parameters import CHANGES, Cell, hyper_parameters, is_setting, worded
from gantrain.utils.nested import flatten

# Stands for a key that is not there.
_ABSENT = object()
# The longest text of a cell in the column of changes.
_LONGEST = 300


@dataclass(frozen=True)
class Change:
    """A key in which a config differs from the one that it is based on.

    Attributes:
        key: the dotted key.
        before: its value in the other config, as text.
        after: its value in this config, as text.
    """

    key: str
    before: str
    after: str


@dataclass(frozen=True)
class Source:
    """Where the config of a run comes from.

    Attributes:
        command: the command that trains the run.
        base: the name of the config that this one is based on.
        below: the content of that config.
        content: the content of this config, before defaults are filled in.
    """

    command: str
    base: str
    below: Mapping[str, Any]
    content: Mapping[str, Any]

    @property
    def changes(self) -> list[Change]:
        """The keys in which the two configs differ, in the order in which they stand there."""
        before, after = flatten(self.below), flatten(self.content)
        # A part may be written as its bare name.
        before, after = _with_names_like(before, after), _with_names_like(after, before)
        keys = [key for key in {**before, **after} if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
        return [Change(key, *(worded(tree[key]) if key in tree else "" for tree in (before, after))) for key in keys]


@dataclass(frozen=True)
class About:
    """What the log says about a run.

    Args:
        hyper_parameters: the cells of the run in the table of hyper-parameters, by column.
        source: where the config comes from; None for a run that was built in Python.
    """

    hyper_parameters: Mapping[str, Cell] = field(default_factory=dict)
    source: Source | None = None

    @classmethod
    def config(cls, config: Config, source: Source | None = None) -> About:
        """What is to be said of a run from a config."""
        # Keys that went with a part that was replaced say nothing more.
        changes = [] if source is None else [change for change in source.changes if change.after]
        after = {change.key.removesuffix(".name"): change.after for change in changes if is_setting(change.key)}
        said = " ".join(f"{_short(key, after)}={value}" for key, value in after.items()) or "none"
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} …"
        return cls({CHANGES: said, **hyper_parameters(resolved(config), chosen(config))}, source)

    def markdown(self, config: Mapping[str, Any]) -> str:
        """The command, the changes, and the resolved config as Markdown."""
        parts = []
        if self.source is not None:
            parts.append(f"**Command**\n\n`` {self.source.command} ``")
            changes = self.source.changes
            rows = [f"| {_cell(c.key)} | {_cell(c.before)} | {_cell(c.after)} |" for c in changes]
            table = "\n".join([f"| key | in {_cell(self.source.base)} | in this run |", "|---|---|---|", *rows])
            unchanged = f"This run has the settings of {_cell(self.source.base)}."
            parts.append("**Changes**\n\n" + (table if changes else unchanged))
        parts.append(f"**Config**, with all defaults\n\n```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```")
        return "\n\n".join(parts)


def _short(key: str, keys: Collection[str]) -> str:
    """The shortest end of a dotted key by which it is told from other keys, since cells of the table are narrow."""
    parts = key.split(".")
    ends = (".".join(parts[first:]) for first in range(len(parts) - 1, -1, -1))
    return next(end for end in ends if end == key or not any(f".{k}".endswith(f".{end}") for k in keys if k != key))


def _with_names_like(tree: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves with ``outer.name`` in place of ``outer`` where the other tree writes it so."""
    return {f"{key}.name" if f"{key}.name" in other and isinstance(v, str) else key: v for key, v in tree.items()}


def _cell(text: str) -> str:
    """A text as code in a cell of a table; an empty one stays empty."""
    text = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{text}`" if text else ""
