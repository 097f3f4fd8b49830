"""Whether a learning-rate schedule holds to the end of a run, found out before the run begins."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from gantrain.errors import UserError
from gantrain.utils.optimizer_groups import options_kept

# Steps that are tried one by one, which take a third of a second.
_TRIED = 50_000


def require_schedule(scheduler: LRScheduler, steps: int, key: str) -> None:
    """Refuse a scheduler that fails before the run ends, or gives learning rates that are none.

    The scheduler takes the steps that are left of the run, and is then set back. Of many it takes the first 50,000;
    beyond them only torch's schedulers that have an end are known to fail there.

    Args:
        scheduler: the scheduler.
        steps: the number of training steps of the whole run.
        key: where the scheduler stands in the config, for messages.

    Raises:
        UserError: the scheduler fails; the message says at which step.
    """
    taken = max(scheduler.last_epoch, 0)
    with _set_back(scheduler):
        for step in range(taken + 1, min(steps, taken + _TRIED) + 1):
            take_step(scheduler, step, key, f" of the run's {steps}")
    end = _end(scheduler, steps)
    if end < steps > taken + _TRIED:
        raise UserError(
            f"{key}: ends after {end} steps (total_steps), and the run takes {steps}; make it as long as the run"
        )


def take_step(scheduler: LRScheduler, step: int, key: str, of: str = "") -> None:
    """Let the scheduler step.

    Args:
        scheduler: the scheduler.
        step: the number of its step, from 1.
        key: where the scheduler stands in the config, for messages.
        of: how many steps there are, for messages.

    Raises:
        UserError: the scheduler raises an error, or a learning rate is negative or not finite.
    """
    name = type(scheduler).__name__
    try:
        scheduler.step()
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{key}: {name} fails at step {step}{of} ({what}); change its settings") from error
    for group in scheduler.optimizer.param_groups:
        if not 0 <= float(group["lr"]) < math.inf:
            raise UserError(f"{key}: {name} gives the learning rate {float(group['lr']):g} at step {step}{of}")


def _end(scheduler: Any, steps: int) -> int:
    """The number of steps, up to ``steps``, after which the scheduler or one inside it is at its ``total_steps``."""
    inner = getattr(scheduler, "_schedulers", ())
    starts = [0, *getattr(scheduler, "_milestones", [0] * (len(inner) - 1))] if inner else []
    stops = [*starts[1:], steps] if hasattr(scheduler, "_milestones") else [steps] * len(inner)
    ends = [getattr(scheduler, "total_steps", steps)]
    for part, start, stop in zip(inner, starts, stops, strict=True):
        taken = min(stop, steps) - start
        if taken > 0 and (end := _end(part, taken)) < taken:
            ends.append(start + end)
    return min(*ends, steps)


@contextmanager
def _set_back(scheduler: LRScheduler) -> Iterator[None]:
    """At the end of the block the scheduler and the groups of its optimizer are as they were."""
    state = copy.deepcopy(scheduler.state_dict())
    with options_kept(scheduler.optimizer):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that no optimizer has stepped in between
                yield
        finally:
            scheduler.load_state_dict(state)
