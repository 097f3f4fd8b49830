"""Classification: the game with one player, in which sharpness-aware minimisation was first studied."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from gantrain.compute.modes import eval_mode
from gantrain.compute.precision import upcast
from gantrain.data.augment import Augmentation
from gantrain.data.batch import Batch
from gantrain.data.channel_norm import ChannelNorm
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import ClassifyingGame, Objective, Player
from gantrain.games.calls import augmented, output_of
from gantrain.games.checks import require_classes, require_gradient
from gantrain.games.class_losses import class_loss, correct
from gantrain.models.base import Classifier

if TYPE_CHECKING:
    from gantrain.config.types import FractionBelowOne


class Classification(ClassifyingGame):
    """``min_w E L(f_w(x), y)``: one player, the classifier, and the cross-entropy or the hinge loss of its logits.

    Args:
        classifier: the only player; its network maps samples ``(n, *shape)`` to logits ``(n, classes)``.
        label_smoothing: the share s of the target distribution that is spread evenly over all classes; the label gets
            ``1 - s`` (Szegedy et al., Rethinking the Inception architecture, CVPR 2016, section 7). Default 0.
        standardise: whether each channel of the samples is shifted and scaled to mean 0 and standard deviation 1 over
            the training data before the classifier sees it. Otherwise the classifier sees images in [-1, 1]. Default
            false.
        augmentations: the random changes that are made to the training samples, in this order. Default none.
        spec: the spec of the data, which the classifier must fit. None skips the check.
        loss: the loss of the logits s: the cross-entropy (cross_entropy, the default), or ``max(0, 1 + max_{j != y} s_j
            - s_y)``, the hinge loss of many classes of Crammer and Singer (hinge).

    Raises:
        UserError: the data have no labels, the classifier's output has the wrong shape, ``standardise`` is set for data
            that are tokens, or labels are smoothed for the hinge loss.

    Examples:
        >>> from gantrain import data, models
        >>> digits = data.Digits()
        >>> game = Classification(models.ConvClassifier(digits.spec), label_smoothing=0.1)
        >>> objective = game.objective("classifier", data.Batches(digits, batch_size=8, seed=0)(0, step=0))
        >>> objective.logits.shape
        torch.Size([8, 10])
    """

    callbacks: ClassVar[dict[str, str]] = {"evaluate": "accuracy"}

    def __init__(
        self,
        classifier: Classifier,
        label_smoothing: FractionBelowOne = 0.0,
        standardise: bool = False,
        augmentations: Sequence[Augmentation] = (),
        spec: DataSpec | None = None,
        loss: Literal["cross_entropy", "hinge"] = "cross_entropy",
    ):
        if label_smoothing and loss == "hinge":
            raise UserError("game.label_smoothing: the hinge loss has no target distribution; set it to 0")
        network: nn.Module = classifier
        self.channel_norm: ChannelNorm | None = None
        if standardise:
            if spec is None or spec.vocabulary:
                raise UserError("game.standardise: these data are tokens, not numbers; set it to false")
            channels, device = spec.shape[0], next(classifier.parameters()).device
            self.channel_norm = ChannelNorm(torch.zeros(channels), torch.ones(channels)).to(device)
            network = nn.Sequential(OrderedDict(standardise=self.channel_norm, network=classifier))
        super().__init__([Player("classifier", network)])
        self.classifier = network
        self.label_smoothing = label_smoothing
        self.loss = loss
        self.augmentations = tuple(augmentations)
        self.spec = spec
        if spec is not None:
            self._check(spec)

    def objective(self, player: str, batch: Batch) -> Objective:
        """The loss. The score ``accuracy`` is 1 for each sample that is classified correctly."""
        return self.classified(self.augmented(batch), self.labels(batch))

    def augmented(self, batch: Batch) -> Tensor:
        """The samples of the batch after the augmentations."""
        return augmented(batch.real, self.augmentations, batch)

    @staticmethod
    def labels(batch: Batch) -> Tensor:
        """The labels of the batch.

        Raises:
            UserError: the batch has no labels.
        """
        if batch.labels is None:
            raise UserError("game: classification needs labels, and this batch has none; choose labelled data")
        return batch.labels

    def classified(self, samples: Tensor, labels: Tensor) -> Objective:
        """The objective on given samples and labels."""
        logits = upcast(self._logits(samples))
        return _Classified(partial(class_loss, self.loss, logits, labels, self.label_smoothing), logits, labels)

    @torch.no_grad()
    def measure(self, data: DataSet) -> None:
        """Measure the mean and standard deviation of each channel, if samples are standardised."""
        if self.channel_norm is not None:
            self.channel_norm.load_state_dict(ChannelNorm.of(data).state_dict())

    @torch.no_grad()
    def _check(self, spec: DataSpec) -> None:
        """Run the classifier once on two samples. Its mode and buffers, and the random state, are left as they were."""
        require_classes(spec, "classification")
        device = self.players["classifier"].parameters[0].device
        with eval_mode(self.classifier), torch.random.fork_rng(devices=[]):
            self._logits(spec.zeros(2, device))

    def _logits(self, samples: Tensor) -> Tensor:
        """``(n, classes)``."""
        key, what = "game.classifier.model", "one logit per class for each sample"
        logits = output_of(self.classifier, samples, None, key, (self.spec.classes if self.spec else None,), what)
        return require_gradient(logits, key, self.classifier)


class _Classified(Objective):
    """An objective whose accuracy is computed when it is asked for, which only steps that are logged do. So are the
    losses of the samples, for which few oracles ask."""

    def __init__(self, loss: Callable[..., Tensor], logits: Tensor, labels: Tensor):
        self.loss, self.logits, self.targets = loss(), logits, labels
        self._loss = loss

    @cached_property
    def losses(self) -> Tensor:  # type: ignore[override]
        return self._loss(reduction="none")

    @cached_property
    def scores(self) -> dict[str, Tensor]:  # type: ignore[override]
        assert self.logits is not None and self.targets is not None
        return {"accuracy": correct(self.logits, self.targets)}
