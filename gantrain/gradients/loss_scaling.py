"""Loss scaling: float16 has a small range, so a loss is multiplied by a scale before it is differentiated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gantrain.distributed.processes import Processes
from gantrain.errors import Diverged
from gantrain.games.base import Gradient, Objective
from gantrain.utils.shards import local
from gantrain.utils.tensors import copy_, snapshot

# The values of torch.amp.GradScaler. A power of two changes no bit of a gradient that stays within the range.
_INITIAL, _FACTOR, _INTERVAL = 2.0**16, 2.0, 2000

# By player: the objective, and the gradients of its targets.
Evaluated = dict[str, tuple[Objective, list[Gradient]]]


class NotFinite(ArithmeticError):
    """The loss or its gradient is not finite at any scale.

    Args:
        player: the player whose loss it is.
        what: which of the two is not finite.
    """

    def __init__(self, player: str, what: str):
        super().__init__(what)
        self.player = player


class LossScale:
    """The factor of one player's loss.

    torch's GradScaler leaves out an optimizer step whose gradient overflows. An outer loop cannot leave out a step: it
    needs each gradient to reach the point of the next evaluation. An evaluation that overflows is therefore repeated
    with half the scale, until the gradient is finite. After 2000 evaluations without overflow the scale is doubled.

    Attributes:
        scale: the current scale, a power of two of at least 1.
        clean: the number of evaluations without overflow since the scale last changed.
        lost: the error of an evaluation that is finite at no scale, in a process whose role alone has found this.
    """

    def __init__(self, scale: float = _INITIAL):
        self.scale = scale
        self.clean = 0
        self.lost: Diverged | None = None

    def settle(self, processes: Processes) -> None:
        """Take the lowest scale of all processes. Processes with different roles may have different scales.

        The scales are numbers of the program, so that they are exchanged on the CPU and no one waits for a GPU.

        Raises:
            Diverged: an evaluation is finite at no scale; all processes raise this together.
        """
        finite, lost, self.lost = self.lost is None, self.lost, None
        lowest = processes.all_reduce_min(torch.tensor([self.scale, self.clean, finite], dtype=torch.float64))
        if not lowest[2]:
            with processes.raise_on_all():
                if lost is not None:
                    raise lost
        self.scale, self.clean = float(lowest[0]), int(lowest[1])

    def state_dict(self) -> dict[str, Any]:
        return {"scale": self.scale, "clean": self.clean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scale, self.clean = state["scale"], state["clean"]

    def shrink(self) -> None:
        """Take half the scale, after an overflow."""
        self.scale, self.clean = max(self.scale / _FACTOR, 1.0), 0

    def grow(self) -> None:
        """Count an evaluation without overflow, and take twice the scale after many of them."""
        self.clean += 1
        if self.clean == _INTERVAL:
            self.scale, self.clean = self.scale * _FACTOR, 0


def evaluate_in_range(
    scales: Mapping[str, LossScale],
    evaluate: Callable[[Mapping[str, float]], Evaluated],
    buffers: Sequence[Tensor],
    processes: Processes,
) -> Evaluated:
    """Players' objectives and their gradients, at scales at which the gradients are finite.

    All processes in ``processes`` must call this together: after an overflow in one of them all repeat the evaluation.

    Args:
        scales: the scale of each player that is evaluated, by player.
        evaluate: a function from the scales to the objectives and to gradients that are multiplied by the scales. It is
            called again after an overflow.
        buffers: the buffers that an evaluation may move. They are restored before the evaluation is repeated.
        processes: the processes that share the evaluation.

    Raises:
        NotFinite: a loss is not finite, or its gradient is not finite at a scale of 1.
    """
    before = snapshot(buffers)
    while True:
        found = evaluate({name: scale.scale for name, scale in scales.items()})
        checks = []
        for name, (objective, gradients) in found.items():
            flat = local([g for gradient in gradients for g in gradient if g is not None])
            torch._foreach_mul_(flat, 1 / scales[name].scale)
            checks.append(_outcome(objective.loss.detach(), flat))
        outcomes = dict(zip(found, processes.all_reduce_min(torch.stack(checks)).tolist(), strict=True))
        if all(outcome == 1 for outcome in outcomes.values()):
            for scale in scales.values():
                scale.grow()
            return found
        for name, outcome in outcomes.items():
            if outcome == -1:
                raise NotFinite(name, "the loss")
            if outcome == 0:
                if scales[name].scale <= 1:
                    raise NotFinite(name, "the gradient, with a loss scale of 1,")
                scales[name].shrink()
        copy_(buffers, before)


def _outcome(loss: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """A 0-d tensor: 1 if all is finite, 0 if the gradients are not finite, -1 if the loss is not finite."""
    held = [g for g in gradients if g.numel()]  # a process may have no row of a tensor that is sharded
    sizes = torch._foreach_norm(held, float("inf")) if held else [torch.zeros_like(loss)]
    finite = torch.stack(sizes).isfinite().all().to(torch.float32)
    return torch.where(loss.isfinite(), finite, -1.0)
