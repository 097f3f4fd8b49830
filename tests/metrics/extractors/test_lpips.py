"""LPIPS from files of the right layout with random values."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from later import Later
from torch import nn

from gantrain.errors import UserError
from gantrain.metrics.extractors import lpips

THEIRS = "torch_fidelity.sample_similarity_lpips"
torchvision, theirs = Later("torchvision"), Later(THEIRS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """torch.hub's folder with both files, whose digests count as the published ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 128, 256, 512, 512))}
        features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
        for module in features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
    contents = []
    for state in (layers, {"features.0.bias": features[0].bias.detach()}):
        file = io.BytesIO()
        torch.save(state, file)
        contents.append(file.getvalue())
    files = tuple(
        replace(file, digest=hashlib.sha256(content).hexdigest())
        for file, content in zip(lpips.FILES, contents, strict=True)
    )
    for file, content in zip(files, contents, strict=True):
        file.cached.write_bytes(content)
    monkeypatch.setattr(lpips, "FILES", files)
    # The whole of VGG-16 is half a gigabyte; the distance uses these layers of it.
    monkeypatch.setattr(f"{THEIRS}.torchvision_load_pretrained_vgg16", lambda: SimpleNamespace(features=features))
    return folder


def test_it_is_torch_fidelitys_and_takes_grey_images_and_levels_between(folder):
    distance = lpips.LPIPS()
    left, right = (255 * torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(2))
    found = distance(left, right)
    reference = theirs.SampleSimilarityLPIPS("reference", sample_similarity_resize=64)
    assert torch.equal(found, reference(left.expand(-1, 3, -1, -1), right.expand(-1, 3, -1, -1)))
    assert found.shape == (3,) and (found > 1e-3).all() and distance(left, left).max() == 0
    assert not torch.equal(found, distance(left.round(), right))
    assert distance.label == "lpips-vgg16"


@pytest.mark.parametrize("index", [0, 1])
def test_a_damaged_file_is_refused(folder, index):
    path = lpips.FILES[index].cached
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=f"{path.name}: damaged, or not the {lpips.FILES[index].title}"):
        lpips.LPIPS()
