"""The extractors by the names that a config or a command gives them."""

from __future__ import annotations

import torch

from gantrain.config import shipped
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
    trust: bool = False,
) -> Extractor:
    """Make the extractor that ``features`` names.

    Args:
        features: "inception", or the folder of a run whose game is classification. ``checkpoints/digits-classifier``
            is shipped: it is taken from the working directory if it is there, and else from what is installed.
        weights: for "inception", the path of its weights: see :class:`gantrain.metrics.Inception`.
        digest: for "inception", the SHA-256 of weights that are not the published ones.
        device: where the network is.
        trust: whether a run is opened though its config names code outside gantrain and it was not trained here.

    Raises:
        UserError: the weights or the run cannot be had, or the run is not trusted.
    """
    if features == "inception":
        return Inception(weights, digest, device)
    folder = shipped.find(features)
    if not folder.is_dir():
        hint = f"{shipped.places(features)}{nearest(features, ['inception', *shipped.FOLDERS[1:]])}"
        raise UserError(f"features: {features!r} is neither inception nor the folder of a classifier's run{hint}")
    if weights is not None or digest is not None:
        raise UserError(f"weights: the classifier {features} has its own in its checkpoint; leave the key out")
    return Classifier.of_run(folder, device, trust)
