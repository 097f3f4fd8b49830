"""Domain-adversarial training: a classifier whose features do not tell one data set from another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from gantrain.compute.modes import eval_mode
from gantrain.compute.precision import upcast
from gantrain.config.user_code import UserCode, name_of
from gantrain.data.adopted import as_data_set
from gantrain.data.augment import Augmentation
from gantrain.data.batch import Batch
from gantrain.data.dataset import DataSet, seen_in_training
from gantrain.data.spec import DataSpec
from gantrain.data.storage import on_device, place_samples
from gantrain.errors import UserError
from gantrain.games.base import ClassifyingGame, Objective, Player
from gantrain.games.calls import augmented, output_of
from gantrain.games.checks import require_classes, require_output
from gantrain.games.class_losses import WithLosses, correct
from gantrain.models.base import Classifier, Discriminator
from gantrain.models.last_linear import FeaturesAndHead, last_linear

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, NonNegativeInt


class DomainAdversarial(ClassifyingGame):
    """A classifier learns from a labelled source; a domain classifier tells its features of source and target apart.

    With the features f, the label head h and the domain classifier d, whose positive logits say "source", the domain
    classifier minimises ``L_d = E_source softplus(-d(f(x))) + E_target softplus(d(f(x)))``, and the classifier, which
    is f and h, ``E_source CE(h(f(x)), y) - weight L_d``. This is the game behind the gradient reversal layer. The
    labels of the target are never used. Source: Ganin et al., Domain-adversarial training of neural networks, JMLR
    2016, arXiv 1505.07818, eqs. 9-11.

    The features are the input of the classifier's last linear layer. Source and target samples pass through the
    classifier as one batch. The domain classifier moves first.

    Args:
        classifier: the player that classifies; its network maps samples ``(n, *shape)`` to logits ``(n, classes)`` and
            ends in a linear layer.
        domain_classifier: the player that tells features of the source from those of the target; its network maps
            features ``(n, d)`` to logits ``(n,)``.
        target_data: the target's data set, of which each batch takes as many samples as of the training data.
        weight: the weight of the domain classifier's loss in the classifier's, the paper's lambda. Default 1.
        ramp: the number of training steps over which the weight rises as in the paper's section 5.2,
            ``2 / (1 + exp(-10 step / ramp)) - 1`` times its value. Default 0: the weight is constant.
        augmentations: the random changes that are made to source and target samples. Default none.
        spec: the spec of the data, which the networks and the target must fit. None skips the check.

    Raises:
        UserError: the data have no labels, the target has another shape, or a network's output has the wrong shape.
    """

    callbacks: ClassVar[dict[str, str]] = {"evaluate": "accuracy"}

    def __init__(
        self,
        classifier: Classifier,
        domain_classifier: Discriminator,
        target_data: DataSet,
        weight: NonNegativeFloat = 1.0,
        ramp: NonNegativeInt = 0,
        augmentations: Sequence[Augmentation] = (),
        spec: DataSpec | None = None,
    ):
        device = next(classifier.parameters()).device
        target_data = as_data_set(target_data)
        if spec is not None:
            _check_data(spec, target_data.spec)
        samples = target_data.decode(target_data.samples[:2].to(device))
        self.classifier = FeaturesAndHead(classifier, _last_linear(classifier, samples))
        self.domain_classifier = domain_classifier
        super().__init__([Player("domain_classifier", domain_classifier), Player("classifier", self.classifier)])
        self.target_data = target_data
        self.weight = weight
        self.ramp = ramp
        self.augmentations = tuple(augmentations)
        place_samples(target_data, device=device)
        self._check(samples, spec)

    @property
    def evaluated_player(self) -> str:
        return "classifier"

    @classmethod
    def spec_for_network(
        cls, player: str, spec: DataSpec, arguments: Mapping[str, Any], networks: Mapping[str, nn.Module]
    ) -> DataSpec:
        """The spec of the data; for the domain classifier that of the classifier's features."""
        if player != "domain_classifier":
            return spec
        classifier = networks["classifier"]
        samples = spec.zeros(2, next(classifier.parameters()).device)
        return DataSpec((_last_linear(classifier, samples).in_features,))

    def objective(self, player: str, batch: Batch) -> Objective:
        """The player's loss on the source batch and as many target samples.

        The logits are those of the player's own classification: of the labels of source samples, or of the domains.
        The score ``accuracy`` is that of the labels on source samples, ``domain_accuracy`` that of the domains.
        """
        if batch.labels is None:
            raise UserError("game: domain_adversarial needs labels, and this batch has none; choose labelled data")
        samples = torch.cat([self._augmented(batch.real, batch), self._augmented(self._target(batch), batch, "target")])
        learning = player == "classifier"
        with nullcontext() if learning or self.joint else torch.no_grad():
            logits, features = self._classified(samples)
        with self.constant("domain_classifier") if learning else nullcontext():
            domains = upcast(self._domains(features))
        n = len(batch)
        loss = softplus(-domains[:n]).mean() + softplus(domains[n:]).mean()
        is_source = (torch.arange(len(samples), device=samples.device) < n).long()
        scores = {"domain_accuracy": ((domains > 0).long() == is_source).float().detach()}
        if not learning:
            return WithLosses(loss, domains, is_source, scores, lambda: _domain_losses(domains))
        logits = upcast(logits[:n])
        scores["accuracy"] = correct(logits, batch.labels)
        weight, labels = self._weight(batch), batch.labels

        def losses() -> Tensor:
            return cross_entropy(logits, labels, reduction="none") - weight * _domain_losses(domains)

        return WithLosses(cross_entropy(logits, labels) - weight * loss, logits, labels, scores, losses)

    def _classified(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """The logits ``(n, classes)`` and the features ``(n, d)``."""
        with UserCode("game.classifier.model", self.classifier.features):
            logits, features = self.classifier(samples, with_features=True)
        return logits, features

    def _domains(self, features: Tensor) -> Tensor:
        """``(n,)``: the logits of the domain classifier."""
        key, what = "game.domain_classifier.model", "one logit per sample"
        return output_of(self.domain_classifier, features, None, key, (), what)

    def _weight(self, batch: Batch) -> float:
        """The weight at the step of the batch; without a step the whole weight."""
        if batch.step is None or batch.step >= self.ramp:
            return self.weight
        return self.weight * (2 / (1 + math.exp(-10 * batch.step / self.ramp)) - 1)

    def _target(self, batch: Batch) -> Tensor:
        """As many samples of the target as the batch has."""
        samples = self.target_data.samples
        rows = batch.rows("target", len(samples))
        if isinstance(samples, Tensor):
            rows = on_device(rows, samples.device)
        chosen = seen_in_training(samples[rows], lambda count: batch.under("target").uniform("window", count))
        return self.target_data.decode(on_device(chosen, batch.real.device))

    def _augmented(self, samples: Tensor, batch: Batch, stream: str = "source") -> Tensor:
        return augmented(samples, self.augmentations, batch.under(stream))

    @torch.no_grad()
    def _check(self, samples: Tensor, spec: DataSpec | None) -> None:
        """Run both networks once on two samples. Modes and buffers, and the random state, are left as they were."""
        with eval_mode(self.classifier), eval_mode(self.domain_classifier), torch.random.fork_rng(devices=[]):
            logits, features = self._classified(samples)
            self._domains(features)
        key, shape = "game.classifier.model", (len(samples), None if spec is None else spec.classes)
        require_output(logits, shape, samples, key, self.classifier.features, "one logit per class for each sample")


def _domain_losses(domains: Tensor) -> Tensor:
    """The loss of each pair of a source and a target sample, from the logits of both halves."""
    source, target = domains.chunk(2)
    return softplus(-source) + softplus(target)


def _check_data(source: DataSpec, target: DataSpec) -> None:
    require_classes(source, "domain_adversarial")
    if (source.shape, source.vocabulary) != (target.shape, target.vocabulary):
        raise UserError(
            f"game.target_data: samples of shape {target.shape}, and the training data have {source.shape}; choose "
            "data of the same shape"
        )


def _last_linear(classifier: nn.Module, samples: Tensor) -> nn.Linear:
    with UserCode("game.classifier.model", classifier):
        last = last_linear(classifier, samples)
    if last is None:
        raise UserError(
            f"game.classifier.model: {name_of(classifier)} does not end in a linear layer, whose input would be the "
            "features; choose another network"
        )
    return last
