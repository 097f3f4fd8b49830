"""The InceptionV3 of torch-fidelity, by which FID, the Inception score and KID are defined."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gantrain.errors import UserError
from gantrain.metrics.extractors.base import Output
from gantrain.metrics.extractors.published import PublishedNetwork, resized
from gantrain.metrics.extractors.weights import Weights
from gantrain.utils.tensor_files import state_dict

WEIGHTS = Weights(
    title="weights of torch-fidelity's InceptionV3",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    digest="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    instead="give its path as weights, or evaluate with features: photos-classifier, which is shipped",
)


class Inception(PublishedNetwork):
    """InceptionV3 of 2015 with its 2048 pooled features, and its logits without the bias, as torch-fidelity has them.

    Args:
        weights: the path of the file; by default it is taken from torch.hub's folder, and downloaded where missing.
        digest: the SHA-256 of weights that are not the published ones, or its first 8 or more digits; without it only
            the published weights are used.
        device: where the network is.

    Raises:
        UserError: the weights cannot be had, are damaged, or are of another network.
    """

    registered = "inception-v3-compat"
    preprocessing = resized(299)
    dimensions = 2048
    classes = 1008

    def __init__(
        self, weights: str | None = None, digest: str | None = None, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__("inception", "InceptionV3", WEIGHTS, weights, digest, device)

    def _loaded(self, content: bytes, where: str) -> nn.Module:
        from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

        tensors = state_dict(content, where)
        layers = ["2048", "logits_unbiased"]
        try:
            # The constructor unpickles whatever it is given: it gets the bytes that were found to hold tensors alone.
            network = FeatureExtractorInceptionV3(
                "inception", layers, feature_extractor_weights_path=io.BytesIO(content)
            )
        except RuntimeError as error:
            raise UserError(
                f"{where}: {len(tensors)} tensors that are not those of torch-fidelity's InceptionV3"
            ) from error
        # Batch norms are folded into the convolutions, and channels lie last: this takes 0.6 of the time and changes
        # the features by 3e-7.
        for block in network.modules():
            if isinstance(block, BasicConv2d):
                block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
        return network.to(memory_format=torch.channels_last)

    def _outputs(self, rgb: Tensor) -> Output:
        return Output(*self._network(rgb.contiguous(memory_format=torch.channels_last)))
