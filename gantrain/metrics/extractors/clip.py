"""CLIP's image encoders, as torch-fidelity has them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from gantrain.errors import UserError
from gantrain.metrics.extractors.published import FeatureNetwork, resized
from gantrain.metrics.extractors.weights import Weights
from gantrain.utils.tensor_files import state_dict


class CLIP(FeatureNetwork):
    """An image encoder of CLIP with its embedding as features.

    Source: Radford et al., Learning transferable visual models from natural language supervision, ICML 2021.

    Args:
        name: torch-fidelity's name of the encoder, such as "clip-vit-b-32".
        weights: the path of the file; by default it is taken from torch.hub's folder, and downloaded where missing.
        digest: the SHA-256 of weights that are not the published ones, or its first 8 or more digits. The file then
            holds the encoder's state dict, as torch.save writes it; without it only the published file is used.
        device: where the network is.

    Raises:
        UserError: the weights cannot be had, are damaged, or are of another network.
    """

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        digest: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(name, f"CLIP {name.removeprefix('clip-')}", published_file(name), weights, digest, device)
        self.preprocessing = resized(int(self._network.resolution))  # type: ignore[arg-type]

    def _loaded(self, content: bytes, where: str) -> nn.Module:
        from torch_fidelity.feature_extractor_base import FeatureExtractorBase
        from torch_fidelity.feature_extractor_clip import FeatureExtractorCLIP, build_model

        tensors = _of_archive(content) if self.published else state_dict(content, where)

        class Encoder(FeatureExtractorCLIP):
            """torch-fidelity's extractor with tensors that are given; its own constructor opens an archive of code."""

            def __init__(self, name: str) -> None:
                FeatureExtractorBase.__init__(self, name, ["clip"])
                self.feature_extractor_internal_dtype = torch.float32
                self.model = build_model(dict(tensors), torch.float32)
                self.resolution = self.model.visual.input_resolution
                self.requires_grad_(False)

        try:
            return Encoder(self.registered)
        except (RuntimeError, KeyError, IndexError) as error:
            raise UserError(f"{where}: {len(tensors)} tensors that are not those of an encoder of CLIP") from error


def published_file(name: str) -> Weights:
    """The published file of an encoder's weights, by the name that torch-fidelity gives it in torch.hub's folder."""
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA, MODEL_URLS

    digest = MODEL_METADATA[name]["hash"]
    return Weights(
        title=f"weights of {name}",
        url=MODEL_URLS[name],
        digest=digest,
        instead="give its path as weights, or use other features",
        file=f"{name}-{digest}.pt",
    )


def _of_archive(content: bytes) -> dict[str, Tensor]:
    """The tensors of the published file. It holds TorchScript, which is code: only a file with the published SHA-256 is
    opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive: Any = torch.jit.load(io.BytesIO(content), map_location="cpu")
    return dict(archive.state_dict())
