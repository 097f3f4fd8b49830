"""Approximations of R1 and R2 that contain no gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from gantrain.compute.precision import autocasting, full_precision
from gantrain.games.penalties.base import Penalty, Score, Scored

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat, PositiveInt


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
        half = autocasting(samples.device)
        # The difference of two logits would lose most of its digits in half precision.
        with full_precision(samples.device):
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
    logged_as = "approximate_r1"


class ApproximateR2(_Approximate):
    """``weight / (2 sigma^2) E (D(x + sigma e) - D(x))^2`` on fake samples, ``e ~ N(0, I)``: R2 without its gradient.

    See ``approximate_r1``.

    Args:
        weight: the weight of the penalty, R2's gamma.
        sigma: the standard deviation of the noise, for images in [-1, 1].
        every: the number of training steps from one application to the next.
    """

    side = "fake"
    logged_as = "approximate_r2"
