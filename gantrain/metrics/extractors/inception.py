"""The InceptionV3 of torch-fidelity, by which FID, the Inception score and KID are defined."""

from __future__ import annotations

import io
from functools import cached_property
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gantrain.errors import UserError
from gantrain.metrics.extractors.base import Extractor, Output, PathDistance
from gantrain.metrics.extractors.lpips import LPIPS
from gantrain.metrics.extractors.weights import Weights, sha256, state_dict

WEIGHTS = Weights(
    title="weights of torch-fidelity's InceptionV3",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    digest="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    instead="give its path as weights, or evaluate with features: photos-classifier, which is shipped",
)


class Inception(Extractor):
    """InceptionV3 of 2015 with its 2048 pooled features, and its logits without the bias, as torch-fidelity has them.

    Grey images are repeated to three channels. Weights other than the published ones make other metrics: they carry
    ``inception-`` and the beginning of the weights' SHA-256 in their names.

    Args:
        weights: the path of the file; by default it is taken from torch.hub's folder, and downloaded where missing.
        digest: the SHA-256 of weights that are not the published ones, or its first 8 or more digits; without it only
            the published weights are used.
        device: where the network is.

    Raises:
        UserError: the weights cannot be had, are damaged, or are of another network.
    """

    dimensions = 2048
    classes = 1008
    channels = 3

    def __init__(
        self, weights: str | None = None, digest: str | None = None, device: torch.device | str = "cpu"
    ) -> None:
        content = WEIGHTS.read(weights, digest)
        self.weights = sha256(content)
        genuine = self.weights.startswith(WEIGHTS.digest)
        self.label = None if genuine else f"inception-{self.weights[:8]}"
        self.name = "InceptionV3" if genuine else f"InceptionV3 with the weights {self.weights[:8]}"
        self.device = torch.device(device)
        self.identity = (
            f"inception-v3-compat {self.weights} torch-fidelity {version('torch-fidelity')} on {self.device.type}"
        )
        self.preprocessing = (
            "resized to 299 x 299 by torch-fidelity's bilinear interpolation compatible with TensorFlow 1.x, "
            "not antialiased"
        )
        self._network = _loaded(content, str(weights or WEIGHTS.cached)).to(self.device)

    def require_shape(self, shape: tuple[int, ...], source: str) -> None:
        if shape[0] not in (1, 3):
            raise UserError(f"{source}: images of {shape[0]} channels, and {self.name} takes grey ones and RGB")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Output:
        rgb = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return Output(*self._network(rgb.contiguous(memory_format=torch.channels_last)))

    @cached_property
    def path_distance(self) -> PathDistance:
        return LPIPS(self.device)


def _loaded(content: bytes, where: str) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d, FeatureExtractorInceptionV3

    tensors = state_dict(content, where)
    layers = ["2048", "logits_unbiased"]
    with torch.random.fork_rng(devices=[]):  # the constructor draws random weights before it loads the file
        try:
            # The constructor unpickles whatever it is given: it gets the bytes that were found to hold tensors alone.
            network = FeatureExtractorInceptionV3(
                "inception", layers, feature_extractor_weights_path=io.BytesIO(content)
            )
        except RuntimeError as error:
            raise UserError(
                f"{where}: {len(tensors)} tensors that are not those of torch-fidelity's InceptionV3"
            ) from error
    # Batch norms are folded into the convolutions, and channels lie last: this takes 0.6 of the time and changes the
    # features by 3e-7.
    for block in network.modules():
        if isinstance(block, BasicConv2d):
            block.conv, block.bn = fuse_conv_bn_eval(block.conv, block.bn), nn.Identity()
    return network.to(memory_format=torch.channels_last)
