"""LeCam's penalty, which ties the discriminator's logits to those of the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import relu

from gantrain.data.step_means import StepMeans
from gantrain.games.penalties.base import Penalty, Score, Scored

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, NonNegativeInt, PositiveFloat, PositiveInt


class LeCam(Penalty):
    """``weight (E relu(D(x) - a_fake)^2 + E relu(a_real - D(G(z)))^2)``: logits stay close to those of the past.

    ``a_real`` and ``a_fake`` are running averages of the mean logits of real and fake samples, over all processes. Once
    in a training step, at its first evaluation, ``a <- decay a + (1 - decay) E D``, and the new averages are used. In
    the first ``start`` steps, and in the very first, the averages are the means of the step alone; the penalty is 0 in
    the first ``start`` steps.

    With ``data.accumulation`` the logits of a whole batch are known after its last micro-batch, so that the first
    evaluation of a step uses the averages of the step before; where there are none yet, the penalty is 0.
    Source: Tseng et al., Regularizing generative adversarial networks under limited data, CVPR 2021, eqs. 4-5.

    Args:
        weight: the weight of the penalty, the paper's lambda.
        decay: the share of the averages that is kept in a step.
        start: the number of training steps without the penalty.
        every: the number of training steps from one application to the next; the averages then move at these steps
            alone.
    """

    twice = False

    def __init__(
        self,
        weight: PositiveFloat = 0.3,
        decay: Fraction = 0.99,
        start: NonNegativeInt = 1000,
        every: PositiveInt = 1,
    ):
        super().__init__(weight, every)
        self.decay = decay
        self.start = start
        self._averages = torch.zeros(2)
        self._moved = False
        self._means = StepMeans()

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        averages, known = self._averages, self._moved
        means = self._means(batch, real.logits, fake.logits)
        if means is not None:
            kept = batch.step >= self.start and self._moved
            self._averages = torch.lerp(means, self._averages.to(means.device), self.decay) if kept else means
            self._moved = True
            if batch.part[1] == 1:  # of several micro-batches each sees the same averages
                averages, known = self._averages, True
        if not known or batch.step is not None and batch.step < self.start:
            return real.logits.sum() * 0.0
        of_real, of_fake = averages.to(real.logits.device)
        return relu(real.logits - of_fake).square().mean() + relu(of_real - fake.logits).square().mean()

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self._averages, "moved": self._moved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._averages, self._moved = state["averages"], state["moved"]
        self._means.forget()

    def scalars(self) -> dict[str, Tensor]:
        return {"real": self._averages[0], "fake": self._averages[1]}
