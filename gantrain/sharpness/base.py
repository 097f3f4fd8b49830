"""The interface of gradient oracles, and the plain gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from gantrain.games.base import Gradient, Player

if TYPE_CHECKING:
    from gantrain.gradients.context import GradientContext


class Oracle(ABC):
    """A gradient oracle: it computes the gradient of one player at the current point.

    An evaluation has two stages. First :meth:`evaluate` differentiates on a micro-batch (this process' share of the
    batch, or a part of the share), and the gradients that it returns are averaged over the micro-batches and the
    processes in one collective. Then :meth:`combine` turns the averages into the gradient for the optimizer. An oracle
    leaves parameters and optimizer as they were, also if an exception passes through. The oracle's own state changes in
    :meth:`combine`; an oracle may give it up during an evaluation to save memory, and begins anew after an exception.

    An oracle of your own defines :meth:`evaluate`; all else may be left out. A config names it with
    ``game.PLAYER.sharpness: {target: "my_oracles:Mine", …}``, and the arguments of its constructor are its keys. State
    that later steps depend on belongs in :meth:`state_dict`, so that a run resumes.

    Attributes:
        plain: whether the gradient is that of the loss at the current point; players whose oracles all are plain may
            share a pass. It is not inherited: a subclass with another gradient need not say so.
        data_dependent: whether the number of gradient evaluations depends on their values, so that the cost of a step
            is not known before it.
        parts: the number of parts of an evaluation, which do not wait for each other. Each part is one gradient
            evaluation, and only the last part may move buffers.
        parallel: whether the processes divide into roles, one for each part: "on", "off", or "auto" for on if the
            number of processes is a multiple of ``parts``. The processes of one role share the whole batch.
        local_ascent: whether each process climbs its own gradient. A run whose parameters are divided among processes
            has the mean of all gradients only, and refuses it.
        period: the number of training steps after which moves cost the same numbers of gradients again.
    """

    plain: bool = False
    data_dependent: bool = False
    parts: int = 1
    parallel: str = "auto"
    local_ascent: bool = False
    period: int = 1

    def require(self, player: Player, optimizer: Optimizer) -> None:  # noqa: B027 - most oracles take any
        """Refuse a player or an optimizer that the oracle does not fit. This is called once, before the first step.

        Raises:
            UserError: the message says what does not fit.
        """

    def start(self, context: GradientContext) -> None:  # noqa: B027 - most oracles need nothing
        """Prepare an evaluation, before its first part and micro-batch. All processes call this, in all roles."""

    @abstractmethod
    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        """The gradients of one part, on one micro-batch; they are then averaged over micro-batches and processes.

        Args:
            context: the player, the current point and the batch: ``context.gradient()`` is the gradient of the player's
                loss at the current point, ``context.parameters`` are the parameters.
            part: the number of the part, 0 … parts - 1.

        Returns:
            Gradients, each with one entry for each of ``context.parameters``: a tensor, or None for zero.
        """

    def expected(self, part: int) -> list[Gradient]:
        """Gradients in the layout of those that :meth:`evaluate` returns for a part.

        Processes with another role, which do not evaluate the part, take the layout from here. An oracle with several
        parts must define this method; it is called after :meth:`start`.
        """
        raise TypeError(f"{type(self).__name__} has {self.parts} parts and must define expected(part)")

    def combine(self, gradients: list[Gradient]) -> Gradient:
        """The gradient for the optimizer; by default the first of ``gradients``.

        Args:
            gradients: the averaged gradients of all parts, in the order of the parts.
        """
        return gradients[0]

    def state_dict(self) -> dict[str, Any]:
        """The state on which later evaluations depend: tensors, numbers and texts, in lists and dicts.

        It is the same on all processes.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 - most oracles keep nothing
        """Take back what :meth:`state_dict` returned."""

    def state_form(self, parameters: Sequence[Tensor]) -> dict[str, Any] | None:
        """A tree like each that :meth:`state_dict` may return, by which a checkpoint is checked before it is loaded.

        :class:`~gantrain.utils.nested.Maybe` stands for what may be None; None stands for anything. By default a state
        may be anything, unless the oracle keeps none.

        Args:
            parameters: the parameters of the player.
        """
        return {} if type(self).state_dict is Oracle.state_dict else None


class Plain(Oracle):
    """The gradient of the player's loss."""

    plain = True

    def evaluate(self, context: GradientContext, part: int) -> list[Gradient]:
        return [context.gradient()]
