"""Samples in files of numpy's and torch's."""

import numpy as np
import pytest
import torch

from gantrain.config.parts import build
from gantrain.data import storage
from gantrain.data.datasets import array_files
from gantrain.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3
LEVELS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", IMAGES)
    np.save("y.npy", LABELS)
    np.savez("both.npz", x=IMAGES, y=LABELS)
    np.savez("keras.npz", x_train=IMAGES[:20], y_train=LABELS[:20], x_test=IMAGES[20:], y_test=LABELS[20:])
    np.savez("odd.npz", first=IMAGES, second=LABELS)
    torch.save((LEVELS, torch.from_numpy(LABELS)), "pair.pt")
    torch.save({"images": LEVELS, "labels": torch.from_numpy(LABELS)}, "mapping.pth")
    torch.save(torch.randn(30, 2), "points.pt")
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    np.save("objects.npy", np.array([{}]), allow_pickle=True)
    np.savez("objects.npz", x=np.array([{}]))
    for name in ("bad.npy", "bad.npz", "bad.pt", "x.csv"):
        (tmp_path / name).write_bytes(b"1, 2")
    torch.save(torch.tensor(1.0), "number.pt")


def array(**keys):
    return build("data", {"name": "array", **keys})


@pytest.mark.parametrize(
    "keys",
    [
        {"path": "x.npy", "labels": "y.npy"},
        {"path": "x.npy", "labels": "both.npz"},
        {"path": "both.npz"},
        {"path": "odd.npz", "samples_key": "first", "labels_key": "second"},
        {"path": "pair.pt"},
        {"path": "mapping.pth"},
    ],
)
def test_samples_and_labels_are_found_in_every_kind_of_file(files, keys):
    data = array(**keys)
    assert torch.equal(data.samples, LEVELS) and data.labels.tolist() == LABELS.tolist() and data.spec.classes == 3
    assert array(**keys, classes=5).spec.classes == 5


def test_parts_of_files(files):
    assert array(path="x.npy").labels is None and array(path="points.pt").spec.shape == (2,)
    assert len(array(path="keras.npz").samples) == 20
    test = array(path="keras.npz", samples_key="x_test", labels_key="y_test")
    assert torch.equal(test.samples, LEVELS[20:]) and test.labels.tolist() == LABELS[20:].tolist()
    held, rest = (array(path="both.npz", split=split, validation=0.2) for split in ("validation", "train"))
    assert len(held.samples) == 6 and len(rest.samples) == 24 and rest.spec.classes == 3
    assert array(path="both.npz", limit=6).labels.bincount().tolist() == [2, 2, 2]


def test_a_file_that_does_not_fit_into_memory_is_read_from_disk(files, monkeypatch):
    held = array(path="x.npy", labels="y.npy", limit=9)
    monkeypatch.setattr(storage, "available", lambda *_: 100)
    data = array(path="x.npy", labels="y.npy", limit=9)
    assert not isinstance(data.samples, torch.Tensor)
    assert torch.equal(data.samples.to("cpu"), held.samples) and torch.equal(data.labels, held.labels)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_part_of_a_file_is_the_same_part_on_disk(files, split):
    data = array(path="x.npy", labels="y.npy", split=split, validation=0.2)
    held = data.samples
    storage.place_samples(data, "disk")
    assert not isinstance(data.samples, torch.Tensor) and len(data.samples) == len(data.labels)
    assert torch.equal(data.samples.to("cpu"), held)


def test_what_would_unpack_beyond_the_memory_is_refused(files, monkeypatch):
    monkeypatch.setattr(array_files, "available", lambda: 100)
    for path in ("both.npz", "mapping.pth"):
        with pytest.raises(
            UserError, match=f"^data.path: .*{path} unpacks to .*, and 100 B of memory are left; save the"
        ):
            array(path=path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "none.npy"}, "data.path: there is nothing at none.npy in "),
        ({"path": "."}, "data.path: /.* is a folder, expected a file; for a folder of images use image_folder$"),
        ({"path": "x.csv"}, "data.path: /.*/x.csv: expected a file whose name ends in .npy, .npz, .pt or .pth$"),
        ({"path": "bad.npy"}, "data.path: /.*/bad.npy is damaged, or no file of its kind"),
        ({"path": "bad.npz"}, "data.path: /.*/bad.npz is damaged, or no file of its kind"),
        ({"path": "bad.pt"}, "data.path: /.*/bad.pt "),
        ({"path": "module.pt"}, "data.path: /.*/module.pt holds Python objects, and loading them could execute code"),
        ({"path": "objects.npy"}, "data.path: /.*/objects.npy holds Python objects"),
        ({"path": "objects.npz"}, "data.path: /.*/objects.npz holds Python objects"),
        ({"path": "number.pt"}, "data.path: /.*/number.pt holds a single number"),
        ({"path": "odd.npz"}, "data.path: /.*/odd.npz holds first, second; say with data.samples_key which of them"),
        ({"path": "odd.npz", "samples_key": "firts"}, "data.samples_key: expected one of first, second, .* 'first'"),
        ({"path": "x.npy", "labels": "x.npy"}, "data.labels: /.*/x.npy: expected 30 whole numbers from 0, got"),
        ({"path": "x.npy", "labels": "none.npy"}, "data.labels: there is nothing at none.npy in "),
        ({"path": "y.npy"}, "data.path: /.*/y.npy: item 0 is int64 of shape \\(\\), a vector; return floats"),
    ],
)
def test_what_is_wrong_is_one_line(files, keys, message):
    with pytest.raises(UserError, match=f"^{message}") as error:
        array(**keys)
    assert "\n" not in str(error.value)
