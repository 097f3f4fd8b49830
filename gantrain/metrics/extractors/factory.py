"""The extractors by the names that a config or a command gives them."""

from __future__ import annotations

from pathlib import Path

import torch

from gantrain.config import shipped
from gantrain.config.features import DINOV2, PUBLISHED, PublishedNetwork
from gantrain.config.paths import nothing_at
from gantrain.errors import NotFound, UserError
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.extractors.classifier import Classifier
from gantrain.metrics.extractors.clip import CLIP
from gantrain.metrics.extractors.dinov2 import DINOv2
from gantrain.metrics.extractors.inception import Inception
from gantrain.metrics.extractors.vgg16 import VGG16
from gantrain.utils.kept import kept


def make_extractor(
    features: str = "inception",
    weights: str | None = None,
    digest: str | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> Extractor:
    """Make the extractor that ``features`` names.

    Args:
        features: a published network, which is "inception", "vgg16", or one of DINOv2 and CLIP by torch-fidelity's
            name, or the folder of a run whose game is classification. A bare name, such as ``my_classifier``, is
            searched in the current directory, then in ``checkpoints`` there. ``photos-classifier``
            and ``digits-classifier`` are shipped.
        weights: for a published network, the path of its weights: see :class:`gantrain.metrics.Inception`.
        digest: for a published network, the SHA-256 of weights that are not the published ones.
        device: where the network is.
        trust: whether a run is opened though its config names code outside gantrain and it was not trained here.

    Raises:
        UserError: the weights or the run cannot be had, or the run is not trusted.
    """
    if features in PUBLISHED:
        return _published(features, weights, digest, device)
    folder = shipped.find_run(features)
    if shipped.is_missing(folder):
        known = [*PUBLISHED, *shipped.CLASSIFIERS, *(Path(run).name for run in shipped.CLASSIFIERS)]
        bare = len(Path(features).parts) == 1
        others = [Path.cwd() / shipped.RUNS, shipped.ROOT / shipped.RUNS] if bare else [shipped.ROOT]
        nothing = nothing_at(features, known, others)
        raise NotFound(
            f"features: neither inception nor another published network nor the folder of a classifier's run: {nothing}"
        )
    if weights is not None or digest is not None:
        raise UserError(f"weights: the classifier {features} has its own in its checkpoint; leave the key out")
    return Classifier.of_run(folder, device, trust)


class Extractors:
    """Makes extractors, each of them once, so that metrics with the same features share one.

    A process that trains several runs keeps them for the next run.

    Args:
        device: where the networks are.
        trust: as in :func:`make_extractor`.
    """

    def __init__(self, device: torch.device | str = "cpu", trust: bool = False):
        self._device, self._trust = device, trust
        self._made: dict[tuple[str, str | None, str | None], Extractor] = {}

    def make(self, features: str | PublishedNetwork) -> Extractor:
        """The extractor that a config describes: by a name, by the path of a run, or with weights of its own."""
        name, weights, digest = (
            (features, None, None) if isinstance(features, str) else (features.name, features.weights, features.digest)
        )
        key = (name, weights, digest)
        if key not in self._made:
            self._made[key] = kept(
                f"features {name}",
                (key, str(self._device), self._trust),
                lambda: make_extractor(name, weights, digest, self._device, self._trust),
            )
        return self._made[key]


def _published(name: str, weights: str | None, digest: str | None, device: torch.device | str) -> Extractor:
    if name == "inception":
        return Inception(weights, digest, device)
    if name == "vgg16":
        return VGG16(weights, digest, device)
    return (DINOv2 if name in DINOV2 else CLIP)(name, weights, digest, device)
