"""LSUN, from databases made here in its published layout, against torchvision's reader."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gantrain.config.parts import build
from gantrain.data import LSUN, Batches
from gantrain.errors import UserError

lmdb = pytest.importorskip("lmdb")


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for folder, count in {"tower_train_lmdb": 3, "bridge_train_lmdb": 2, "tower_val_lmdb": 1}.items():
        with lmdb.open(str(tmp_path / folder)) as database, database.begin(write=True) as transaction:
            for _ in range(count):
                file = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)).save(file, "WEBP")
                transaction.put(rng.bytes(20).hex().encode(), file.getvalue())
    return tmp_path


def test_one_category_as_torchvision_reads_it(root, tmp_path, monkeypatch):
    from torchvision import datasets

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # torchvision leaves a file behind
    data = LSUN("tower", root=str(root), size=10)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert data.labels is None and data.spec.classes == 0 and data.spec.shape == (3, 10, 10)
    images = data.samples.to("cpu")
    reference = datasets.LSUN(str(root), classes=["tower_train"])
    for image, (expected, _) in zip(images, reference, strict=True):
        expected = ImageOps.fit(expected, (10, 10), Image.Resampling.BICUBIC)
        assert torch.equal(image, torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_several_categories_are_classes(root):
    spec = {"name": "lsun", "root": str(root), "categories": ["tower", "bridge"], "size": 8}
    data = build("data", spec)
    assert data.labels.tolist() == [0, 0, 0, 1, 1] and data.class_names == ("tower", "bridge")
    assert data.spec.classes == 2 and data.samples.to("cpu").shape == (5, 3, 8, 8)
    ahead, here = Batches(data, 4, 0, workers=2), Batches(data, 4, 0)
    for i in range(3):
        assert torch.equal(ahead(i, 0).real, here(i, 0).real)
    ahead.close()
    assert len(build("data", {**spec, "categories": "tower", "split": "validation"}).samples) == 1


def test_what_is_wrong_is_one_line(root, monkeypatch):
    with pytest.raises(UserError, match="data.root: kitchen_train_lmdb is not in .*put there the folder that kitchen_"):
        LSUN("kitchen", root=str(root))
    with pytest.raises(UserError, match="data.categories: .* got 'towers'; did you mean 'tower'"):
        LSUN(("bridge", "towers"), root=str(root))
    with lmdb.open(str(root / "tower_train_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.put(b"broken", b"no image")
    with pytest.raises(UserError, match="data.root: tower/broken in .* cannot be read"):
        LSUN("tower", root=str(root)).samples.to("cpu")
    monkeypatch.setattr("gantrain.data.datasets.lsun.find_spec", lambda name: None)
    with pytest.raises(UserError, match="package lmdb, which is not installed; pip install lmdb"):
        LSUN("tower", root=str(root))
