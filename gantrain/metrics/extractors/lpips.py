"""LPIPS with VGG-16: the distance in which torch-fidelity measures perceptual path length."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.metrics.extractors.base import PathDistance
from gantrain.metrics.extractors.weights import VGG16_WEIGHTS, Weights
from gantrain.utils.tensor_files import state_dict

_INSTEAD = "leave ppl out, or take features: photos-classifier, which is shipped"
FILES = (
    Weights(
        title="weights of torch-fidelity's LPIPS",
        url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-vgg16-lpips.pth",
        digest="a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        instead=_INSTEAD,
    ),
    replace(VGG16_WEIGHTS, instead=_INSTEAD),
)


class LPIPS(PathDistance):
    """torch-fidelity's LPIPS of images scaled to 64 x 64 pixels; the weights are checked before they are used.

    Source: Zhang et al., The unreasonable effectiveness of deep features as a perceptual metric, CVPR 2018.

    Args:
        device: where the network is.

    Raises:
        UserError: a file of weights cannot be had, or is damaged.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        from torch_fidelity import SampleSimilarityLPIPS

        for file in FILES:
            state_dict(file.read(), str(file.cached))
            if not file.cached.exists():
                raise UserError(f"{file.cached}: the {file.title} must lie there; the folder cannot be written")
        self.name = "LPIPS-VGG16 of torch-fidelity, images scaled to 64 x 64"
        self.label = "lpips-vgg16"
        self.device = torch.device(device)
        # torch-fidelity finds the files in the folder where they have just been checked.
        self._network = SampleSimilarityLPIPS("lpips-vgg16", sample_similarity_resize=64, verbose=False).to(self.device)

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        rgb = [x.to(self.device).expand(-1, 3, -1, -1) for x in (left, right)]
        return self._network(*rgb)
