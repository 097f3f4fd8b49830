"""Extractors for torch-fidelity's own commands and functions."""

from __future__ import annotations

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.metrics.extractors.base import Extractor


def register(extractor: Extractor) -> str:
    """Register an extractor with torch-fidelity and return the name to give to ``calculate_metrics``.

    The name has the beginning of the weights' SHA-256, so that what torch-fidelity caches under it is of these weights.
    To register an extractor again is no error.
    """
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    class Registered(FeatureExtractorBase):
        def __init__(self, name: str, features_list: list[str], **options: object):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> Tensor:
            return torch.zeros(1, extractor.channels, 8, 8, dtype=torch.uint8)

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            # torch-fidelity makes everything RGB.
            if extractor.channels == 1:
                if (images != images[:, :1]).any():
                    raise UserError(f"{extractor.name}: takes grey images, and these are coloured")
                images = images[:, :1]
            output = extractor(images.to(extractor.device))
            return tuple(getattr(output, layer) for layer in self.features_list)

    name = f"gantrain-{extractor.label}-{extractor.weights[:16]}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, Registered)
    return name
