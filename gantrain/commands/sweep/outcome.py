"""How runs of a sweep end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gantrain.commands.sweep.planning import PlannedRun
from gantrain.errors import UserError
from gantrain.runs.budget import is_over
from gantrain.runs.divergence import read_divergence
from gantrain.runs.folder import is_run


@dataclass(frozen=True)
class Outcome:
    """How a run of a sweep ended.

    Attributes:
        state: ``finished``, if its budget is used up; ``diverged``, if its training ended before because it diverged,
            as its folder says; or ``failed``.
        reason: why it diverged or failed, in one line; else empty.
        seconds: the seconds that the run took of its worker's time; 0 if it had ended before.
    """

    state: Literal["finished", "diverged", "failed"]
    reason: str = ""
    seconds: float = 0.0


def outcome_of(run: PlannedRun) -> Outcome | None:
    """How the run ended, by what its folder says; None if it is not at its end."""
    if not is_run(run.folder):
        return None
    try:
        found = read_divergence(run.folder)
    except UserError:
        found = None  # it is written again if the run diverges
    if found is not None:
        return Outcome("diverged", found.reason)
    return Outcome("finished") if is_finished(run) else None


def is_finished(run: PlannedRun) -> bool:
    """Whether the budget of the run is used up at its newest checkpoint, and nothing is left to do there."""
    if not is_run(run.folder):
        return False
    from gantrain.runs import checkpoint

    try:
        newest = checkpoint.newest(run.folder)
        if newest is None:
            return False
        step, state = checkpoint.load(newest)
        return is_over(run.config.run, run.config.data.batch_size, step, state)
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        # The run itself says what is wrong with its checkpoint, when it is resumed.
        return False
