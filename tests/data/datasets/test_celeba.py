"""CelebA, from files made here in its published layout."""

import hashlib

import numpy as np
import pytest
import torch
from later import Later
from PIL import Image

from gantrain.config.parts import build
from gantrain.data import CelebA
from gantrain.errors import UserError

torchvision = Later("torchvision")
# Part of each image: 0 train, 1 validation, 2 test.
PARTS = [0, 1, 0, 2, 0, 1, 2]
SMILING = [1, -1, -1, 1, 1, 1, -1]


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"{i:06d}.jpg" for i in range(1, 8)]
    for name in names:
        small = Image.fromarray(rng.integers(0, 256, (11, 9, 3), dtype=np.uint8))
        small.resize((178, 218)).save(folder / "img_align_celeba" / name)
    tables = {
        "list_eval_partition": [f"{n} {p}" for n, p in zip(names, PARTS, strict=True)],
        "identity_CelebA": [f"{n} 7" for n in names],
        "list_bbox_celeba": ["7", "image_id x_1 y_1 width height", *(f"{n}  95  71 226 313" for n in names)],
        "list_landmarks_align_celeba": ["7", "lefteye_x lefteye_y", *(f"{n} 69  109" for n in names)],
        "list_attr_celeba": ["7", "Bald Smiling ", *(f"{n} -1  {s:2d}" for n, s in zip(names, SMILING, strict=True))],
    }
    entries = [("", "", "img_align_celeba.zip")]
    for name, lines in tables.items():
        path = folder / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n")
        entries.append(("", hashlib.md5(path.read_bytes()).hexdigest(), path.name))
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", entries)
    return tmp_path / "data"


def expected(root, number, crop, size):
    image = Image.open(root / "celeba" / "img_align_celeba" / f"{number:06d}.jpg")
    left, top = (178 - crop) // 2, (218 - crop) // 2
    image = image.crop((left, top, left + crop, top + crop)).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("crop, size", [(178, 64), (108, 32)])
def test_a_square_around_the_centre_is_scaled(root, crop, size):
    data = CelebA(root=str(root), crop=crop, size=size, download=False)
    assert data.spec.shape == (3, size, size) and data.spec.classes == 0 and data.labels is None
    images = data.samples.to("cpu")
    assert len(images) == 3
    for image, number in zip(images, (1, 3, 5), strict=True):
        assert torch.equal(image, expected(root, number, crop, size))


def test_parts_and_one_attribute_as_the_class(root):
    spec = {"name": "celeba", "root": str(root), "attribute": "Smiling"}
    for split, labels in {
        "train": [1, 0, 1],
        "validation": [0, 1],
        "test": [1, 0],
        "all": [1, 0, 0, 1, 1, 1, 0],
    }.items():
        data = build("data", {**spec, "split": split})
        assert data.labels.tolist() == labels and data.labels.dtype == torch.int64
        assert data.spec.classes == 2 and len(data.samples) == len(labels)
    with pytest.raises(UserError, match="data.attribute: expected one of Bald, Smiling, got 'smiling'; did you"):
        build("data", {**spec, "attribute": "smiling"})


def test_what_is_wrong_is_one_line(root, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="data.root: 000001.jpg in .*img_align_celeba cannot be read .*square of 200"):
        CelebA(root=str(root), crop=200).samples.to("cpu")
    (root / "celeba" / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(UserError, match="data.root: 000003.jpg in .*img_align_celeba cannot be read .*No such file"):
        CelebA(root=str(root)).samples.to("cpu")
    with pytest.raises(UserError, match="data.root: CelebA is not in .*; set data.download to true, or put .*celeba"):
        CelebA(root=str(tmp_path / "nowhere"), download=False)

    def lacking(self):
        raise RuntimeError("To download files from GDrive, 'gdown' is required.")

    monkeypatch.setattr(torchvision.datasets.CelebA, "download", lacking)
    with pytest.raises(UserError, match="cannot be downloaded .*'gdown' is required.*put a folder celeba") as error:
        CelebA(root=str(tmp_path / "nowhere"))
    assert "\n" not in str(error.value) and not (tmp_path / "nowhere").exists()
