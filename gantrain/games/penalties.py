"""Gradient penalties on the discriminator.

All are means over this process' samples. A lazy penalty (``every`` > 1) is added at the training steps that are
multiples of ``every``, multiplied by ``every``: the same on average for a fraction of the cost (Karras et al.,
Analyzing and improving the image quality of StyleGAN, CVPR 2020, section 3.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat, PositiveInt


# Samples and labels to logits: the discriminator, behind the game's augmentations if there are any.
Score = Callable[[Tensor, Tensor | None], Tensor]


@dataclass
class Scored:
    """Samples with what the discriminator said of them.

    Args:
        samples: ``(n, *shape)``; they require a gradient where a penalty that is due asked for it.
        labels: ``(n,)``, or None if the game is not conditional.
        logits: ``(n,)``, part of the graph of the loss.
    """

    samples: Tensor
    labels: Tensor | None
    logits: Tensor


class Penalty(ABC):
    """A term of the discriminator's objective.

    Attributes:
        differentiates: the inputs of the loss' own forward pass whose gradient the penalty takes, among "real" and
            "fake"; they require a gradient in that pass, which is thus not repeated.
    """

    differentiates: frozenset[str] = frozenset()

    def __init__(self, weight: PositiveFloat, every: PositiveInt = 1):
        self.weight = weight
        self.every = every

    def due(self, step: int | None) -> bool:
        """Whether the penalty is applied at this training step; None stands for the average over all steps."""
        return step is None or step % self.every == 0

    @abstractmethod
    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        """The penalty without its weight: a scalar."""

    def __call__(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        """What is added to the discriminator's loss at a step at which the penalty is due."""
        scale = self.weight if batch.step is None else self.weight * self.every
        return scale * self.value(discriminator, real, fake, batch)


class R1(Penalty):
    """``weight/2 E ||grad_x D(x)||^2`` on real samples.

    Source: Mescheder et al., Which training methods for GANs do actually converge?, ICML 2018, eq. 9.

    Args:
        weight: the paper's gamma.
        every: the number of training steps from one application to the next.
    """

    differentiates = frozenset({"real"})

    def __init__(self, weight: PositiveFloat = 10.0, every: PositiveInt = 1):
        super().__init__(weight, every)

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        return _squared_slopes(real.logits, real.samples).mean() / 2


class R2(Penalty):
    """``weight/2 E ||grad_x D(x)||^2`` on fake samples.

    Source: Mescheder et al., Which training methods for GANs do actually converge?, ICML 2018, eq. 10.

    Args:
        weight: the paper's gamma.
        every: the number of training steps from one application to the next.
    """

    differentiates = frozenset({"fake"})

    def __init__(self, weight: PositiveFloat = 10.0, every: PositiveInt = 1):
        super().__init__(weight, every)

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        return _squared_slopes(fake.logits, fake.samples).mean() / 2


class WGANGP(Penalty):
    """``weight E (||grad_x D(x)|| - target)^2`` at ``x = u x_real + (1 - u) x_fake``, ``u`` uniform in [0, 1].

    Each real sample is paired with the fake of the same row, and carries its label. Costs a forward pass of its own.
    Source: Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS 2017, eq. 3.

    Args:
        weight: the paper's lambda.
        target: the slope that is wanted; 0 makes it a zero-centred penalty.
        every: the number of training steps from one application to the next.
    """

    def __init__(self, weight: PositiveFloat = 10.0, target: NonNegativeFloat = 1.0, every: PositiveInt = 1):
        super().__init__(weight, every)
        self.target = target

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        real_samples, fake_samples = real.samples, fake.samples
        u = batch.uniform("interpolates", *[1] * (real_samples.dim() - 1)).to(real_samples.dtype)
        between = torch.lerp(fake_samples, real_samples, u).requires_grad_(True)
        squared = _squared_slopes(discriminator(between, real.labels), between)
        # The root has no derivative at 0; a flat spot gets a zero gradient instead of a NaN.
        slopes = torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
        return (slopes - self.target).square().mean()


def _squared_slopes(logits: Tensor, samples: Tensor) -> Tensor:
    """``(n,)``: the squared norm of each logit's gradient with respect to its own sample, differentiable."""
    (gradient,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)
