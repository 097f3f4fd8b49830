"""The interface of penalties: terms that are added to the objectives of a GAN's players.

All penalties are means over this process' samples. A lazy penalty (``every`` > 1) is added only at the training steps
that are multiples of ``every``, and is then multiplied by ``every``. This gives the same penalty on average for a
fraction of the cost (Karras et al., Analyzing and improving the image quality of StyleGAN, CVPR 2020, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gantrain.games.base import Objective
from gantrain.games.checks import require_scalar
from gantrain.utils.stateful import Stateful

if TYPE_CHECKING:
    from gantrain.config.types import PositiveFloat, PositiveInt


# From samples and labels to logits: the augmentations of the game, if there are any, then the discriminator.
Score = Callable[[Tensor, Tensor | None], Tensor]


@dataclass
class Scored:
    """Samples with the discriminator's logits.

    Args:
        samples: ``(n, *shape)``; they require a gradient if a penalty that is due names them in ``differentiates``. The
            fake samples of :meth:`Penalty.generator_value` have the generator's graph.
        labels: ``(n,)``, or None if the game is not conditional.
        logits: ``(n,)``, as in the loss; their graph can be differentiated.
        again: the function from other samples to the logits that they would have had in the place of these: with the
            same augmentation, labels, random numbers of the network and buffers. None unless a penalty that is due says
            ``repeats``.
        network: the discriminator.
        features: ``(n, d)``, the input of the discriminator's last layer. None unless a penalty that is due says
            ``featured``.
        generator: the generator of fake samples; None for real ones.
        latents: ``(n, latent_dim)``, the latent vectors of fake samples; None for real ones.
        generate: the function from other latent vectors to the samples that the generator would have made of them in
            the place of these: with the same labels, random numbers and buffers. None unless a penalty that is due says
            ``repeats``.
    """

    samples: Tensor
    labels: Tensor | None
    logits: Tensor
    again: Callable[[Tensor], Tensor] | None = None
    network: nn.Module | None = None
    features: Tensor | None = None
    generator: nn.Module | None = None
    latents: Tensor | None = None
    generate: Callable[[Tensor], Tensor] | None = None


class Penalty(Stateful):
    """A term of the objective of the discriminator, of the generator, or of both.

    A penalty of your own defines :meth:`value` for the discriminator, :meth:`generator_value` for the generator, or
    both. A config names it in the list ``game.penalties: [{target: "my_penalties:Mine", …}]``, and the arguments of its
    constructor are its keys. A constructor of its own calls ``super().__init__(weight, every)``; without one,
    ``weight`` and ``every`` are the keys.

    Args:
        weight: the factor of the penalty.
        every: the number of training steps from one application to the next; the penalty is then multiplied by it.

    Attributes:
        differentiates: the samples in which the penalty differentiates the logits of the discriminator's loss: "real",
            "fake", both or none. These samples require a gradient in the forward pass of the loss, so that the penalty
            needs no forward pass of its own.
        twice: whether the penalty contains a gradient. Networks are then differentiated twice, and run uncompiled at
            the steps at which the penalty is due.
        repeats: whether the penalty calls ``again`` or ``generate`` of real or fake samples. Default false.
        featured: whether the penalty takes the ``features`` of real or fake samples. Default false.
        needs_real: whether the generator's penalty depends on the logits or features of real samples, for which the
            discriminator runs once more. Default false.
    """

    differentiates: frozenset[str] = frozenset()
    twice: bool = True
    repeats: bool = False
    featured: bool = False
    needs_real: bool = False

    def __init__(self, weight: PositiveFloat, every: PositiveInt = 1):
        self.weight = weight
        self.every = every

    @property
    def players(self) -> frozenset[str]:
        """The players whose objectives have the penalty as a term: those for which the class defines a method."""
        methods = {"discriminator": "value", "generator": "generator_value"}
        return frozenset(
            player for player, name in methods.items() if getattr(type(self), name) is not getattr(Penalty, name)
        )

    def due(self, step: int | None) -> bool:
        """Whether the penalty is added at this training step.

        The step None stands for the average over all steps: every penalty is due, without the factor ``every``.
        """
        return step is None or step % self.every == 0

    def head(self, features: int, classes: int) -> nn.Module | None:
        """A network of the penalty's own that the discriminator's player trains; by default none.

        Only a penalty that is ``featured`` has one. It becomes a module of the discriminator, under the name
        ``logged_as``, and is found there as ``getattr(real.network, self.logged_as)``. It is initialised from the run's
        seed. If the discriminator has a module of this name, that one is taken.

        Args:
            features: the number of features.
            classes: the number of classes of the data; 0 if the game is not conditional.
        """
        return None

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor | Objective:
        """The discriminator's penalty without its weight: a scalar.

        Args:
            discriminator: the function from samples and labels to logits ``(n,)``, for a forward pass of the penalty's
                own: ``discriminator(samples, real.labels)``.
            real: the real samples of the batch: ``real.samples`` ``(n, *shape)``, ``real.labels`` ``(n,)`` or None,
                and ``real.logits`` ``(n,)``.
            fake: the fake samples in the same form.
            batch: the batch, from which the penalty takes its random numbers: ``batch.normal(name, *shape)``,
                ``uniform`` and ``integers`` are ``(n, *shape)``.

        Returns:
            A tensor of shape ``()`` that depends on the discriminator's parameters; or an ``Objective`` with this
            tensor as its loss and with scores, which are logged after the penalty's own name.
        """
        raise TypeError(f"{type(self).__name__} has no term for the discriminator")

    def generator_value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor | Objective:
        """The generator's penalty without its weight: a scalar.

        Args:
            discriminator: as in :meth:`value`; its parameters get no gradient.
            real: the real samples of the batch. Their logits and features are without a graph, and are zeros and None
                unless the penalty or the loss says ``needs_real``.
            fake: the fake samples, with ``fake.generator`` and ``fake.latents``.
            batch: as in :meth:`value`.

        Returns:
            As in :meth:`value`, a tensor that depends on the generator's parameters.
        """
        raise TypeError(f"{type(self).__name__} has no term for the generator")

    def __call__(
        self, discriminator: Score, real: Scored, fake: Scored, batch: Any, player: str = "discriminator"
    ) -> Tensor:
        """The term that is added to a player's loss at a step at which the penalty is due."""
        return self.term(discriminator, real, fake, batch, player).loss

    def term(
        self, discriminator: Score, real: Scored, fake: Scored, batch: Any, player: str = "discriminator"
    ) -> Objective:
        """The same with the penalty's scores."""
        scale = self.weight if batch.step is None else self.weight * self.every
        method = "value" if player == "discriminator" else "generator_value"
        found = getattr(self, method)(discriminator, real, fake, batch)
        value, scores = (found.loss, found.scores) if isinstance(found, Objective) else (found, {})
        return Objective(scale * require_scalar(value, fake.logits, "game.penalties", self, method), scores=scores)
