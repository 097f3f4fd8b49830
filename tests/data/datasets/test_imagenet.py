"""ImageNet, from a folder made here in its published layout."""

import numpy as np
import pytest
import torch
from PIL import Image

from gantrain.config.parts import build
from gantrain.data import ImageNet
from gantrain.errors import UserError

FILES = [
    "train/n01440764/n01440764_10026.JPEG",
    "train/n01440764/n01440764_10027.JPEG",
    "train/n01443537/n01443537_2.JPEG",
    "val/n01440764/ILSVRC2012_val_00000293.JPEG",
    "val/n01443537/ILSVRC2012_val_00000236.JPEG",
]


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for i, file in enumerate(FILES):
        path = tmp_path / "imagenet" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + i, 30 - 3 * i, 3), dtype=np.uint8)).save(path)
    return tmp_path / "imagenet"


def test_parts_classes_and_size(root):
    spec = {"name": "imagenet", "root": str(root), "size": 16}
    train, held_out = build("data", spec), build("data", {**spec, "split": "validation"})
    assert train.labels.tolist() == [0, 0, 1] and held_out.labels.tolist() == [0, 1]
    assert train.class_names == held_out.class_names == ("n01440764", "n01443537")
    assert train.spec.shape == (3, 16, 16) and train.spec.classes == 2
    image = Image.open(root / FILES[2])  # 24 wide, 22 high
    expected = image.resize((16, 16), Image.Resampling.BICUBIC, box=(1, 0, 23, 22))
    assert torch.equal(train.samples[2:].to("cpu")[0], torch.from_numpy(np.array(expected)).permute(2, 0, 1))
    noisy = build("data", {**spec, "label_noise": 1.0, "noise_seed": 3})
    assert noisy.labels.tolist() != train.labels.tolist()


def test_what_is_not_there_or_damaged_is_one_line(root, tmp_path):
    nowhere = r"data.root: val is not in '.*nowhere', for there is nothing at nowhere in .*"
    with pytest.raises(UserError, match=f"{nowhere}; put there its class folders .*unpacks"):
        ImageNet(8, "validation", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="data.size: is missing"):
        build("data", "imagenet")
    (root / FILES[1]).write_bytes((root / FILES[1]).read_bytes()[:300])
    with pytest.raises(UserError, match="train/n01440764/n01440764_10027.JPEG in .* cannot be read"):
        ImageNet(8, root=str(root)).samples.to("cpu")
    assert len(ImageNet(8, root=str(root), on_error="skip").samples) == 2
