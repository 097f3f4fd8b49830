"""Classification: the game with one player, in which sharpness-aware minimisation was first studied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gantrain.compute.modes import eval_mode
from gantrain.compute.precision import upcast
from gantrain.data.batch import Batch
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import Game, Objective, Player


class Classification(Game):
    """``min_w E CE(f_w(x), y)``: one player, the classifier, and the cross-entropy of its logits.

    Args:
        classifier: ``(n, *shape)`` to logits ``(n, classes)``.
        label_smoothing: s: the target distribution has ``1 - s`` on the label and ``s`` spread evenly over all classes
            (Szegedy et al., Rethinking the Inception architecture, CVPR 2016, section 7).
        augmentations: ``(samples, batch) -> samples``, applied to training batches in turn.
        spec: the data, which the classifier must fit.

    Raises:
        UserError: the data have no labels, or the classifier's output has the wrong shape.
    """

    def __init__(
        self,
        classifier: nn.Module,
        label_smoothing: float = 0.0,
        augmentations: Sequence[Callable[[Tensor, Batch], Tensor]] = (),
        spec: DataSpec | None = None,
    ):
        super().__init__([Player("classifier", classifier)])
        self.classifier = classifier
        self.label_smoothing = label_smoothing
        self.augmentations = tuple(augmentations)
        if spec is not None:
            self._check(spec)

    def objective(self, player: str, batch: Batch) -> Objective:
        """The smoothed cross-entropy, and whether each sample is classified correctly as score ``accuracy``."""
        samples = batch.real
        for augmentation in self.augmentations:
            samples = augmentation(samples, batch)
        logits = upcast(self.classifier(samples))
        loss = cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
        return Objective(loss, logits, batch.labels, {"accuracy": correct(logits, batch.labels)})

    @torch.no_grad()
    def _check(self, spec: DataSpec) -> None:
        """Run the classifier once on two samples, leaving no trace."""
        if not spec.classes:
            raise UserError("game: classification needs labels, and these data have none")
        device = self.players["classifier"].parameters[0].device
        with eval_mode(self.classifier), torch.random.fork_rng(devices=[]):
            logits = self.classifier(spec.zeros(2, device))
        if tuple(logits.shape) != (2, spec.classes):
            raise UserError(
                f"classifier {type(self.classifier).__name__}: expected one logit per class, shape (2, {spec.classes}) "
                f"for two samples, got {tuple(logits.shape)}"
            )


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """``(n,)`` float32: 1 where the largest logit is the label's."""
    return (logits.argmax(dim=1) == labels).float()
