"""Oxford's flowers and pets, from files made here in their published formats; nothing is downloaded."""

import os

import numpy as np
import pytest
import torch
from later import Later
from PIL import Image
from published_sets import make_flowers, make_pets

from gantrain.config.parts import build
from gantrain.data import Flowers102, OxfordIIITPet
from gantrain.errors import UserError

torchvision = Later("torchvision")


@pytest.mark.parametrize(
    ("split", "files", "labels"),
    [
        ("train", (2, 1), [0, 2]),
        ("validation", (3, 6), [101, 101]),
        ("trainval", (2, 1, 3, 6), [0, 2, 101, 101]),
        ("test", (4, 5), [2, 0]),
    ],
)
def test_flowers_are_in_the_parts_that_are_published(split, files, labels, tmp_path, monkeypatch):
    base = make_flowers(tmp_path, monkeypatch)
    data = build("data", {"name": "flowers102", "root": str(tmp_path), "size": 10, "resize": 12, "split": split})
    assert data.labels.tolist() == labels and data.spec.shape == (3, 10, 10) and data.spec.classes == 102
    assert data.class_names[0] == "pink primrose" and len(data.class_names) == 102
    images = data.samples.to("cpu")
    for image, number in zip(images, files, strict=True):
        scaled = Image.open(base / "jpg" / f"image_{number:05d}.jpg")
        scaled = scaled.resize((12, 12 * scaled.height // 20), Image.Resampling.BICUBIC)
        top = round((scaled.height - 10) / 2)
        assert np.array_equal(image.permute(1, 2, 0), np.asarray(scaled)[top : top + 10, 1:11])
    noisy = Flowers102(10, split, str(tmp_path), label_noise=1.0)
    assert (noisy.labels.tolist() != labels) == split.startswith("train")


def test_pets_are_in_the_parts_that_are_published(tmp_path):
    make_pets(tmp_path)
    spec = {"name": "oxford_iiit_pet", "root": str(tmp_path), "size": [8, 12]}
    train, test = build("data", spec), build("data", {**spec, "split": "test"})
    assert train.labels.tolist() == [0, 1] and test.labels.tolist() == [0]
    assert train.class_names == ("Abyssinian", "German Shorthaired") and train.spec.shape == (3, 8, 12)
    held_out = build("data", {**spec, "split": "validation", "validation": 0.5})
    rest = build("data", {**spec, "validation": 0.5})
    assert sorted([*held_out.samples.names, *rest.samples.names]) == sorted(train.samples.names)
    assert OxfordIIITPet(8, root=str(tmp_path), random_resized_crop=(0.08, 1.0)).samples.random_numbers


@pytest.mark.parametrize(("cls", "make"), [(Flowers102, make_flowers), (OxfordIIITPet, make_pets)])
def test_what_is_missing_is_one_line_that_says_what_to_put_where(cls, make, tmp_path, monkeypatch):
    def unreachable(self):
        raise OSError("there is no network")

    name = "download" if cls is Flowers102 else "_download"
    monkeypatch.setattr(getattr(torchvision.datasets, cls.__name__), name, unreachable)
    root = str(tmp_path / "data")
    with pytest.raises(
        UserError, match=f"data.root: {cls.__name__} is not in .*; set data.download to true, or put a fo"
    ):
        cls(8, root=root, download=False)
    with pytest.raises(UserError) as error:
        cls(8, root=root)
    message = str(error.value)
    assert message.startswith(
        f"data.root: {cls.__name__} is not in '{root}' and cannot be downloaded (there is no network)"
    )
    assert "\n" not in message and "of https://www.robots.ox.ac.uk/~vgg/data/" in message
    assert not (tmp_path / "data").exists()
    base = make(tmp_path / "data", monkeypatch)
    lost = "imagelabels.mat" if cls is Flowers102 else "annotations/trainval.txt"
    (base / lost).unlink()
    with pytest.raises(UserError, match=f"data.root: {cls.__name__} is not in .*; set data.download"):
        cls(8, root=root, download=False)
    os.mkfifo(base / "pipe")
    with pytest.raises(UserError, match=r"data.root: .*pipe is a FIFO"):
        cls(8, root=root, download=False)


def test_an_image_that_is_missing_is_named_when_it_is_read(tmp_path):
    base = make_pets(tmp_path)
    (base / "images" / "Abyssinian_1.jpg").unlink()
    data = OxfordIIITPet(8, root=str(tmp_path))
    with pytest.raises(UserError, match="data.root: Abyssinian_1.jpg in .*images cannot be read"):
        data.samples.to("cpu")
    assert isinstance(data.labels, torch.Tensor)
