"""The digest of data: what changes it, and how a difference is said."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from gantrain.data import Batches, DataSet, DataSpec, Digits, ImageArchive, ImageFolder
from gantrain.data.digest import Digest, difference, spread
from gantrain.data.storage import place_samples

RNG = np.random.default_rng(0)
FILES = {f"{k}/{i}.bmp": RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8) for k in "ab" for i in range(4)}


def write(folder, files=FILES):
    for name, pixels in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


def of(data, storage="memory"):
    """The digest of a data set, as it comes back from a file."""
    place_samples(data, storage)
    return Digest.from_dict(json.loads(json.dumps(Batches(data, 1, 0).digest.as_dict())))


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_neither_the_place_of_the_files_nor_that_of_the_samples_counts(storage, tmp_path):
    before = of(ImageFolder(str(write(tmp_path / "one"))), storage)
    assert before.samples == 8 and (before.content is not None) == (storage == "memory")
    for other in ("memory", "disk"):
        now = of(ImageFolder(str(write(tmp_path / "else" / "two"))), other)
        assert difference(now, before) is None
        assert now.completed(before).content is not None or storage == other == "disk"


def test_what_has_changed_is_named(tmp_path):
    before = {s: of(ImageFolder(str(write(tmp_path / "before"))), s) for s in ("memory", "disk")}

    def now(name, change):
        folder = write(tmp_path / name)
        change(folder)
        return [difference(of(ImageFolder(str(folder)), storage), before[storage]) for storage in ("memory", "disk")]

    def drop(folder):
        (folder / "a/2.bmp").unlink()
        (folder / "b/0.bmp").unlink()

    missing = "6 samples instead of 8, 2 files are missing, such as a/2.bmp"
    assert now("fewer", drop) == [missing] * 2
    renamed = "a/0.bmp is missing, a/9.bmp is new"
    assert now("renamed", lambda f: (f / "a/0.bmp").rename(f / "a/9.bmp")) == [renamed] * 2
    other = Image.fromarray(255 - FILES["a/1.bmp"])
    assert now("bytes", lambda f: other.save(f / "a/1.bmp")) == ["files with other content", None]
    larger = "a/1.bmp is of another size"
    assert now("size", lambda f: (f / "a/1.bmp").open("ab").write(b"more")) == [larger] * 2


def test_many_files_are_told_apart_without_their_names(tmp_path, monkeypatch):
    monkeypatch.setattr("gantrain.data.digest._NAMED", 4)
    before = of(ImageFolder(str(write(tmp_path / "before"))), "disk")
    assert before.files is None
    folder = write(tmp_path / "now")
    (folder / "a/0.bmp").rename(folder / "a/9.bmp")
    assert difference(of(ImageFolder(str(folder)), "disk"), before) == "files with other names"
    (folder / "a/9.bmp").rename(folder / "a/0.bmp")
    (folder / "a/0.bmp").open("ab").write(b"more")
    assert difference(of(ImageFolder(str(folder)), "disk"), before) == "files of other sizes"
    (folder / "a/0.bmp").unlink()
    assert difference(of(ImageFolder(str(folder)), "disk"), before) == "7 samples instead of 8"


class Points(DataSet):
    def __init__(self, samples, labels=None):
        super().__init__(samples, labels, DataSpec((samples.shape[1],), 0 if labels is None else 4))


def test_samples_in_memory_differ_in_number_order_content_and_labels():
    samples, labels = torch.randn(2500, 3), torch.arange(2500) % 4
    before = of(Points(samples, labels))
    assert difference(of(Points(samples.clone(), labels)), before) is None
    assert difference(of(Points(samples[:-1], labels[:-1])), before) == "2499 samples instead of 2500"
    swapped = torch.arange(2500)
    swapped[[0, 2400]] = swapped[[2400, 0]]
    assert difference(of(Points(samples[swapped], labels)), before) == "the same samples in another order"
    other = samples.clone()
    other[1700, 2] += 1e-6
    assert difference(of(Points(other, labels)), before) == "samples with other content"
    assert difference(of(Points(samples, labels.flip(0))), before) == "other labels"


class Unread:
    """Samples of the user's own that are neither in memory nor in files gantrain knows."""

    dtype, ndim = torch.float32, 2

    def __init__(self, samples):
        self._samples, self.shape = samples, tuple(samples.shape)

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, rows):
        return Unread(self._samples[rows])

    def split(self, size):
        return map(Unread, self._samples.split(size))

    def to(self, device):
        return self._samples.to(device)


def test_samples_read_in_the_users_own_way_are_told_apart_by_a_few():
    samples = torch.randn(100, 3)
    before = of(Points(Unread(samples)), "disk")
    assert difference(of(Points(Unread(samples.clone())), "disk"), before) is None
    assert difference(of(Points(Unread(samples + 1)), "disk"), before) == "samples with other content"
    assert difference(of(Points(Unread(samples + 1)), "memory"), of(Points(Unread(samples)))) is not None


@pytest.mark.parametrize("n", [1, 15, 300, 2**24 + 1, 20_000_000, 2**31])
def test_the_rows_that_are_looked_at_are_rows(n):
    rows = spread(n, 16)
    assert len(rows) == min(n, 16)
    assert rows[0] == 0 and rows[-1] == n - 1
    assert bool((rows.diff() > 0).all())


def test_parts_and_archives(tmp_path):
    write(tmp_path / "data")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in FILES:
            stream = io.BytesIO()
            Image.fromarray(FILES[name]).save(stream, "BMP")
            archive.writestr(name, stream.getvalue())
    folder, packed = ImageFolder(str(tmp_path / "data")), ImageArchive(str(tmp_path / "data.zip"))
    assert difference(of(packed, "disk"), of(folder)) is None
    with tarfile.open(tmp_path / "data.tar.gz", "w:gz") as archive:
        for name in FILES:
            archive.add(tmp_path / "data" / name, name)
    assert difference(of(ImageArchive(str(tmp_path / "data.tar.gz"))), of(folder)) is None
    train, held = (of(Digits(split=part, validation=0.1)) for part in ("train", "validation"))
    assert difference(held, train) == "144 samples instead of 1294"


@pytest.mark.parametrize(
    "values", [None, [], {}, {"samples": "8"}, {"samples": 8, "content": 3}, {"samples": 8, "files": {"a": "b"}}]
)
def test_what_is_no_digest_is_an_error(values):
    with pytest.raises(ValueError, match="^expected "):
        Digest.from_dict(values)
