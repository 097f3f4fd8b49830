"""The digest of real images is kept by the times of their files, and its work shared."""

from __future__ import annotations

import os
import time
import zipfile

import pytest
from forked import together
from image_sets import DIGITS, digest, images, written

from gantrain.data import ImageArchive, ImageFolder
from gantrain.data.readers import containers
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.metrics import Folder, Images
from gantrain.metrics import digest as module
from gantrain.metrics.digest import digest_of

KINDS = {
    "folder": lambda path: Folder(path / "images", 1),
    "data in a folder": lambda path: Images(ImageFolder(str(path / "images"), channels=1)),
    "data in an archive": lambda path: Images(ImageArchive(str(path / "images.zip"), channels=1)),
}


def zipped(path):
    with zipfile.ZipFile(path / "images.zip", "w") as archive:
        for file in sorted((path / "images").iterdir()):
            archive.write(file, file.name)


class Disk:
    """Images that are read under a clock of the test, and the names of the files read."""

    def __init__(self, monkeypatch, path):
        self.path, self.read, self.later = path, [], 10 * 10**9
        for kind in (containers.Folder, containers.Zip):
            monkeypatch.setattr(kind, "read", self.counting(kind.read))
        now = time.time_ns
        monkeypatch.setattr(containers.time, "time_ns", lambda: now() + self.later)
        monkeypatch.setattr(module, "_CHUNK", 10)

    def counting(self, read):
        def counted(container, name, most):
            self.read.append(name)
            return read(container, name, most)

        return counted

    def digest(self, kind):
        """The digest of the images, and how many files were read for it."""
        source = KINDS[kind](self.path)
        before = len(self.read)
        return digest_of(source, source.count, Processes(), self.path / "cache"), len(self.read) - before


@pytest.fixture
def disk(tmp_path, monkeypatch):
    written(tmp_path / "images", DIGITS.samples[:25])
    zipped(tmp_path)
    return Disk(monkeypatch, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_again_until_a_file_changes(disk, kind):
    first = disk.digest(kind)
    assert first == (digest(KINDS[kind](disk.path)), 25)
    assert disk.digest(kind) == (first[0], 0)
    # The same size and the same time of the last change of the content, but other content.
    changed = disk.path / ("images.zip" if "archive" in kind else "images/00007.png")
    status = changed.stat()
    content = bytearray(changed.read_bytes())
    other = written(disk.path / "others", DIGITS.samples[7:8].flip(2))
    if "archive" in kind:
        (other / "00000.png").replace(disk.path / "images" / "00007.png")
        zipped(disk.path)
    else:
        content[-20] ^= kind == "folder"
        changed.write_bytes(content if kind == "folder" else (other / "00000.png").read_bytes())
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = disk.digest(kind)
    assert again[0] != first[0] and again[1] == 25
    assert disk.digest(kind) == (again[0], 0)


@pytest.mark.parametrize("kind", ["folder", "data in a folder"])
def test_another_name_is_another_file_and_the_place_does_not_count(disk, kind):
    _, read = disk.digest(kind)
    os.rename(disk.path / "images", disk.path / "moved")
    (disk.path / "images").symlink_to(disk.path / "moved")
    assert read == 25 and disk.digest(kind)[1] == 0
    os.rename(disk.path / "moved" / "00003.png", disk.path / "moved" / "00003b.png")
    assert disk.digest(kind)[1] == 25
    os.remove(disk.path / "moved" / "00003b.png")
    assert disk.digest(kind)[1] == 24


def test_files_that_have_just_been_written_are_read_again(disk):
    disk.later = 0
    first = disk.digest("folder")
    assert disk.digest("folder") == first and first[1] == 25
    assert not (disk.path / "cache").exists()


def test_another_decoding_is_not_taken_for_the_one_that_is_kept(disk):
    disk.digest("data in a folder")
    grey = digest_of(Images(ImageFolder(str(disk.path / "images"), channels=3)), 25, Processes(), disk.path / "cache")
    small = digest_of(
        Images(ImageFolder(str(disk.path / "images"), channels=1, size=4)), 25, Processes(), disk.path / "cache"
    )
    assert len({grey, small, disk.digest("data in a folder")[0]}) == 3


def test_a_kept_digest_that_is_damaged_is_computed_anew(disk, capsys):
    first, _ = disk.digest("folder")
    (kept,) = (disk.path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"!")
    with pytest.warns(match="not used"):
        assert disk.digest("folder") == (first, 25)
    assert disk.digest("folder") == (first, 0)


def shared(path):
    """What a process finds of the folder without and with what is kept, and the files it read; then of a tensor."""
    with process_group(cpu=True), pytest.MonkeyPatch.context() as patch:
        disk, processes = Disk(patch, path), Processes.launched()
        found = []
        for _ in range(2):
            source = KINDS["data in a folder"](path)
            found.append(digest_of(source, source.count, processes, path / "cache"))
        memory = images(DIGITS.samples[:25])
        return found, disk.read, digest_of(memory, 25, processes, None)


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_share_the_files_and_find_the_digest_of_one(disk, world):
    alone = digest(KINDS["data in a folder"](disk.path)), digest(images(DIGITS.samples[:25]))
    disk.read.clear()
    answers = together(shared, disk.path, world=world)
    assert all(found == [alone[0]] * 2 and memory == alone[1] for found, _, memory in answers)
    # Each process opens the first file to learn the size of the images.
    openings = sorted(name for _, read, _ in answers for name in read)
    assert len(set(openings)) == 25 and len(openings) == 25 + 2 * world
    assert all(len(set(read)) < 25 for _, read, _ in answers)
