"""VGG-16, CLIP and DINOv2, with random weights in files of the published layouts; the networks are small."""

from __future__ import annotations

import hashlib
import io
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from image_sets import DIGITS, images, written
from later import Later
from torch import nn

from gantrain.errors import UserError
from gantrain.metrics import CLIP, VGG16, DINOv2, Options, evaluate, make_extractor, open_images
from gantrain.metrics.extractors import clip, dinov2, vgg16

torch_fidelity, torchvision = Later("torch_fidelity"), Later("torchvision")
RGB = torch.randint(0, 256, (2, 3, 24, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch) -> Path:
    """An empty folder of torch.hub, on a machine without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def refuse(*arguments, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", refuse)
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "torch" / "hub"


def saved(tensors, path: Path) -> str:
    """Write the tensors; returns the SHA-256 of the file."""
    file = io.BytesIO()
    torch.save(tensors, file)
    path.write_bytes(file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()


def small_vgg(**options) -> nn.Module:
    from torchvision.models import VGG

    torch.manual_seed(0)
    network = VGG(nn.Sequential(nn.Conv2d(3, 4, 32, 32), nn.ReLU()), num_classes=2, init_weights=False)
    network.classifier = nn.Sequential(
        *(nn.Linear(4 * 49, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 2))
    )
    return network


@pytest.fixture
def vgg(hub, monkeypatch) -> Path:
    """The path of VGG-16's weights in torch.hub's folder."""
    monkeypatch.setattr(torchvision.models, "vgg16", small_vgg)
    path = hub / "checkpoints" / "vgg16-397923af.pth"
    digest = saved(small_vgg().state_dict(), path)
    monkeypatch.setattr(vgg16, "VGG16_WEIGHTS", replace(vgg16.VGG16_WEIGHTS, digest=digest))
    return path


def test_precision_and_recall_of_two_folders_are_by_default_those_of_fidelity(vgg, tmp_path):
    fakes, reals = DIGITS.samples[:20], DIGITS.samples[12:40]
    folders = [written(tmp_path / name, x) for name, x in (("fake", fakes), ("real", reals))]
    theirs = torch_fidelity.calculate_metrics(
        input1=str(folders[0]), input2=str(folders[1]), prc=True, cuda=False, cache=False, verbose=False,
        feature_extractor_weights_path=str(vgg),
    )  # fmt: skip
    before = torch.get_rng_state()
    ours = evaluate(*map(open_images, folders), metrics=["prc", "prdc"])
    assert torch.equal(before, torch.get_rng_state())
    assert list(ours.values) == ["precision", "recall", "density", "coverage"]
    assert (ours["precision"], ours["recall"]) == (theirs["precision"], theirs["recall"])
    assert 0.3 < ours["precision"] < 1
    assert ours.about["extractor"] == "VGG-16" and "224 x 224" in ours.about["preprocessing"]


@pytest.mark.slow
def test_other_weights_and_other_metrics_carry_a_label(vgg, tmp_path):
    with torch.no_grad():
        digest = saved({name: x * 1.1 for name, x in small_vgg().state_dict().items()}, tmp_path / "other.pth")
    other = VGG16(str(tmp_path / "other.pth"), digest)
    label = f"vgg16-{digest[:8]}"
    real = images(DIGITS.samples[:20])
    for extractor, names in (
        (other, [f"frechet_distance[{label}]", f"precision[{label}]", f"recall[{label}]"]),
        (make_extractor("vgg16"), ["frechet_distance[vgg16]", "precision", "recall"]),
    ):
        assert list(evaluate(images(DIGITS.samples[20:40]), real, extractor, ["fid", "prc"]).values) == names
    with pytest.raises(UserError, match="isc: needs the probabilities of classes, and VGG-16 gives features alone"):
        evaluate(real, None, make_extractor("vgg16"), ["isc"], options=Options(splits=2))
    saved({"weight": torch.ones(1)}, vgg)
    with pytest.raises(UserError, match="vgg16-397923af.pth: damaged, or not the weights of torchvision's VGG-16"):
        VGG16()


def clip_tensors() -> dict[str, torch.Tensor]:
    """The layout of an encoder ViT: 2 layers of width 64, one head, 32 pixels in patches of 16, 8 outputs."""
    from torch_fidelity.feature_extractor_clip import CLIPVisual

    torch.manual_seed(0)
    tensors = CLIPVisual(8, 32, 2, 64, 16).state_dict()
    beside = {"text_projection": torch.zeros(5, 8), "logit_scale": torch.ones(()), "ln_final.weight": torch.ones(5)}
    return {name: torch.randn_like(x) * 0.1 for name, x in tensors.items()} | beside


class Archive(nn.Module):
    """What the authors of CLIP publish: a module whose state dict has dotted names."""

    def __init__(self, tensors):
        super().__init__()
        for name, tensor in tensors.items():
            *path, last = name.split(".")
            place = self
            for part in path:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = getattr(place, part)
            place.register_buffer(last, tensor)

    def forward(self, x):
        return x


def test_clip_is_torch_fidelitys(hub, tmp_path, monkeypatch):
    tensors = clip_tensors()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Archive(tensors)), file)
    published = clip.published_file("clip-vit-b-32")
    own = replace(published, digest=hashlib.sha256(file.getvalue()).hexdigest())
    published.cached.write_bytes(file.getvalue())
    with pytest.raises(UserError, match="damaged, or not the weights of clip-vit-b-32"):
        CLIP("clip-vit-b-32")
    monkeypatch.setattr(clip, "published_file", lambda name: own)
    found = make_extractor("clip-vit-b-32")
    theirs = torch_fidelity.feature_extractor_clip.FeatureExtractorCLIP(
        "clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(published.cached)
    )
    assert torch.equal(found(RGB).features, theirs(RGB)[0]) and found.dimensions == 8
    assert found.label == "clip-vit-b-32" and "32 x 32" in found.preprocessing
    # Weights of one's own are tensors, and not an archive, which is code.
    digest = saved(tensors, tmp_path / "own.pth")
    other = CLIP("clip-vit-b-32", str(tmp_path / "own.pth"), digest)
    assert torch.equal(other(RGB).features, found(RGB).features) and other.label == f"clip-vit-b-32-{digest[:8]}"
    (tmp_path / "archive.pt").write_bytes(file.getvalue() + b"\0")
    changed = hashlib.sha256(file.getvalue() + b"\0").hexdigest()
    with pytest.raises(UserError, match="archive.pt: "):
        CLIP("clip-vit-b-32", str(tmp_path / "archive.pt"), changed)


CODE = """
import os
import torch
dependencies = ["torch"]
def dinov2_vits14(pretrained=True):
    assert not pretrained and os.environ["XFORMERS_DISABLED"] == "1"
    return torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten(), torch.nn.Linear(48, 6))
