"""VGG-16 of torchvision, by which precision and recall, density and coverage are defined."""

from __future__ import annotations

import io

import torch
from torch import nn

from gantrain.errors import UserError
from gantrain.metrics.extractors.published import FeatureNetwork, resized
from gantrain.metrics.extractors.weights import VGG16_WEIGHTS
from gantrain.utils.tensor_files import state_dict


class VGG16(FeatureNetwork):
    """VGG-16 with the 4096 features of its second dense layer after the ReLU, as torch-fidelity has them.

    Args:
        weights: the path of the file; by default it is taken from torch.hub's folder, and downloaded where missing.
        digest: the SHA-256 of weights that are not the published ones, or its first 8 or more digits; without it only
            the published weights are used.
        device: where the network is.

    Raises:
        UserError: the weights cannot be had, are damaged, or are of another network.
    """

    preprocessing = resized(224)

    def __init__(
        self, weights: str | None = None, digest: str | None = None, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__("vgg16", "VGG-16", VGG16_WEIGHTS, weights, digest, device)

    def _loaded(self, content: bytes, where: str) -> nn.Module:
        from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

        tensors = state_dict(content, where)
        try:
            # The constructor unpickles whatever it is given: it gets the bytes that were found to hold tensors alone.
            return FeatureExtractorVGG16("vgg16", ["fc2_relu"], feature_extractor_weights_path=io.BytesIO(content))
        except RuntimeError as error:
            raise UserError(f"{where}: {len(tensors)} tensors that are not those of torchvision's VGG-16") from error
