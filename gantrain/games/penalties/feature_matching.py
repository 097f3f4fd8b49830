"""Feature matching, by which a generator meets the mean features of real samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from gantrain.games.penalties.base import Penalty, Score, Scored

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat, PositiveInt


class FeatureMatching(Penalty):
    """``weight ||E f(x) - E f(G(z))||^2``, a term of the generator, for the input f of the discriminator's last layer.

    The means are over the samples that a process evaluates at once, as those of batch norm without synchronisation.
    The last layer is the discriminator's attribute ``logit``, or without one the last linear or convolutional layer
    that is called. Source: Salimans et al., Improved techniques for training GANs, NeurIPS 2016, section 3.1.

    Args:
        weight: the weight of the penalty.
        every: the number of training steps from one application to the next.
    """

    twice = False
    featured = True
    needs_real = True
    logged_as = "feature_matching"

    def __init__(self, weight: PositiveFloat = 1.0, every: PositiveInt = 1):
        super().__init__(weight, every)

    def generator_value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        assert real.features is not None and fake.features is not None
        return (real.features.detach().float().mean(dim=0) - fake.features.float().mean(dim=0)).square().sum()
