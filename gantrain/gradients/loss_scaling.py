"""Gradients in float16, whose range is small: a loss is multiplied before it is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.games.base import Gradient, Objective
from gantrain.utils.tensors import copy_, snapshot

# Those of torch.amp.GradScaler: a power of two changes no bit of a gradient that stays within the range.
_INITIAL, _FACTOR, _INTERVAL = 2.0**16, 2.0, 2000


class NotFinite(ArithmeticError):
    """What is not finite, at any scale."""


class LossScale:
    """The factor of one player's loss.

    torch's GradScaler leaves out an optimizer step whose gradient overflows. Here every evaluation must give a
    gradient, for the next may be at a point that this one leads to; so an evaluation that overflows is made again with
    half the scale, and nobody outside learns of it. After 2000 evaluations without overflow the scale is doubled.

    Attributes:
        scale: a power of two, at least 1.
        clean: evaluations without overflow since the scale last changed.
    """

    def __init__(self, scale: float = _INITIAL):
        self.scale = scale
        self.clean = 0

    def evaluated(
        self,
        evaluate: Callable[[float], tuple[Objective, list[Gradient]]],
        buffers: Sequence[Tensor],
        processes: Processes,
    ) -> tuple[Objective, list[Gradient]]:
        """The objective and its gradients, which are finite.

        The processes in force must all take part, as the passes of their networks may wait for each other.

        Args:
            evaluate: from the scale to the objective and gradients of the objective times the scale; is asked again
                after an overflow.
            buffers: what the passes may move: put back before another one.
            processes: that share the evaluation.

        Raises:
            NotFinite: the loss, or its gradient at a scale of 1.
        """
        before = snapshot(buffers)
        while True:
            objective, gradients = evaluate(self.scale)
            found = [g for gradient in gradients for g in gradient if g is not None]
            torch._foreach_mul_(found, 1 / self.scale)
            outcome = int(processes.all_reduce_min(_outcome(objective.loss.detach(), found)))
            if outcome == 1:
                self._grow()
                return objective, gradients
            if outcome == -1:
                raise NotFinite("the loss")
            if self.scale <= 1:
                raise NotFinite("the gradient, with a loss scale of 1,")
            copy_(buffers, before)
            self.scale, self.clean = max(self.scale / _FACTOR, 1.0), 0

    def settle(self, processes: Processes, device: torch.device) -> None:
        """Take the lowest of the processes' scales, which may differ between those with different roles."""
        lowest = processes.all_reduce_min(torch.tensor([self.scale, self.clean], dtype=torch.float64, device=device))
        self.scale, self.clean = float(lowest[0]), int(lowest[1])

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "clean": self.clean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.clean = state["scale"], state["clean"]

    def _grow(self) -> None:
        self.clean += 1
        if self.clean == _INTERVAL:
            self.scale, self.clean = self.scale * _FACTOR, 0


def _outcome(loss: Tensor, gradients: list[Tensor]) -> Tensor:
    """A 0-d tensor: 1 where all is finite, 0 where the gradients are not, -1 where the loss is not."""
    sizes = torch._foreach_norm(gradients, float("inf")) if gradients else [torch.zeros_like(loss)]
    finite = torch.stack(sizes).isfinite().all().to(torch.float32)
    return torch.where(loss.isfinite(), finite, -1.0)
