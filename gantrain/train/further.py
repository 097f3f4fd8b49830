"""How a run goes on that was finished or stopped: the command that the user can paste."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gantrain.config.clock import Clock
from gantrain.config.sections import Run


def larger_budgets(run: Run, clock: Clock) -> dict[str, int | float]:
    """The budgets of a finished run by their keys, each twice as large as it is or as what is used of it.

    Args:
        run: the section ``run`` of the config.
        clock: what the run has used.
    """
    used = {"steps": clock.steps, "gradients": clock.gradients, "kimg": clock.images / 1000}
    budgets = {key: getattr(run, key) for key in used}
    return {key: _plain(2 * max(budget, used[key])) for key, budget in budgets.items() if budget is not None}


def how_to_go_on(budgets: dict[str, int | float], command: Sequence[str] | None, in_python: bool) -> str:
    """A line that says how a finished run is trained further.

    Args:
        budgets: the larger budgets.
        command: the words of the command that resumes the run, without the budgets that it names; None if a launcher
            started it, whose command is not known.
        in_python: whether a program has built the run.
    """
    if in_python:
        arguments = ", ".join(f"{key}={amount}" for key, amount in budgets.items())
        return f"to train it further, build it with gt.Run(…, {arguments}) and call fit(resume=True)"
    settings = [f"run.{key}={amount}" for key, amount in budgets.items()]
    if command is None:
        return f"to train it further, start it as before with --resume {' '.join(settings)}"
    kept = [word for word in command if word.partition("=")[0] not in {f"run.{key}" for key in budgets}]
    return f"to train it further: {shlex.join([*kept, *settings])}"


def how_to_resume(command: Sequence[str] | None, in_python: bool) -> str:
    """How a run goes on that was stopped, for the end of a line.

    Args:
        command: the words of the command that resumes the run; None if a launcher started it, whose command is not
            known.
        in_python: whether a program has built the run.
    """
    if in_python:
        return "go on with fit(resume=True)"
    return "go on with --resume" if command is None else f"to go on: {shlex.join(command)}"


def _plain(amount: float) -> int | float:
    return int(amount) if amount == int(amount) else amount
