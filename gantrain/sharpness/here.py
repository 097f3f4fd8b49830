"""What a gradient oracle may know of the point where it is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.game import Objective
from gantrain.loss_scale import NotFinite
from gantrain.params import kept
from gantrain.sharpness.oracle import Gradient
from gantrain.streams import generator

if TYPE_CHECKING:
    from gantrain.field import Anchor, Field, Learner


class Here:
    """What an oracle may know: one player's parameters at the current joint point, and its gradients there.

    Attributes:
        oracle: who asks.
        parameters: the player's parameters; an oracle that moves them puts them back.
        optimizer: the player's optimizer.
        origin: where the optimizer will step from (the anchor), or None for the current point.
        observing: whether what is observed here will be logged.
        divided: whether the processes have roles, one for each part of the oracle's evaluation.
    """

    def __init__(self, field: Field, learner: Learner, draw: int, anchor: Anchor | None, observing: bool):
        self._field = field
        self._learner = learner
        self._draw = draw
        self.observing = observing
        self.oracle = learner.oracle
        self.parameters = learner.parameters
        self.optimizer = learner.optimizer
        self.origin = None if anchor is None else anchor[learner.name]
        self.divided = learner.name in field.divided

    def role(self) -> AbstractContextManager:
        """The processes that work together on a part of the evaluation in force."""
        return self._field.processes.within(self.oracle.parts if self.divided else 1)

    @property
    def micro_batch(self) -> int:
        """The number of the part of this process' share of the batch that is at work."""
        return self._field.micro_batches.current[0]

    def part(self, part: int) -> list[Gradient]:
        """One part of the oracle's evaluation, averaged over the micro-batches, to be averaged over all processes.

        Where they have roles, those with this one multiply what they find by the number of roles and the others add
        zeros: the mean over all is then the mean over those with this role.
        """
        if not self.divided:
            return self._accumulated(part)
        roles, expected = self.oracle.parts, self.oracle.expected(part)
        if self._field.processes.role(roles) != part:
            self._field.evaluations[self._learner.name] += 1
            return [[None if e is None else torch.zeros_like(e) for e in gradient] for gradient in expected]
        with self.role():
            found = self._accumulated(part)
        return [self._scaled(gradient, e, roles) for gradient, e in zip(found, expected, strict=True)]

    def _accumulated(self, part: int) -> list[Gradient]:
        return self._field.micro_batches.mean(lambda: self.oracle.evaluate(self, part))

    def _scaled(self, gradient: Gradient, expected: Gradient, scale: int) -> Gradient:
        if any(e is None and g is not None for g, e in zip(gradient, expected, strict=True)):
            raise UserError(
                f"player {self._learner.name}: a parameter that had no gradient at first has one now; processes with "
                "different roles cannot tell each other so: use sharpness.parallel: off"
            )
        return [
            None if e is None else torch.zeros_like(e) if g is None else g * scale
            for g, e in zip(gradient, expected, strict=True)
        ]

    def gradient(
        self,
        *targets: Callable[[Objective], Tensor],
        auxiliary: bool = False,
        ahead: int = 0,
        counted: bool = True,
    ) -> list[Any]:
        """Gradients of the player's objective on this process' micro-batch with respect to the player's parameters.

        Args:
            targets: functions of the objective to differentiate; the loss by default. With several, one forward
                pass serves them all and a list of gradients is returned.
            auxiliary: leave all buffers as they were.
            ahead: how many draws ahead of the current one the batch is taken.
            counted: whether this is one of the method's gradient evaluations; what is computed for the log alone is
                not.

        Returns:
            A list with a tensor (or None where the target does not depend on it) for each parameter, or a list of
            such lists.

        Raises:
            UserError: in float16, the loss or its gradient is not finite, or the device cannot compute it.
        """
        field, name = self._field, self._learner.name
        evaluate = partial(self._evaluate, self._draw + ahead, targets)
        with kept(field.buffers) if auxiliary else nullcontext():
            objective, gradients = self._in_range(evaluate) if field.loss_scales else evaluate()
        # The micro-batches together are one evaluation.
        field.evaluations[name] += counted and self.micro_batch == 0
        if not auxiliary:
            self.observe("loss", objective.loss)
            for name, score in objective.scores.items():
                self.observe(f"score/{name}", score)
        return gradients if len(targets) > 1 else gradients[0]

    def _evaluate(
        self, draw: int, targets: Sequence[Callable[[Objective], Tensor]], scale: float = 1.0
    ) -> tuple[Objective, list[Gradient]]:
        """The objective, and the gradients of its targets times the scale."""
        field, parameters = self._field, self.parameters
        batch = field.batch(draw)
        if field.reseed is not None:
            field.reseed(draw)
        with field.autocast():
            objective = field.game.objective(self._learner.name, batch)
        wanted = [target(objective) for target in targets] or [objective.loss]
        if scale != 1.0:
            wanted = [value * scale for value in wanted]
        last = wanted[-1]
        return objective, [_differentiate(value, parameters, retain_graph=value is not last) for value in wanted]

    def _in_range(self, evaluate: Callable[[float], Any]) -> tuple[Objective, list[Gradient]]:
        """The same in float16, at a scale at which the gradients are finite."""
        field, name = self._field, self._learner.name
        try:
            return field.loss_scales[name].evaluated(evaluate, field.buffers, field.processes)
        except NotFinite as error:
            raise UserError(
                f"step {field.step}, player {name}: {error} is not finite in fp16; the training diverged. Lower the "
                "learning rate, or use run.precision: bf16"
            ) from None
        except RuntimeError as error:
            # Of operations that a device lacks there is no class.
            if "Half" not in str(error):
                raise
            raise UserError(
                f"player {name}: run.precision: fp16: {str(error).splitlines()[0]}; use bf16 or fp32"
            ) from error

    def averaged(self, evaluate: Callable[[], list[Gradient]]) -> list[Gradient]:
        """The gradients that ``evaluate`` finds, averaged over the micro-batches and all processes.

        They take a collective of their own, in which all processes must take part: it belongs into
        :meth:`Oracle.start`.
        """
        return self._field.averaged([self._field.micro_batches.mean(evaluate)])[0]

    def observe(self, name: str, value: Tensor) -> None:
        """Record the mean of ``value`` under ``name`` for the log, if this evaluation is observed."""
        if self.observing:
            observed = self._field.observed[self._learner.name]
            observed[name] = self._field.micro_batches.included(observed.get(name), value.detach().mean())

    def require_finite(self, what: str, value: Tensor) -> None:
        """Refuse a 0-d tensor that is not finite; see :meth:`Field.require_finite`."""
        self._field.require_finite(self._learner.name, what, value)

    def random_direction(self) -> Gradient:
        """Standard normal numbers in the shape of the parameters: a function of the seed, the player and the draw."""
        stream = f"direction/{self._learner.name}"
        source = generator(self._field.seed, stream, self._draw)
        return [torch.randn(p.shape, generator=source, dtype=p.dtype).to(p.device) for p in self.parameters]


def _differentiate(value: Tensor, parameters: Sequence[Tensor], retain_graph: bool) -> Gradient:
    """Gradients by accumulation into ``.grad``, which gives each the memory layout of its parameter: fused
    optimizers rely on that, and ``torch.autograd.grad`` does not."""
    for p in parameters:
        p.grad = None
    torch.autograd.backward(value, inputs=parameters, retain_graph=retain_graph)
    return [p.grad for p in parameters]
