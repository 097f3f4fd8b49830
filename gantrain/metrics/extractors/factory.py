"""The extractors by the names that a config or a command gives them."""

from __future__ import annotations

from pathlib import Path

import torch

from gantrain.config.base import nearest
from gantrain.errors import UserError
from gantrain.metrics.extractors.base import Extractor
from gantrain.metrics.extractors.classifier import Classifier
from gantrain.metrics.extractors.inception import Inception


def make_extractor(
    features: str = "inception",
    weights: str | None = None,
    digest: str | None = None,
    device: torch.device | str = "cpu",
) -> Extractor:
    """Make the extractor that ``features`` names.

    Args:
        features: "inception", or the folder of a run whose game is classification.
        weights: for "inception", the path of its weights: see :class:`gantrain.metrics.Inception`.
        digest: for "inception", the SHA-256 of weights that are not the published ones.
        device: where the network is.

    Raises:
        UserError: the weights or the run cannot be had.
    """
    if features == "inception":
        return Inception(weights, digest, device)
    if not Path(features).is_dir():
        hint = nearest(features, ["inception"])
        raise UserError(f"features: {features!r} is neither inception nor the folder of a classifier's run{hint}")
    if weights is not None or digest is not None:
        raise UserError(f"weights: the classifier {features} has its own in its checkpoint; leave the key out")
    return Classifier.of_run(features, device)
