"""The data sets of torchvision, from files made here in their published formats; downloads come from this machine."""

import os
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from later import Later
from published_sets import make_cifar, md5, pixels

from gantrain.config.parts import build
from gantrain.config.registry import kind
from gantrain.data import CIFAR10, CIFAR100, KMNIST, MNIST, STL10, SVHN, FashionMNIST
from gantrain.errors import UserError

torchvision = Later("torchvision")


def make_mnist(folder, name="MNIST"):
    """The four files of MNIST's format, unpacked."""
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    made = {}
    for part, name, n in (("train", "train", 12), ("test", "t10k", 5)):
        images, labels = pixels(n, 28, 28), np.random.randint(0, 10, n, dtype=np.uint8)
        sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + images.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + n.to_bytes(4, "big") + labels.tobytes())
        made[part] = images[:, None], labels.tolist()
    return made


def make_svhn(folder, monkeypatch):
    from scipy.io import savemat

    folder.mkdir()
    made, entries = {}, {}
    for part, n in (("train", 11), ("test", 6)):
        images, labels = pixels(n, 3, 32, 32), np.random.randint(0, 10, n)
        path = folder / f"{part}_32x32.mat"
        savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        made[part], entries[part] = (images, labels.tolist()), ["", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", entries)
    return made


def make_stl10(folder, monkeypatch):
    base = folder / "stl10_binary"
    base.mkdir(parents=True)
    made = {}
    for part, n in (("train", 4), ("test", 3)):
        images, labels = pixels(n, 3, 96, 96), np.random.randint(0, 10, n, dtype=np.uint8)
        (base / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (base / f"{part}_y.bin").write_bytes((labels + 1).tobytes())
        made[part] = images, labels.tolist()
        lists = [[f"{part}_{x}.bin", md5(base / f"{part}_{x}.bin")] for x in "Xy"]
        monkeypatch.setattr(torchvision.datasets.STL10, f"{part}_list", lists)
    return made


MAKERS = {
    CIFAR10: make_cifar,
    CIFAR100: lambda folder, patch: make_cifar(folder, patch, fine=True),
    MNIST: lambda folder, patch: make_mnist(folder),
    FashionMNIST: lambda folder, patch: make_mnist(folder, "FashionMNIST"),
    KMNIST: lambda folder, patch: make_mnist(folder, "KMNIST"),
    SVHN: make_svhn,
    STL10: make_stl10,
}


@pytest.mark.parametrize("cls", MAKERS)
def test_images_and_labels_are_those_of_the_files(cls, tmp_path, monkeypatch):
    made = MAKERS[cls](tmp_path / "data", monkeypatch)
    for part, (images, labels) in made.items():
        data = cls(split=part, root=str(tmp_path / "data"), download=False)
        assert data.samples.dtype == torch.uint8 and data.samples.is_contiguous()
        assert np.array_equal(data.samples.numpy(), images)
        assert data.labels.tolist() == labels and data.labels.dtype == torch.int64
        assert data.spec.shape == images.shape[1:]
        assert data.spec.classes == (100 if cls is CIFAR100 else 10)


def test_every_one_of_them_is_tested():
    paths = kind("data").parts.values()
    assert {path.partition(":")[2] for path in paths if "torchvision_sets" in path} == {c.__name__ for c in MAKERS}


def test_validation_noise_and_size(tmp_path, monkeypatch):
    (images, labels), (_, clean) = make_cifar(tmp_path / "data", monkeypatch).values()
    spec = {"name": "cifar10", "root": str(tmp_path / "data"), "validation": 0.25}
    train, held_out = build("data", spec), build("data", {**spec, "split": "validation"})
    assert (len(train.samples), len(held_out.samples)) == (30, 10)
    rows = sorted(x.numpy().tobytes() for x in (*train.samples, *held_out.samples))
    assert rows == sorted(x.tobytes() for x in images)
    noisy = build("data", {**spec, "label_noise": 1})
    assert torch.equal(noisy.samples, train.samples) and not torch.equal(noisy.labels, train.labels)
    assert build("data", {**spec, "label_noise": 1, "split": "test"}).labels.tolist() == clean
    small = build("data", {**spec, "size": 16, "split": "test"})
    assert small.spec.shape == (3, 16, 16) and small.samples.dtype == torch.uint8
    large = build("data", {**spec, "split": "test"})
    averaged = torch.nn.functional.avg_pool2d(large.samples.float(), 2)
    assert torch.corrcoef(torch.stack([averaged.flatten(), small.samples.float().flatten()]))[0, 1] > 0.9


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Where the files of ``tmp_path`` are served."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def packed(tmp_path, url, monkeypatch):
    """CIFAR-10 as an archive that it is downloaded from; where a data set of it will be."""
    made = make_cifar(tmp_path / "source", monkeypatch)
    archive = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "source" / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"{url}/cifar.tar.gz")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(archive))
    return made, archive, tmp_path / "deep" / "data"


