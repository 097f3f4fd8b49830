"""How much of a run's budget is used up at one of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gantrain.config.sections import Run


def share_done(run: Run, batch_size: int, step: int, state: Mapping[str, Any]) -> float:
    """The share of a run's budget that is used up at a checkpoint: 1 or more when it is used up.

    Args:
        run: the section ``run`` of the config.
        batch_size: the number of samples in a batch.
        step: the step of the checkpoint.
        state: the state of the checkpoint; its tensors are not needed.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: the state is not that of a run.
    """
    field = state["field"]
    return run.used(step, max(field["evaluations"].values()), field["draws"] * batch_size / 1000)


def is_over(run: Run, batch_size: int, step: int, state: Mapping[str, Any]) -> bool:
    """Whether a run is finished at a checkpoint: its budget is used up, and nothing is left to do at its last step.

    Args:
        run, batch_size, step, state: as for :func:`share_done`, with its errors.
    """
    return share_done(run, batch_size, step, state) >= 1.0 and "undone" not in state
