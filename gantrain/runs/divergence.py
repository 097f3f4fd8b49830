"""The record that the training of a run diverged, at which step, and how; it ends a run as its budget does."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gantrain.errors import UserError
from gantrain.runs.records import read_record
from gantrain.utils.io import write_file

DIVERGED = "diverged.json"


@dataclass(frozen=True)
class Divergence:
    """Where and how the training of a run diverged.

    Attributes:
        step: the number of training steps taken.
        reason: what was found, in one line.
    """

    step: int
    reason: str


def record_divergence(folder: Path, divergence: Divergence) -> None:
    """Write down in the folder of a run that its training diverged.

    Raises:
        UserError: the record cannot be written.
    """
    write_file(folder / DIVERGED, json.dumps(asdict(divergence), indent=1).encode(), durable=True)


def read_divergence(folder: Path) -> Divergence | None:
    """What the folder of a run says about the divergence of its training; None if it did not diverge.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / DIVERGED
    try:
        found = read_record(path)
    except FileNotFoundError:
        return None
    if not isinstance(found, dict) or type(found.get("step")) is not int or not isinstance(found.get("reason"), str):
        raise UserError(f"{path}: is damaged; expected the step and the reason of a divergence. Move it away")
    return Divergence(found["step"], found["reason"])


def forget_divergence(folder: Path) -> None:
    """Delete the record, because the run goes on."""
    with suppress(FileNotFoundError):
        (folder / DIVERGED).unlink()