def test_a_download_leaves_the_data_set_and_nothing_else(packed):
    made, archive, root = packed
    data = CIFAR10(root=str(root))
    assert np.array_equal(data.samples.numpy(), made["train"][0])
    assert {p.name for p in root.iterdir()} <= {"cifar-10-batches-py", "cifar-10-python.tar.gz"}
    archive.unlink()
    assert len(CIFAR10(root=str(root), split="test").samples) == 20, "it is not downloaded twice"


def test_a_damaged_copy_is_downloaded_again_and_other_files_are_left_alone(packed):
    made, _, root = packed
    (root / "cifar-10-batches-py").mkdir(parents=True)
    (root / "cifar-10-batches-py" / "one").write_bytes(b"damaged")
    (root / "mine").write_bytes(b"precious")
    assert np.array_equal(CIFAR10(root=str(root)).samples.numpy(), made["train"][0])
    assert (root / "mine").read_bytes() == b"precious"


@pytest.mark.parametrize("failure", ["gone", "truncated"])
@pytest.mark.parametrize("there", [False, True])
def test_without_a_network_it_is_said_what_to_put_where_and_nothing_is_left(there, failure, packed, tmp_path):
    _, archive, root = packed
    if failure == "gone":
        archive.unlink()
    else:
        archive.write_bytes(archive.read_bytes()[:1000])
    if there:
        root.mkdir(parents=True)
        (root / "mine").write_bytes(b"precious")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        CIFAR10(root=str(root))
    message = str(error.value)
    assert message.startswith(f"data.root: CIFAR10 is not in '{root}' and cannot be downloaded (")
    assert "\n" not in message
    assert "put the folder cifar-10-batches-py of https://" in message and "image_archive" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_mnist_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["file:///nowhere/", "file:///nowhere/else/"])
    with pytest.raises(UserError, match="data.root: MNIST is not in .* cannot be downloaded") as error:
        MNIST(root=str(tmp_path / "data"))
    assert "\n" not in str(error.value) and not (tmp_path / "data").exists()


def test_downloads_can_be_forbidden(packed):
    _, _, root = packed
    with pytest.raises(UserError, match="data.root: CIFAR10 is not in .*; set data.download to true, or put"):
        CIFAR10(root=str(root), download=False)
    assert not root.exists()


def test_what_the_current_directory_has_is_not_downloaded_again_elsewhere(packed, tmp_path, monkeypatch):
    _, _, root = packed
    CIFAR10(root=str(root))
    monkeypatch.chdir(root.parent)
    elsewhere = tmp_path / "configs" / root.name
    with pytest.raises(UserError, match=f"CIFAR10 is not in '{elsewhere}', for .*; write '{root}', or"):
        CIFAR10(root=str(elsewhere))
    assert not elsewhere.exists()


@pytest.mark.parametrize(("cls", "name"), [(CIFAR10, "cifar-10-batches-py/x"), (MNIST, "MNIST/raw/x"), (SVHN, "x.mat")])
def test_a_fifo_among_the_files_is_refused(cls, name, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match=f"data.root: .*{name} is a FIFO, device or socket, expected only files"):
        cls(root=str(tmp_path), download=False)


def test_an_interrupted_download_leaves_nothing(packed, monkeypatch):
    _, _, root = packed

    def interrupted(self):
        (root / next(root.iterdir()) / "half").write_bytes(b"...")
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        CIFAR10(root=str(root))
    assert not root.exists()
