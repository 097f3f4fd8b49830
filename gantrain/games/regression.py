"""Regression: the game with one player that predicts a number for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from gantrain.compute.modes import eval_mode
from gantrain.compute.precision import upcast
from gantrain.data.augment import Augmentation
from gantrain.data.batch import Batch
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import Objective, Player, PredictingGame
from gantrain.games.calls import augmented, output_of
from gantrain.games.checks import require_gradient
from gantrain.games.class_losses import WithLosses
from gantrain.models.base import Classifier

_KEY = "game.regressor.model"


class Regression(PredictingGame):
    """``min_w E (f_w(x) - y)²``: one player, the regressor, and the mean squared error of its predictions.

    There are no logits and no margins, so that BiSAM's ``climb`` is refused.

    Args:
        regressor: the only player; its network maps samples ``(n, *shape)`` to predictions ``(n, 1)``. Any network that
            classifies will do: it has one output here.
        augmentations: the random changes that are made to the training samples, in this order. Default none.
        spec: the spec of the data, which the regressor must fit. None skips the check.

    Raises:
        UserError: the labels of the data are no numbers, or the regressor's output has the wrong shape.
    """

    callbacks: ClassVar[dict[str, str]] = {"evaluate": "correlation"}
    without_margins: ClassVar[tuple[str, ...]] = ("regressor",)

    def __init__(self, regressor: Classifier, augmentations: Sequence[Augmentation] = (), spec: DataSpec | None = None):
        super().__init__([Player("regressor", regressor)])
        self.regressor = regressor
        self.augmentations = tuple(augmentations)
        if spec is not None:
            self._check(spec)

    def objective(self, player: str, batch: Batch) -> Objective:
        """The mean squared error."""
        if batch.labels is None or not batch.labels.is_floating_point():
            raise UserError("game: regression needs labels that are numbers, and those of this batch are none")
        samples = augmented(batch.real, self.augmentations, batch)
        predictions, labels = upcast(self._predictions(samples)).squeeze(1), batch.labels
        losses = partial(mse_loss, predictions, labels, reduction="none")
        return WithLosses(mse_loss(predictions, labels), None, None, {}, losses)

    @torch.no_grad()
    def _check(self, spec: DataSpec) -> None:
        """Run the regressor once on two samples. Its mode and buffers, and the random state, are left as they were."""
        if not spec.numeric:
            kind = "classes" if spec.classes else "missing"
            raise UserError(
                f"game: regression needs labels that are numbers, and those of these data are {kind}; choose other data"
            )
        device = self.players["regressor"].parameters[0].device
        with eval_mode(self.regressor), torch.random.fork_rng(devices=[]):
            self._predictions(spec.zeros(2, device))

    def _predictions(self, samples: Tensor) -> Tensor:
        """``(n, 1)``."""
        predictions = output_of(self.regressor, samples, None, _KEY, (1,), "one number for each sample")
        return require_gradient(predictions, _KEY, self.regressor)
