"""Penalties on the gradient of the discriminator with respect to its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gantrain.games.penalties.base import Penalty, Score, Scored

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat, PositiveInt


class R1(Penalty):
    """``weight/2 E ||grad_x D(x)||^2`` on real samples.

    Source: Mescheder et al., Which training methods for GANs do actually converge?, ICML 2018, eq. 9.

    Args:
        weight: the weight of the penalty, the paper's gamma.
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
        weight: the weight of the penalty, the paper's gamma.
        every: the number of training steps from one application to the next.
    """

    differentiates = frozenset({"fake"})

    def __init__(self, weight: PositiveFloat = 10.0, every: PositiveInt = 1):
        super().__init__(weight, every)

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        return _squared_slopes(fake.logits, fake.samples).mean() / 2


class WGANGP(Penalty):
    """``weight E (||grad_x D(x)|| - target)^2`` at ``x = u x_real + (1 - u) x_fake``, ``u`` uniform in [0, 1].

    Each real sample is paired with the fake sample in the same row, and ``x`` gets the label of the real sample. The
    penalty costs a forward pass of its own.
    Source: Gulrajani et al., Improved training of Wasserstein GANs, NeurIPS 2017, eq. 3.

    Args:
        weight: the weight of the penalty, the paper's lambda.
        target: the wanted norm of the gradient; 0 gives a zero-centred penalty.
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
        return (root(squared) - self.target).square().mean()


class DRAGAN(Penalty):
    """``weight E (||grad_x D(x + delta)|| - 1)^2`` around real samples: the slope is 1 near the data.

    ``delta`` is ``scale * s * u`` with ``u`` uniform in [0, 1] for each value and ``s`` the standard deviation of the
    sample's own values. (The published code takes the deviation of the whole batch, which depends on the batch.)
    Source: Kodali et al., On convergence and stability of GANs, 2017, section 2.5, and its code.

    Args:
        weight: the weight of the penalty, the paper's lambda.
        scale: the largest offset, in standard deviations.
        every: the number of training steps from one application to the next.
    """

    def __init__(self, weight: PositiveFloat = 10.0, scale: PositiveFloat = 0.5, every: PositiveInt = 1):
        super().__init__(weight, every)
        self.scale = scale

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        samples = real.samples.detach()
        deviation = samples.flatten(1).std(dim=1, correction=0).view(-1, *[1] * (samples.dim() - 1))
        offset = self.scale * deviation * batch.uniform("dragan", *samples.shape[1:]).to(samples.dtype)
        x = (samples + offset).requires_grad_(True)
        return (root(_squared_slopes(discriminator(x, real.labels), x)) - 1).square().mean()


def _squared_slopes(logits: Tensor, samples: Tensor) -> Tensor:
    """``(n,)``: the squared norm of each logit's gradient with respect to its own sample, differentiable."""
    (gradient,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)


def root(squared: Tensor) -> Tensor:
    """The square root, whose gradient is 0 at 0 instead of infinite: where a network is flat."""
    return torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
