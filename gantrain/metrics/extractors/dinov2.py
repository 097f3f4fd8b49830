"""DINOv2's vision transformers, as torch-fidelity has them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import nn

from gantrain.errors import Notice, UserError
from gantrain.metrics.extractors.published import FeatureNetwork, resized
from gantrain.metrics.extractors.weights import Weights
from gantrain.utils.host_lock import one_at_a_time
from gantrain.utils.tensor_files import state_dict

_DIGESTS = {
    "s": "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    "b": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    "l": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    "g": "baf8467e50af277596bbbafa06887c177ee899ab46033649c383577d7e9309d3",
}
_REPOSITORY = "facebookresearch/dinov2"


class DINOv2(FeatureNetwork):
    """A vision transformer of DINOv2 with its normalised class token as features.

    Like torch-fidelity, it takes the network's code from torch.hub's folder, or from the authors' repository on GitHub.
    Source: Oquab et al., DINOv2: Learning robust visual features without supervision, TMLR 2024.

    Args:
        name: torch-fidelity's name of the network, such as "dinov2-vit-b-14".
        weights: the path of the file; by default it is taken from torch.hub's folder, and downloaded where missing.
        digest: the SHA-256 of weights that are not the published ones, or its first 8 or more digits; without it only
            the published weights are used.
        device: where the network is.

    Raises:
        UserError: the weights or the code cannot be had, are damaged, or are of another network.
    """

    preprocessing = resized(224)

    def __init__(
        self,
        name: str,
        weights: str | None = None,
        digest: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(name, f"DINOv2 {name.removeprefix('dinov2-')}", published_file(name), weights, digest, device)

    def _loaded(self, content: bytes, where: str) -> nn.Module:
        from torch_fidelity.feature_extractor_base import FeatureExtractorBase
        from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA, FeatureExtractorDinoV2

        tensors = state_dict(content, where)
        model = _architecture(MODEL_METADATA[self.registered])
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{where}: {len(tensors)} tensors that are not those of {self.registered}") from error

        class Transformer(FeatureExtractorDinoV2):
            """torch-fidelity's extractor with a model that is given; its own constructor checks no weights."""

            def __init__(self, name: str) -> None:
                FeatureExtractorBase.__init__(self, name, ["dinov2"])
                self.feature_extractor_internal_dtype = torch.float32
                self.model = model
                self.requires_grad_(False)
                self.eval()

        return Transformer(self.registered)


def published_file(name: str) -> Weights:
    """The published file of a network's weights."""
    arch = f"dinov2_vit{name.split('-')[2]}14"
    return Weights(
        title=f"weights of {name}",
        url=f"https://dl.fbaipublicfiles.com/dinov2/{arch}/{arch}_pretrain.pth",
        digest=_DIGESTS[name.split("-")[2]],
        instead="give its path as weights, or use other features",
    )


def _architecture(function: str) -> nn.Module:
    """The network with random weights, by a function of the authors' code."""
    folder = Path(torch.hub.get_dir()) / f"{_REPOSITORY.replace('/', '_')}_main"
    if not folder.exists():
        warnings.warn(Notice(f"downloading the code of DINOv2 from https://github.com/{_REPOSITORY}"), stacklevel=2)
    lock = nullcontext() if folder.exists() else one_at_a_time(folder.parent)
    try:
        with lock, _without_xformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = torch.hub.load(
                f"{_REPOSITORY}:main", function, pretrained=False, trust_repo=True, verbose=False, skip_validation=True
            )
    except Exception as error:
        reason = " ".join(f"{error}".split())[:120] or type(error).__name__
        raise UserError(
            f"DINOv2: its code cannot be had ({reason}); put a clone of https://github.com/{_REPOSITORY} at {folder}, "
            "or use other features"
        ) from error
    return network


@contextmanager
def _without_xformers() -> Iterator[None]:
    """Let the code of DINOv2 compute without xFormers, as torch-fidelity does, so that numbers do not depend on it."""
    before = os.environ.get("XFORMERS_DISABLED")
    os.environ["XFORMERS_DISABLED"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["XFORMERS_DISABLED"]
        else:
            os.environ["XFORMERS_DISABLED"] = before
