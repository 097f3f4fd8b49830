"""Gradient penalties on the discriminator.

All penalties are means over this process' samples. A lazy penalty (``every`` > 1) is added only at the training steps
that are multiples of ``every``, and is then multiplied by ``every``. This gives the same penalty on average for a
fraction of the cost (Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020, section 3.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import relu

from gantrain.data.step_means import StepMeans
from gantrain.games.checks import require_scalar
from gantrain.utils.stateful import Stateful

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt


# From samples and labels to logits: the augmentations of the game, if there are any, then the discriminator.
Score = Callable[[Tensor, Tensor | None], Tensor]


@dataclass
class Scored:
    """Samples with the discriminator's logits.

    Args:
        samples: ``(n, *shape)``; they require a gradient if a penalty that is due names them in ``differentiates``.
        labels: ``(n,)``, or None if the game is not conditional.
        logits: ``(n,)``, as in the loss; their graph can be differentiated.
        again: the function from other samples to the logits that they would have had in the place of these: with the
            same augmentation, labels, random numbers of the network and buffers. None unless a penalty that is due says
            ``repeats``.
    """

    samples: Tensor
    labels: Tensor | None
    logits: Tensor
    again: Callable[[Tensor], Tensor] | None = None


class Penalty(Stateful, ABC):
    """A term of the discriminator's objective.

    A penalty of your own defines :meth:`value`; a config names it in the list ``game.penalties: [{target:
    "my_penalties:Mine", …}]``, and the arguments of its constructor are its keys. A constructor of its own calls
    ``super().__init__(weight, every)``; without one, ``weight`` and ``every`` are the keys.

    Args:
        weight: the factor of the penalty.
        every: the number of training steps from one application to the next; the penalty is then multiplied by it.

    Attributes:
        differentiates: the samples in which the penalty differentiates the logits of the loss: "real", "fake", both or
            none. These samples require a gradient in the forward pass of the loss, so that the penalty needs no
            forward pass of its own.
        twice: whether the penalty contains a gradient. The discriminator is then differentiated twice, and runs
            uncompiled at the steps at which the penalty is due.
        repeats: whether the penalty calls ``real.again`` or ``fake.again``. Default false.
    """

    differentiates: frozenset[str] = frozenset()
    twice: bool = True
    repeats: bool = False

    def __init__(self, weight: PositiveFloat, every: PositiveInt = 1):
        self.weight = weight
        self.every = every

    def due(self, step: int | None) -> bool:
        """Whether the penalty is added at this training step.

        The step None stands for the average over all steps: every penalty is due, without the factor ``every``.
        """
        return step is None or step % self.every == 0

    @abstractmethod
    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        """The penalty without its weight: a scalar.

        Args:
            discriminator: the function from samples and labels to logits ``(n,)``, for a forward pass of the penalty's
                own: ``discriminator(samples, real.labels)``.
            real: the real samples of the batch: ``real.samples`` ``(n, *shape)``, ``real.labels`` ``(n,)`` or None,
                and ``real.logits`` ``(n,)``.
            fake: the fake samples in the same form.
            batch: the batch, from which the penalty takes its random numbers: ``batch.normal(name, *shape)``,
                ``uniform`` and ``integers`` are ``(n, *shape)``.

        Returns:
            A tensor of shape ``()`` that depends on the discriminator's parameters.
        """

    def __call__(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        """The term that is added to the discriminator's loss at a step at which the penalty is due."""
        scale = self.weight if batch.step is None else self.weight * self.every
        value = self.value(discriminator, real, fake, batch)
        return scale * require_scalar(value, real.logits, "game.penalties", self, "value")


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
        # The square root has no derivative at 0. Where D is flat, this gives the gradient 0 instead of NaN.
        slopes = torch.where(squared > 0, squared, 1).sqrt() * (squared > 0)
        return (slopes - self.target).square().mean()


