"""The doctor's report: its checks one after the other, and their findings as lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import click

from gantrain.commands.doctor import machine, run
from gantrain.commands.doctor.findings import Finding, examine, refusals
from gantrain.config.loading import load
from gantrain.config.schema import Config
from gantrain.errors import UserError
from gantrain.utils.json_text import json_text

_COLOURS = {"ok": "green", "note": "yellow", "FAIL": "red"}


def examine_all(path: str | None, overrides: Sequence[str], seconds: float) -> list[Finding]:
    """Everything that is found about this machine, and about the run of a config.

    Args:
        path: the path of the config; None for the machine alone.
        overrides: arguments ``a.b.c=value``, which are merged over the file.
        seconds: how long a check may take.
    """
    found = [finding for name, check in machine.CHECKS.items() for finding in examine(name, check, seconds)]
    if path is None:
        return found
    loaded: list[Config] = []

    def config() -> list[Finding]:
        try:
            loaded.append(load(path, overrides))
        except UserError as error:
            return refusals(error, "config")
        return [Finding("ok", "config", f"{path}: every key is known, and every value has its type")]

    found += examine("config", config, seconds)
    # Where torch does not work, the reason has been said.
    broken = any(finding.verdict == "FAIL" and finding.subject in ("torch", "torchvision") for finding in found)
    for name, check in run.CHECKS.items() if loaded and not broken else ():
        found += examine(name, partial(check, loaded[0]), seconds)
    return found


def text(found: Sequence[Finding]) -> str:
    """The findings as lines, coloured by their verdict, and a last line with the sum of them."""
    width = max(len(finding.subject) for finding in found)
    lines = []
    for finding in found:
        verdict = click.style(f"{finding.verdict:<4}", fg=_COLOURS[finding.verdict])
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        lines.append(f"{verdict}  {finding.subject:<{width}}  {finding.text}{remedy}")
    failures = sum(finding.verdict == "FAIL" for finding in found)
    notes = sum(finding.verdict == "note" for finding in found)
    verdict = f"could not run: {failures} line{'s' if failures > 1 else ''} with FAIL" if failures else "could run"
    return "\n".join([*lines, f"{verdict}; {notes} note{'' if notes == 1 else 's'}"])


def as_json(found: Sequence[Finding]) -> str:
    """The findings as JSON."""
    return json_text([dataclasses.asdict(finding) for finding in found])
