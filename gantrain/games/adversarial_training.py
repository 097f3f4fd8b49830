"""Adversarial training: a classifier against perturbations of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gantrain.compute.modes import eval_mode
from gantrain.compute.precision import upcast
from gantrain.data.augment import Augmentation
from gantrain.data.batch import Batch
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import Attack, Objective, Player
from gantrain.games.calls import output_of
from gantrain.games.class_losses import WithLosses
from gantrain.games.classification import Classification
from gantrain.games.perturbation import L2, LInf, ProjectedAscent
from gantrain.models.base import Classifier, Perturber

if TYPE_CHECKING:
    from gantrain.config.types import FractionBelowOne, PositiveFloat, PositiveInt


class AdversarialTraining(Classification):
    """``min_w E max_{||d|| <= radius} CE(f_w(x + d), y)``: a classifier against perturbations of its samples.

    Without a perturber the maximum is approached on each batch by projected gradient ascent on d (PGD), which is no
    player: by Danskin's theorem the gradient in w at the perturbed samples is that of the maximum. The classifier is in
    evaluation mode while its samples are perturbed, so that its running statistics do not move, and in training mode
    when it learns from them. The gradients in d do not count among the gradient evaluations of the run: an evaluation
    costs ``ascent_steps + 1`` forward and backward passes. A diagnosis holds the perturbations of each point fixed.

    With a perturber the game has two players, and is zero-sum: a network ``g`` with ``d = radius tanh(g(x, y))``
    ascends the classifier's loss by an optimizer of its own. Source: Madry et al., Towards deep learning models
    resistant to adversarial attacks, ICLR 2018, arXiv 1706.06083, eq. 2.1; for the perturber, Baluja and Fischer,
    Adversarial transformation networks, 2017, arXiv 1703.09387.

    Args:
        classifier: the player that classifies; its network maps samples ``(n, *shape)`` to logits ``(n, classes)``.
        radius: the radius of the ball, in units of the samples as networks see them: images are in [-1, 1]. A radius
            that is published for images in [0, 1] is doubled: 8/255 becomes 0.0627.
        norm: the norm of the ball: the largest change of a value (linf, the default), or the Euclidean length (l2).
        perturber: the player that perturbs; its network maps samples and labels to values ``(n, *shape)``, which are
            made offsets in the ball. null (the default) perturbs by gradient ascent.
        ascent_steps: the number K of steps of gradient ascent. Accuracy under attack is measured with twice as many.
        step_size: the length of a step of ascent, in the norm. null (the default) takes 2.5 radius / K, so that the
            ascent can reach the ball's boundary from anywhere in the ball.
        start: the offset at which the ascent starts: uniform in the ball (random, the default), or none (zero).
        label_smoothing: the share of the target distribution that is spread evenly over all classes. Default 0.
        standardise: whether each channel of the perturbed samples is shifted and scaled to mean 0 and standard
            deviation 1 over the training data before the classifier sees it. Default false.
        augmentations: the random changes that are made to the training samples before they are perturbed. Default none.
        spec: the spec of the data, which the networks must fit. None skips the check.

    Raises:
        UserError: the data have no labels or are tokens, or a network's output has the wrong shape.
    """

    without_margins: ClassVar[tuple[str, ...]] = ("perturber",)

    def __init__(
        self,
        classifier: Classifier,
        radius: PositiveFloat,
        norm: Literal["linf", "l2"] = "linf",
        perturber: Perturber | None = None,
        ascent_steps: PositiveInt = 7,
        step_size: PositiveFloat | None = None,
        start: Literal["random", "zero"] = "random",
        label_smoothing: FractionBelowOne = 0.0,
        standardise: bool = False,
        augmentations: Sequence[Augmentation] = (),
        spec: DataSpec | None = None,
    ):
        if spec is not None and spec.vocabulary:
            raise UserError("game: adversarial_training perturbs numbers, and these data are tokens; choose other data")
        super().__init__(classifier, label_smoothing, standardise, augmentations, spec)
        self.ball = {"linf": LInf, "l2": L2}[norm](radius)
        self.ascent_steps = ascent_steps
        self.step_size = step_size
        self.start = start
        self.perturber = perturber
        if perturber is not None:
            self.add_player(Player("perturber", perturber))
            if spec is not None:
                self._check_perturber(perturber, spec)

    def objective(self, player: str, batch: Batch) -> Objective:
        """The smoothed cross-entropy on perturbed samples; for the perturber its negative, which is no classification.

        The score ``accuracy`` is 1 for each perturbed sample that is classified correctly.
        """
        samples, labels = self.augmented(batch), self.labels(batch)
        if player == "classifier":
            return self.classified(self._perturbed(samples, labels, batch), labels)
        with self.constant("classifier"):
            found = self.classified(self._perturbed(samples, labels, batch, learning=True), labels)

        def losses() -> Tensor | None:
            return None if found.losses is None else -found.losses

        return WithLosses(-found.loss, None, None, found.scores, losses)

    def attacks(self) -> Mapping[str, Attack]:
        """The attack ``pgd``: gradient ascent with twice the steps, and with random numbers of the evaluation."""
        return {"pgd": self._attack}

    def _perturbed(self, samples: Tensor, labels: Tensor, batch: Batch, learning: bool = False) -> Tensor:
        """The perturbed samples; gradients flow to the perturber if it is ``learning``, or if the game is joint."""
        if self.perturber is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and (learning or self.joint)):
                return self.ball.move(samples, self.ball.squash(upcast(self._values(samples, labels))))
        loss = partial(self._summed_loss, self.classifier, labels, self.label_smoothing)
        with self.constant("classifier"), eval_mode(self.classifier):
            return self._ascent(self.ascent_steps)(loss, samples, batch)

    def _values(self, samples: Tensor, labels: Tensor) -> Tensor:
        """``(n, *shape)``: what the perturber returns."""
        assert self.perturber is not None
        key, what, shape = "game.perturber.model", "values of the data's shape", tuple(samples.shape[1:])
        return output_of(self.perturber, samples, labels, key, shape, what)

    def _attack(self, network: nn.Module, batch: Batch) -> Tensor:
        loss = partial(self._summed_loss, network, self.labels(batch), 0.0)
        return self._ascent(2 * self.ascent_steps)(loss, batch.real, batch)

    def _ascent(self, steps: int) -> ProjectedAscent:
        length = self.step_size or 2.5 * self.ball.radius / steps
        return ProjectedAscent(self.ball, steps, length, self.start == "random")

    @staticmethod
    def _summed_loss(network: nn.Module, labels: Tensor, smoothing: float, samples: Tensor) -> Tensor:
        return cross_entropy(upcast(network(samples)), labels, reduction="sum", label_smoothing=smoothing)

    @torch.no_grad()
    def _check_perturber(self, perturber: Perturber, spec: DataSpec) -> None:
        """Run the perturber once on two samples. Its mode and buffers, and the random state, are left as they were."""
        device = self.players["perturber"].parameters[0].device
        labels = torch.zeros(2, dtype=torch.int64, device=device)
        with eval_mode(perturber), torch.random.fork_rng(devices=[]):
            self._values(spec.zeros(2, device), labels)
