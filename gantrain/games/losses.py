"""GAN losses as functions of the discriminator's raw logits of real and of fake samples, each of shape ``(n,)``.

Most losses are losses of a binary classification. Such a loss also returns the logits and targets of the
classification, whose margins BiSAM climbs. A positive logit says "real". Below, ``D(x)`` is the logit of a real sample,
``D(G(z))`` that of a fake sample, ``sigma`` the logistic function, and
``softplus(s) = log(1 + e^s) = -log sigma(-s)``.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gantrain.utils.stateful import Stateful

Margins = tuple[Tensor, Tensor] | None


class Loss(Stateful, ABC):
    """A loss for both players.

    A loss of your own defines :meth:`discriminator` and :meth:`generator`; a config names it with ``game.loss: {target:
    "my_losses:Mine", …}``, and the arguments of its constructor are its keys. Logits are float32 ``(n,)``, raw (without
    a sigmoid), and each loss is a mean over the samples, a tensor of shape ``()`` that depends on the logits.

    Attributes:
        needs_real: whether the generator's loss depends on the logits of real samples.
        classifies: whether the losses belong to a classification, whose margins BiSAM can climb. By default it is that
            of real against fake; a loss that is none sets this to False and returns None for the margins.
        proportional: whether the derivatives of the two players' losses in the logit of a fake sample are zero at
            isolated points only. One pass backwards through the discriminator then serves both players, if no sample
            touches another's logit. Default false, also in a class that is derived from one that says true.
        boundary: the logit above which a sample counts as real. Default 0; None where only differences between the
            logits of real and fake samples count.

    Examples:
        >>> real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-1.0])
        >>> Hinge().discriminator(real, fake).item(), Hinge().generator(None, fake).item()
        (0.25, 1.0)
    """

    needs_real = False
    classifies = True
    proportional = False
    boundary: float | None = 0.0

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The loss of the discriminator: a scalar."""

    @abstractmethod
    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """The loss of the generator: a scalar. ``real`` may be None unless :attr:`needs_real` is true."""

    def discriminator_margins(self, real: Tensor, fake: Tensor) -> Margins:
        """The logits and targets of the discriminator's classification: real 1, fake 0; None if there is none."""
        return torch.cat([real, fake]), _targets(len(real), len(fake), real.device)

    def generator_margins(self, real: Tensor | None, fake: Tensor) -> Margins:
        """The logits and targets of the generator's classification, in which every fake sample has target 1: the
        generator wants fakes to be classified as real. None if there is none."""
        return fake, _ones(fake)

    def of_each(self, player: str, real: Tensor | None, fake: Tensor) -> Tensor:
        """``(n,)``: a player's loss on each pair of a real and a fake sample alone, whose mean is the loss.

        Args:
            player: "discriminator" or "generator".
            real: ``(n,)``, the logits of the real samples; None where the generator's loss does not need them.
            fake: ``(n,)``, the logits of the fake samples.
        """
        if player == "discriminator":
            return torch.vmap(self.discriminator)(_given(real)[:, None], fake[:, None])
        if real is None:
            return torch.vmap(lambda each: self.generator(None, each))(fake[:, None])
        return torch.vmap(self.generator)(real[:, None], fake[:, None])


class Minimax(Loss):
    """The zero-sum game on the log-likelihood; the generator's gradient saturates where fakes are recognised.

    ``L_D = E softplus(-D(x)) + E softplus(D(G(z)))``, ``L_G = -E softplus(D(G(z)))``: the generator's loss is the
    negative of the part of the discriminator's that depends on it.

    Classification: real 1, fake 0 for the discriminator; fake 1 for the generator.
    Source: Goodfellow et al., Generative adversarial nets, NeurIPS 2014, eq. 1.
    """

    proportional = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -softplus(fake).mean()


