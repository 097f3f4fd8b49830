"""The extractors by the names that a config or a command gives them."""

from __future__ import annotations

from pathlib import Path

import torch

from gantrain.config import shipped
from gantrain.config.paths import nothing_at
from gantrain.errors import NotFound, UserError
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.extractors.classifier import Classifier
from gantrain.metrics.extractors.inception import Inception


def make_extractor(
    features: str = "inception",
    weights: str | None = None,
    digest: str | None = None,
    device: torch.device | str = "cpu",
    trust: bool = False,
) -> Extractor:
    """Make the extractor that ``features`` names.

    Args:
        features: "inception", or the folder of a run whose game is classification. A bare name, such as
            ``my_classifier``, is searched in the current directory, then in ``checkpoints`` there.
            ``photos-classifier``, for photographs, and ``digits-classifier`` are shipped.
        weights: for "inception", the path of its weights: see :class:`gantrain.metrics.Inception`.
        digest: for "inception", the SHA-256 of weights that are not the published ones.
        device: where the network is.
        trust: whether a run is opened though its config names code outside gantrain and it was not trained here.

    Raises:
        UserError: the weights or the run cannot be had, or the run is not trusted.
    """
    if features == "inception":
        return Inception(weights, digest, device)
    folder = shipped.find_run(features)
    if shipped.is_missing(folder):
        known = ["inception", *shipped.CLASSIFIERS, *(Path(run).name for run in shipped.CLASSIFIERS)]
        bare = len(Path(features).parts) == 1
        others = [Path.cwd() / shipped.RUNS, shipped.ROOT / shipped.RUNS] if bare else [shipped.ROOT]
        nothing = nothing_at(features, known, others)
        raise NotFound(f"features: neither inception nor the folder of a classifier's run: {nothing}")
    if weights is not None or digest is not None:
        raise UserError(f"weights: the classifier {features} has its own in its checkpoint; leave the key out")
    return Classifier.of_run(folder, device, trust)