class LeCam(Penalty):
    """``weight (E relu(D(x) - a_fake)^2 + E relu(a_real - D(G(z)))^2)``: logits stay close to those of the past.

    ``a_real`` and ``a_fake`` are running averages of the mean logits of real and fake samples, over all processes. Once
    in a training step, at its first evaluation, ``a <- decay a + (1 - decay) E D``, and the new averages are used. In
    the first ``start`` steps, and in the very first, the averages are the means of the step alone; the penalty is 0 in
    the first ``start`` steps.

    With ``data.accumulation`` the logits of a whole batch are known at its last micro-batch, so that each step uses the
    averages of the step before.
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
        means = self._means(batch, real.logits, fake.logits)
        if means is not None:
            decay = self.decay if batch.step >= self.start and self._moved else 0.0
            self._averages = torch.lerp(means, self._averages.to(means.device), decay)
            self._moved = True
        if batch.step is not None and batch.step < self.start:
            return real.logits.sum() * 0.0
        of_real, of_fake = self._averages.to(real.logits.device)
        return relu(real.logits - of_fake).square().mean() + relu(of_real - fake.logits).square().mean()

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self._averages, "moved": self._moved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._averages, self._moved = state["averages"], state["moved"]
        self._means.forget()

    def scalars(self) -> dict[str, Tensor]:
        return {"real": self._averages[0], "fake": self._averages[1]}


class _Approximate(Penalty):
    """``weight / (2 sigma^2) E (D(x + sigma e) - D(x))^2`` with ``e ~ N(0, I)``, computed in single precision."""

    twice = False
    repeats = True
    side: ClassVar[str]

    def __init__(self, weight: PositiveFloat = 10.0, sigma: PositiveFloat = 0.01, every: PositiveInt = 1):
        super().__init__(weight, every)
        self.sigma = sigma

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        here = {"real": real, "fake": fake}[self.side]
        samples = here.samples.detach()
        noise = batch.normal(f"approximate/{self.side}", *samples.shape[1:]).to(samples.dtype)
        device = samples.device.type
        half = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        # The difference of two logits would lose most of its digits in half precision.
        with torch.autocast(device, enabled=False) if half else nullcontext():
            # One function at two points: what is drawn or moved between two passes would be divided by sigma.
            again = here.again or (lambda x: discriminator(x, here.labels))
            logits = again(samples) if half else here.logits
            moved = again(samples + self.sigma * noise)
        return ((moved - logits) / self.sigma).square().mean() / 2


class ApproximateR1(_Approximate):
    """``weight / (2 sigma^2) E (D(x + sigma e) - D(x))^2`` on real samples, ``e ~ N(0, I)``: R1 without its gradient.

    For small sigma the expectation is that of R1, since ``D(x + sigma e) - D(x)`` is about ``sigma <grad D(x), e>``.
    The penalty costs a forward pass, nothing is differentiated twice, and a compiled discriminator stays compiled. It
    is noisier than R1. Source: Lin et al., Diffusion adversarial post-training for one-step video generation, arXiv
    2501.08316, where it is called approximated R1.

    Args:
        weight: the weight of the penalty, R1's gamma.
        sigma: the standard deviation of the noise, for images in [-1, 1].
        every: the number of training steps from one application to the next.
    """

    side = "real"


class ApproximateR2(_Approximate):
    """``weight / (2 sigma^2) E (D(x + sigma e) - D(x))^2`` on fake samples, ``e ~ N(0, I)``: R2 without its gradient.

    See ``approximate_r1``.

    Args:
        weight: the weight of the penalty, R2's gamma.
        sigma: the standard deviation of the noise, for images in [-1, 1].
        every: the number of training steps from one application to the next.
    """

    side = "fake"


def _squared_slopes(logits: Tensor, samples: Tensor) -> Tensor:
    """``(n,)``: the squared norm of each logit's gradient with respect to its own sample, differentiable."""
    (gradient,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)