"""


def test_dinov2_is_the_code_in_torch_hubs_folder_with_weights_that_are_checked(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("XFORMERS_DISABLED", raising=False)
    tensors = {"2.weight": torch.randn(6, 48), "2.bias": torch.randn(6)}
    digest = saved(tensors, tmp_path / "own.pth")
    with pytest.raises(UserError, match="DINOv2: its code cannot be had .*; put a clone of https://.* at .*_main, or"):
        DINOv2("dinov2-vit-s-14", str(tmp_path / "own.pth"), digest)
    (hub / "facebookresearch_dinov2_main").mkdir()
    (hub / "facebookresearch_dinov2_main" / "hubconf.py").write_text(CODE)
    found = DINOv2("dinov2-vit-s-14", str(tmp_path / "own.pth"), digest)
    expected = torch_fidelity.interpolate_compat_tensorflow.interpolate_bilinear_2d_like_tensorflow1x(
        RGB.float(), size=(224, 224), align_corners=False
    )
    mean, std = (torch.tensor(x)[:, None, None] * 255 for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pooled = nn.functional.avg_pool2d((expected - mean) / std, 56).flatten(1)
    torch.testing.assert_close(found(RGB).features, pooled @ tensors["2.weight"].T + tensors["2.bias"])
    assert found.label == f"dinov2-vit-s-14-{digest[:8]}" and found.dimensions == 6
    other = saved({"weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="other.pth: 1 tensors that are not those of dinov2-vit-s-14"):
        DINOv2("dinov2-vit-s-14", str(tmp_path / "other.pth"), other)


@pytest.mark.parametrize("name", ["vgg16", "clip-rn50", "dinov2-vit-g-14"])
def test_offline_one_line_says_which_file_goes_where(hub, name):
    with pytest.raises(
        UserError, match=f"weights of .*: not on this machine, .*; put https://.* {hub}.*, or"
    ) as caught:
        make_extractor(name)
    assert "\n" not in str(caught.value)


def test_the_published_files_are_named_as_torch_fidelity_and_torch_hub_name_them(hub):
    from torch_fidelity.feature_extractor_clip import MODEL_METADATA
    from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA as TRANSFORMERS

    from gantrain.config import features

    assert (*features.DINOV2,) == tuple(TRANSFORMERS) and {*features.CLIP} == {*MODEL_METADATA}
    for name in features.CLIP:
        assert clip.published_file(name).cached.name == f"{name}-{MODEL_METADATA[name]['hash']}.pt"
    for name, function in TRANSFORMERS.items():
        assert dinov2.published_file(name).cached.name == f"{function}_pretrain.pth"