class NonSaturating(Loss):
    """Maximum likelihood for the discriminator, flipped labels for the generator.

    ``L_D = E softplus(-D(x)) + E softplus(D(G(z)))``, ``L_G = E softplus(-D(G(z)))``.

    Classification: real 1, fake 0 for the discriminator; fake 1 for the generator. Both losses are its logistic losses.
    Source: Goodfellow et al., Generative adversarial nets, NeurIPS 2014, section 3.
    """

    proportional = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return softplus(-fake).mean()


class Hinge(Loss):
    """``L_D = E max(0, 1 - D(x)) + E max(0, 1 + D(G(z)))``, ``L_G = -E D(G(z))``.

    Classification: real 1, fake 0 for the discriminator, whose loss is the hinge loss. Fake 1 for the generator, whose
    loss is linear in the logit but pushes each fake sample across the same boundary.
    Source: Lim and Ye, Geometric GAN, 2017; Miyato et al., Spectral normalization for GANs, ICLR 2018, eqs. 16-17.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake.mean()


class Wasserstein(Loss):
    """``L_D = E D(G(z)) - E D(x)``, ``L_G = -E D(G(z))``: the dual of the Wasserstein-1 distance.

    ``D`` must be Lipschitz (``wgan_gp``, or spectral norm).

    Classification: none. ``D`` is determined up to a constant only, so the sign of a value means nothing.
    Source: Arjovsky et al., Wasserstein GAN, ICML 2017, eq. 2.
    """

    classifies = False
    proportional = True
    boundary = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake.mean()

    def discriminator_margins(self, real: Tensor, fake: Tensor) -> Margins:
        return None

    def generator_margins(self, real: Tensor | None, fake: Tensor) -> Margins:
        return None


class LeastSquares(Loss):
    """``L_D = (E (D(x) - 1)^2 + E D(G(z))^2) / 2``, ``L_G = E (D(G(z)) - 1)^2 / 2``.

    Classification: a sample counts as real above 1/2, midway between the codes 0 and 1, so the logit is ``D - 1/2``;
    real 1, fake 0 for the discriminator, fake 1 for the generator.
    Source: Mao et al., Least squares generative adversarial networks, ICCV 2017, eq. 9.
    """

    proportional = True
    boundary = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean() / 2

    def discriminator_margins(self, real: Tensor, fake: Tensor) -> Margins:
        return super().discriminator_margins(real - 0.5, fake - 0.5)

    def generator_margins(self, real: Tensor | None, fake: Tensor) -> Margins:
        return super().generator_margins(real, fake - 0.5)


class Relativistic(Loss):
    """Real and fake samples form pairs, and the discriminator says which of the two is the real one.

    ``L_D = E softplus(D(G(z)) - D(x))``, ``L_G = E softplus(D(x) - D(G(z)))``.

    Classification: pairs are classified. The discriminator's logit is ``D(x) - D(G(z))`` with target 1, the generator's
    ``D(G(z)) - D(x)`` with target 1; both losses are logistic losses of these logits.
    Source: Jolicoeur-Martineau, The relativistic discriminator, ICLR 2019; Huang et al., The GAN is dead; long live
    the GAN!, NeurIPS 2024, eq. 2, where the loss is combined with the penalties ``r1`` and ``r2``.
    """

    needs_real = True
    proportional = True
    boundary = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(fake - real).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return softplus(_given(real) - fake).mean()

    def discriminator_margins(self, real: Tensor, fake: Tensor) -> Margins:
        return real - fake, _ones(real)

    def generator_margins(self, real: Tensor | None, fake: Tensor) -> Margins:
        return fake - _given(real), _ones(fake)


def _ones(logits: Tensor) -> Tensor:
    return _targets(len(logits), 0, logits.device)


@functools.lru_cache(maxsize=16)
def _targets(ones: int, zeros: int, device: torch.device) -> Tensor:
    """``(ones + zeros,)``, the same tensor for every batch of a run: nobody writes into it."""
    return torch.tensor([1] * ones + [0] * zeros, device=device)


def _given(real: Tensor | None) -> Tensor:
    if real is None:
        raise ValueError("this loss depends on the logits of real samples, got None; pass them")
    return real
