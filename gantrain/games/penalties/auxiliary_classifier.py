"""An auxiliary classifier, by which both players learn the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from gantrain.compute.precision import upcast
from gantrain.errors import UserError
from gantrain.games.base import Objective
from gantrain.games.class_losses import class_loss, correct
from gantrain.games.penalties.base import Penalty, Score, Scored
from gantrain.models.layers.conditioning import ClassHead
from gantrain.models.layers.spectral_norm import spectrally_normalised

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, PositiveFloat, PositiveInt


class AuxiliaryClassifier(Penalty):
    """``real E L(c(f(x)), y) + fake E L(c(f(G(z, y))), y)``, and for the generator ``generator E L(c(f(G(z, y))), y)``.

    f are the features, the input of the discriminator's last layer, and c is a dense layer with a logit for each class,
    which is a module ``auxiliary_classifier`` of the discriminator and moves with it. L is the cross-entropy, or the
    hinge loss of many classes ``max(0, 1 + max_{j != y} c_j - c_y)``. All parts are multiplied by ``weight``.

    With ``game.conditional: generator`` the discriminator is told no labels, as in AC-GAN. With true it is told them,
    too, as by projection; its features must then not depend on them. The share of real and of fake samples that is
    classified as its label is logged as ``score/auxiliary_classifier/accuracy_real`` and ``accuracy_fake``. The last
    layer is found as by ``feature_matching``.

    Sources: Odena et al., Conditional image synthesis with auxiliary classifier GANs, ICML 2017, section 3; for the
    hinge loss and ``fake_class``, Kavalerov et al., A multi-class hinge loss for conditional GANs, WACV 2021, which has
    no loss of real against fake beside it.

    Args:
        weight: the factor of all parts.
        real: the factor of the part of real samples.
        fake: the factor of the part of fake samples in the discriminator's objective; 0 lets it learn the classes from
            real samples alone.
        generator: the factor of the generator's term.
        loss: the loss of the classification.
        fake_class: whether the discriminator learns fake samples as a further class, and not as their labels. The
            generator's samples should be classified as their labels all the same.
        spectral_norm: whether the weight of the dense layer is divided by its largest singular value.
        every: the number of training steps from one application to the next.
    """

    twice = False
    featured = True
    logged_as = "auxiliary_classifier"

    def __init__(
        self,
        weight: PositiveFloat = 1.0,
        real: NonNegativeFloat = 1.0,
        fake: NonNegativeFloat = 1.0,
        generator: NonNegativeFloat = 1.0,
        loss: Literal["cross_entropy", "hinge"] = "cross_entropy",
        fake_class: bool = False,
        spectral_norm: bool = False,
        every: PositiveInt = 1,
    ):
        super().__init__(weight, every)
        self.real = real
        self.fake = fake
        self.generator = generator
        self.loss = loss
        self.fake_class = fake_class
        self.spectral_norm = spectral_norm

    def head(self, features: int, classes: int) -> nn.Module:
        if not classes:
            raise UserError(
                "game.penalties: auxiliary_classifier needs labelled data and game.conditional: generator, or true; "
                "leave the penalty out where there are no labels"
            )
        layer = ClassHead(features, classes + self.fake_class)
        return spectrally_normalised(layer) if self.spectral_norm else layer

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Objective:
        logits, of_fake = self._logits(real), self._logits(fake)
        assert real.labels is not None and fake.labels is not None
        targets = torch.full_like(fake.labels, logits.shape[1] - 1) if self.fake_class else fake.labels
        loss = self.real * class_loss(self.loss, logits, real.labels)
        loss = loss + self.fake * class_loss(self.loss, of_fake, targets)
        scores = {"accuracy_real": self._correct(logits, real), "accuracy_fake": self._correct(of_fake, fake)}
        return Objective(loss, scores=scores)

    def generator_value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        assert fake.labels is not None
        return self.generator * class_loss(self.loss, self._logits(fake), fake.labels)

    def _logits(self, scored: Scored) -> Tensor:
        """``(n, classes)``, in at least single precision."""
        assert scored.features is not None
        head: nn.Module = getattr(scored.network, self.logged_as)
        features = upcast(scored.features)
        with torch.autocast(features.device.type, enabled=False):
            return upcast(head(features.to(next(head.parameters()).dtype)))

    def _correct(self, logits: Tensor, scored: Scored) -> Tensor:
        """``(n,)``: whether the label has the largest logit among the classes of the data."""
        assert scored.labels is not None
        return correct(logits[:, : logits.shape[1] - self.fake_class].detach(), scored.labels)
