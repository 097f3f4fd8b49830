"""LSUN, from databases made here in its published layout, against torchvision's reader."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gantrain.config.parts import build
from gantrain.data import LSUN, Batches
from gantrain.data.readers.databases import read_table
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


def test_what_is_wrong_is_one_line(root):
    with pytest.raises(UserError, match="data.root: kitchen_train_lmdb is not in .*put there the folder that kitchen_"):
        LSUN("kitchen", root=str(root))
    with pytest.raises(UserError, match="data.categories: .* got 'towers'; did you mean 'tower'"):
        LSUN(("bridge", "towers"), root=str(root))
    with lmdb.open(str(root / "tower_train_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.put(b"broken", b"no image")
    with pytest.raises(UserError, match="data.root: tower/broken in .* cannot be read"):
        LSUN("tower", root=str(root)).samples.to("cpu")


def test_a_database_of_many_pages_is_read_as_lmdb_reads_it(tmp_path):
    rng = np.random.default_rng(0)
    with lmdb.open(str(tmp_path), map_size=2**26) as database:
        for _ in range(3):  # so that pages have been freed and used again
            with database.begin(write=True) as transaction:
                for key in list(transaction.cursor().iternext(values=False))[::5]:
                    transaction.delete(key)
                for size in rng.integers(0, 9000, 800):
                    transaction.put(rng.bytes(rng.integers(1, 40)).hex().encode(), rng.bytes(size))
        with database.begin() as transaction:
            expected = dict(transaction.cursor())
    table, whole = read_table(tmp_path / "data.mdb"), (tmp_path / "data.mdb").read_bytes()
    assert table.keys.tolist() == list(expected) and len(expected) > 1500
    for key, value in expected.items():
        start, size = table.find(key)
        assert whole[start : start + size] == value


def test_a_damaged_database_is_one_line_whatever_the_damage(root):
    file = root / "tower_train_lmdb" / "data.mdb"
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        content = bytearray(whole)
        at = int(rng.integers(0, len(whole)))
        if trial % 3:
            content[at : at + 64] = [bytes(64), rng.bytes(64)][trial % 2]
        else:
            del content[at:]
        file.write_bytes(content)
        try:
            LSUN("tower", root=str(root)).samples.to("cpu")
        except UserError as error:
            assert str(error).startswith("data.root: ") and "\n" not in str(error)
            refused += 1
    assert refused > 100
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="data.root: tower_train_lmdb is not in"):
        LSUN("tower", root=str(root))
