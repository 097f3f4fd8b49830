"""Archives told by their content, and what would make a reader wait or take the memory."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from gantrain.data import ImageArchive
from gantrain.data.readers import containers
from gantrain.data.readers.tables import read
from gantrain.errors import UserError


def png():
    file = io.BytesIO()
    Image.fromarray(np.random.randint(0, 256, (4, 4, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def tarred(files):
    """An uncompressed tar of these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zipped(files, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


FILES = {f"{k}/{i}.png": png() for k in "ab" for i in range(2)}


@pytest.mark.parametrize("name", ["data", "data.bin", "data.tar", "data.zip"])
@pytest.mark.parametrize("pack", [zipped, tarred, *(lambda f, m=m: m.compress(tarred(f)) for m in (gzip, bz2, lzma))])
def test_the_content_of_an_archive_counts_and_not_its_name(name, pack, tmp_path):
    (tmp_path / name).write_bytes(pack(FILES))
    assert ImageArchive(str(tmp_path / name)).labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"\x28\xb5\x2f\xfd" + bytes(20),
            "is a Zstandard file, expected a .zip, .*; unpack it and use",
        ),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "is a 7z archive, expected a .zip, .tar"),
        (b"Rar!\x1a\x07\x01" + bytes(20), "is a RAR archive, expected a .zip, .tar"),
        (png(), "is a PNG image, expected an archive; put images into a folder for image_folder"),
        (b"some text", r"is not a tar archive, or is damaged \(it is text\)"),
        (gzip.compress(b"no tar"), "is not a tar archive, or is damaged"),
        (zipped(FILES)[:-30], "is not a zip archive, or is damaged"),
    ],
    # Archives hold the time at which they were packed, and the tests must be called alike in all workers.
    ids=["zstd", "7z", "rar", "png", "text", "gzip", "zip"],
)
def test_what_is_no_archive_is_named(content, message, tmp_path):
    (tmp_path / "data.tar.zst").write_bytes(content)
    with pytest.raises(UserError, match=f"^data.path: .*data.tar.zst {message}") as raised:
        ImageArchive(str(tmp_path / "data.tar.zst"))
    assert "\n" not in str(raised.value)


def test_a_zip_that_python_cannot_unpack_is_named(tmp_path):
    content = bytearray(zipped(FILES))
    for at in (i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"):
        content[at + 8] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(UserError, match="locked.zip is encrypted; unpack it, and use image_folder"):
        ImageArchive(str(tmp_path / "locked.zip"))
    for at in (i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"):
        content[at + 8], content[at + 10] = 0, 9
    (tmp_path / "other.zip").write_bytes(content)
    with pytest.raises(UserError, match="other.zip is compressed by method 9, which Python cannot read; unpack it"):
        ImageArchive(str(tmp_path / "other.zip"))


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_file_that_unpacks_to_more_than_any_image_is_refused(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "LARGEST", 10_000)
    (tmp_path / "data").write_bytes(pack(FILES | {"a/bomb.png": bytes(10_001), "b/big.png": bytes(10_000)}))
    with pytest.raises(UserError, match=r"a/bomb.png in .* cannot be read \(it has more than 0 MiB, the largest size"):
        ImageArchive(str(tmp_path / "data"), size=4).samples.to("cpu")
    assert ImageArchive(str(tmp_path / "data"), on_error="skip").skipped == 2


def test_a_compressed_tar_with_a_file_larger_than_any_image_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "LARGEST", 10_000)
    (tmp_path / "data").write_bytes(gzip.compress(tarred(FILES | {"a/bomb.bin": bytes(10_001)})))
    with pytest.raises(UserError, match="a/bomb.bin in .*data has more than 0 MiB, .*; unpack it and use image_folder"):
        ImageArchive(str(tmp_path / "data"))


def test_a_zip_whose_headers_lie_unpacks_no_further(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "LARGEST", 10_000)
    content = zipped({"a/bomb.png": bytes(10_000_000)})
    (tmp_path / "data.zip").write_bytes(content.replace((10_000_000).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    with pytest.raises(UserError, match="a/bomb.png in .* cannot be read"):
        ImageArchive(str(tmp_path / "data.zip"), size=4).samples.to("cpu")


@pytest.mark.parametrize("kind", [gzip, bz2, lzma])
def test_a_compressed_tar_that_unpacks_without_end_is_given_up(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_AT_LEAST", 10_000)
    monkeypatch.setattr(containers, "_RATIO", 20)
    (tmp_path / "data").write_bytes(kind.compress(tarred(FILES | {"notes.txt": bytes(1_000_000)})))
    with pytest.raises(UserError, match="data unpacks to more than 20 times its size, as no archive of images does"):
        ImageArchive(str(tmp_path / "data"))


def test_a_fifo_or_device_in_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo.csv")
    for path, kind in ((tmp_path / "fifo.csv", "a FIFO"), ("/dev/zero", "a device")):
        with pytest.raises(UserError, match=f"data.path: {path} cannot be read: is {kind}, expected a file"):
            ImageArchive(str(path))
    with pytest.raises(UserError, match="fifo.csv: cannot be read: is a FIFO, expected a file"):
        read(tmp_path / "fifo.csv", ["text"])
