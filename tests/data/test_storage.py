import io
import shutil
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gantrain.data import Batches, ChannelNorm, Digits, GaussianRing, ImageArchive, ImageFolder, storage
from gantrain.data.storage import describe_samples, place_samples
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.metrics import Images
from gantrain.metrics.digest import digest_of
from gantrain.metrics.sources.base import PIECE


@pytest.fixture
def folder(tmp_path):
    """100 images of 6 x 5 pixels in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(100):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)).save(path)
    return str(tmp_path / "images")


def left(monkeypatch, host, device=0):
    """So many bytes are left on the host and on the device."""
    monkeypatch.setattr(storage, "available", lambda *_: host)
    monkeypatch.setattr(storage, "_free", lambda _: device)


SIZE = 100 * 3 * 5 * 6


@pytest.mark.parametrize(
    "host, expected", [(2 * SIZE, "9 kB, in memory"), (2 * SIZE - 1, "9 kB, on disk, read ahead by 2 workers")]
)
def test_auto_takes_memory_where_it_leaves_as_much_again(host, expected, folder, monkeypatch):
    left(monkeypatch, host)
    data = ImageFolder(folder)
    whole = data.samples.to("cpu")
    place_samples(data)
    assert describe_samples(data.samples, 2) == f"data: 100 x 3x5x6, {expected}"
    assert torch.equal(data.samples.to("cpu"), whole)


@pytest.mark.parametrize("made", [Digits, GaussianRing])
def test_what_is_in_memory_stays_there(made, monkeypatch):
    data = made()
    before = data.samples
    for where in ("auto", "memory", "device"):
        place_samples(data, where)
        assert data.samples is before
    with pytest.raises(UserError, match="data.storage: disk was asked for, but this data set is not read from single"):
        place_samples(data, "disk")
    assert describe_samples(before, 0).endswith(", in memory")


def test_auto_takes_the_device_where_three_times_as_much_is_left_for_networks(folder, monkeypatch):
    taken = []

    def read(samples, device=None):
        taken.append("cpu" if device is None else device.type)
        return samples.to("cpu")

    monkeypatch.setattr(storage, "held", read)
    for free, host, expected in ((4 * SIZE, 0, "cuda"), (4 * SIZE - 1, 2 * SIZE, "cpu"), (4 * SIZE - 1, 0, None)):
        left(monkeypatch, host, free)
        data = ImageFolder(folder)
        place_samples(data, "auto", "cuda")
        assert (taken[-1:] or [None])[0] == expected, (free, host)
        taken.clear()


def test_a_choice_that_cannot_work_is_one_line(folder, monkeypatch):
    left(monkeypatch, host=8000, device=5000)
    with pytest.raises(UserError, match="^data.storage: 9 kB of samples do not fit into the 8 kB of memory left; use "):
        place_samples(ImageFolder(folder), "memory")
    with pytest.raises(UserError, match="^data.storage: 9 kB of samples do not fit into the 5 kB left on cuda; use "):
        place_samples(ImageFolder(folder), "device", "cuda")


def test_a_compressed_tar_lives_in_memory_only(folder, tmp_path, monkeypatch):
    for mode, name in (("w", "a.tar"), ("w:xz", "a.tar.xz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(folder, "images")
    plain, packed = ImageArchive(str(tmp_path / "a.tar")), ImageArchive(str(tmp_path / "a.tar.xz"))
    place_samples(plain, "disk")
    assert describe_samples(plain.samples, 0) == "data: 100 x 3x5x6, 9 kB, on disk"
    assert torch.equal(plain.samples.to("cpu"), packed.samples)
    with pytest.raises(UserError) as error:
        place_samples(packed, "disk")
    assert str(error.value) == (
        "data.storage: disk was asked for, but a compressed tar cannot be read at random places; unpack it, or make a "
        ".zip or plain .tar of it"
    )
    left(monkeypatch, host=10)
    with pytest.raises(UserError, match="^data.path: 9 kB of samples do not fit .* a compressed tar cannot be read at"):
        ImageArchive(str(tmp_path / "a.tar.xz"))


def test_processes_on_a_host_share_its_memory(monkeypatch):
    monkeypatch.setattr(storage.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**40))
    alone = storage.available()
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.setenv(name, "8")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    assert storage.available() == alone // 8 > 0


def test_whoever_uses_samples_need_not_know_where_they_are(folder):
    """Standardisation, the pieces of an evaluation, and its digest."""
    held, unread = ImageFolder(folder), ImageFolder(folder)
    place_samples(held, "memory")
    place_samples(unread, "disk")
    assert isinstance(held.samples, torch.Tensor) and not isinstance(unread.samples, torch.Tensor)
    for a, b in zip(ChannelNorm.of(held).buffers(), ChannelNorm.of(unread).buffers(), strict=True):
        assert torch.equal(a, b)
    sources = Images(held), Images(unread)
    for index, size in ((0, PIECE), (1, 100 - PIECE)):
        piece, same = (source.piece(index, size, "cpu") for source in sources)
        assert torch.equal(piece, same) and len(piece) == size
    few, same = (source.take(7) for source in sources)
    assert torch.equal(few.piece(0, 7, "cpu"), same.piece(0, 7, "cpu"))
    whole, part = ({digest_of(s, s.count, Processes(), None) for s in each} for each in (sources, (few, same)))
    assert len(whole) == len(part) == 1 and whole != part


@pytest.mark.parametrize("kind, workers", [("folder", 0), ("folder", 1), ("folder", 3), ("zip", 2), ("tar", 2)])
def test_batches_are_the_same_to_the_bit_wherever_the_samples_are(kind, workers, folder):
    if kind == "folder":
        held, unread = (ImageFolder(folder, validation=0.2, label_noise=0.3) for _ in range(2))
    else:
        path = shutil.make_archive(folder, kind, folder)
        held, unread = (ImageArchive(path, validation=0.2, label_noise=0.3) for _ in range(2))
    place_samples(held, "memory")
    assert torch.equal(unread.samples.to("cpu"), held.samples), "read here before the workers are made"
    reference = Batches(held, 24, seed=2)
    batches = Batches(unread, 24, seed=2, workers=workers)
    assert reference.workers == 0 and batches.workers == workers
    for index in [0, 1, 2, 3, 4, 5, 6]:  # three epochs of 80
        assert torch.equal(batches(index, index).real, reference(index, index).real)
        assert torch.equal(batches(index, index).labels, reference(index, index).labels)
    batches.close()


def image(kind):
    pixels = np.random.default_rng(5).integers(0, 256, (12, 12, 4), dtype=np.uint8)
    made = Image.fromarray(pixels[:9] if kind == "larger" else pixels[:, :, :3] if kind != "RGBA" else pixels)
    file = io.BytesIO()
    (made.convert({"grey": "L", "palette": "P"}.get(kind, made.mode))).save(file, "PNG")
    return file.getvalue()[: 300 if kind == "truncated" else None]


@pytest.mark.parametrize("kind", ["grey", "palette", "RGBA", "truncated", "larger"])
def test_odd_images_are_the_same_or_named_alike_in_all_storages(kind, tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(image("RGB" if i != 3 else kind))
    found = {}
    for where, workers in (("memory", 0), ("disk", 0), ("disk", 1)):
        data = ImageFolder(str(tmp_path))
        try:
            place_samples(data, where)
            batches = Batches(data, 8, seed=0, workers=workers)
            found[where, workers] = batches(0, 0).real.flatten().tolist()
            batches.close()
        except UserError as error:
            found[where, workers] = str(error)
    first, *others = found.values()
    assert others == [first, first]
    assert isinstance(first, str) == (kind in ("truncated", "larger"))
    if isinstance(first, str):
        assert first.startswith(f"data.path: 3.png in {tmp_path} ") and "set data.on_error to skip" in first
