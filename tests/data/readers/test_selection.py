"""Which files become samples, and the line that says what was left out: real folders and archives."""

import io
import os
import socket
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantrain.data import ImageArchive, ImageFolder
from gantrain.errors import Notice, UserError
from gantrain.metrics.sources.files import open_images


def image(kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(np.random.randint(0, 256, (4, 4, 3), dtype=np.uint8)).save(file, kind)
    return file.getvalue()


def fill(folder, *names, content=None):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image() if content is None else content)


def zipped(folder):
    """The files of a folder as an archive beside it."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return folder.with_suffix(".zip")


def opened(path):
    """The data set, and the notices about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = ImageFolder(str(path)) if path.is_dir() else ImageArchive(str(path))
    return data, [str(warning.message) for warning in caught if warning.category is Notice]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    fill(place, *(f"{k}/{i}.png" for k in "ab" for i in range(4)))
    return place


def test_where_nothing_is_left_out_nothing_is_said(folder):
    assert opened(folder)[1] == opened(zipped(folder))[1] == []


@pytest.mark.parametrize("pack", [lambda folder: folder, zipped])
def test_thumbnails_and_system_folders_are_no_classes_and_are_counted(folder, pack):
    system = ["@eaDir/a/1.jpg", "#recycle/x.png", "lost+found/x.png", "a/.thumbnails/1.png", "Thumbnails/1.png"]
    system += ["$RECYCLE.BIN/S-1/x.png", "System Volume Information/x.png", "__MACOSX/a/._1.png", ".Trash-1000/x.png"]
    system += ["@Recycle/x.png", ".@__thumb/x.png", "Network Trash Folder/x.png", ".ipynb_checkpoints/a.png"]
    system += ["b/Thumbs.db", "b/.DS_Store", "desktop.ini", "b/._1.png", "a/SYNOFILE_THUMB_S.jpg"]
    fill(folder, *system)
    data, notices = opened(pack(folder))
    assert data.class_names == ("a", "b") and len(data.samples) == 8
    expected = f"data: {len(system)} files or folders are left out of {pack(folder)}: {len(system)} hidden or of the "
    assert [notice.startswith(expected + "system (") for notice in notices] == [True]


@pytest.mark.parametrize("pack", [lambda folder: folder, zipped])
def test_images_by_content_without_the_name_of_one_are_counted(folder, pack):
    fill(folder, "a/scan", content=image("JPEG"))
    fill(folder, "b/photo.jfif", "b/photo.txt", content=image("JPEG"))
    fill(folder, "labels.csv", "a/read me.txt", content=b"some text\n")
    data, (notice,) = opened(pack(folder))
    assert len(data.samples) == 8
    assert notice.endswith(
        ": 5 not named like images (a/read me.txt), of which 3 by content are images (a/scan is a JPEG image): "
        "rename or convert these to use them"
    )


def test_what_is_no_image_by_content_is_named_and_its_like_counted(folder):
    fill(folder, "a/0.png", "b/1.png", content=b"<!DOCTYPE html>\n<title>Not found</title>")
    fill(folder, "b/2.png", content=b"")
    message = r"a/0.png in .*pictures cannot be read \(it is no image but a web page\); 2 others are no image"
    with pytest.raises(UserError, match=message):
        ImageFolder(str(folder))
    with pytest.raises(UserError, match=r"a/0.png: cannot be read \(it is no image but a web page\)$"):
        open_images(folder).piece(0, 8, "cpu")
    assert ImageFolder(str(folder), on_error="skip").skipped == 3


@pytest.mark.parametrize("config", [b"# A run of gantrain: its resolved config.\nrun: {}\n", b""])
@pytest.mark.parametrize("pack", [lambda folder: folder, zipped])
def test_a_run_folder_inside_the_data_is_no_class(folder, config, pack):
    run = folder / "checkpoints" / "run"
    fill(run, "samples/step_10.png", "samples/ema_step_10_seed_0/00000.png", "diagnosis/step_10/spectrum.png")
    fill(run, "config.yaml", content=config)
    fill(run, "step_10/manifest.json", "metrics.jsonl", content=b"{}")
    fill(folder, "checkpoints/comparison.png")
    fill(folder, "checkpoints/comparison.csv", content=b"run,fid\n")
    data, (notice,) = opened(pack(folder))
    assert data.class_names == ("a", "b") and len(data.samples) == 8
    assert ": 4 written by gantrain (checkpoints/comparison.png), 1 not named like images (check" in notice
    assert len(open_images(folder)._files) == 8
    fill(folder, "a/map.png", "config.yaml")  # of the user's own
    assert len(opened(pack(folder))[0].samples) == 9


def test_links_that_lead_in_a_circle_are_left_out_and_others_followed(folder, tmp_path):
    fill(tmp_path / "elsewhere", "0.png")
    (folder / "a" / "loop").symlink_to("..")
    (folder / "a" / "self").symlink_to("self")
    (folder / "b" / "up").symlink_to(folder.parent)
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    data, (notice,) = opened(folder)
    # Through b/up the folder elsewhere is found once more.
    assert sorted(data.labels.tolist()) == 4 * [0] + 5 * [1] + [2]
    assert "linked in a circle (a/loop)" in notice


def test_links_that_multiply_come_to_an_end(folder):
    for i in range(40):
        (folder / f"l{i}").mkdir()
        for name in "xy":
            (folder / f"l{i}" / name).symlink_to(f"../l{i + 1}" if i < 39 else "../a")
    data, _ = opened(folder)
    assert len(data.samples) <= 101 * 4 + 8


def test_a_class_folder_that_cannot_be_read_is_an_error(folder):
    (folder / "b").chmod(0)
    fill(folder, "lost+found/x")
    (folder / "lost+found").chmod(0)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # root reads everything
        try:
            os.chdir(folder)
            if not os.geteuid():
                os.setuid(65534)
            opened(Path("."))
        except BaseException as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader, "rb") as answer:
        text = answer.read().decode()
    for name in ("b", "lost+found"):
        (folder / name).chmod(0o700)
    assert text.startswith("UserError('data: the folder ") and " b cannot be read: Permission denied; " in text


def test_fifos_sockets_and_devices_are_left_out_of_folders_and_archives(folder, tmp_path, monkeypatch):
    os.mkfifo(folder / "a" / "fifo.png")
    (folder / "b" / "link.png").symlink_to("/dev/zero")
    monkeypatch.chdir(folder)
    with socket.socket(socket.AF_UNIX) as held:
        held.bind("socket.png")
    data, (notice,) = opened(folder)
    assert len(data.samples) == 8 and "3 special: FIFO, device or socket (a/fifo.png)" in notice
    assert open_images(folder).count == 8
    with tarfile.open(tmp_path / "pictures.tar", "w") as archive:
        archive.add(folder, "")
    data, (notice,) = opened(tmp_path / "pictures.tar")
    assert (
        len(data.samples) == 8
        and "1 special: FIFO or device (a/fifo.png)" in notice
        and "1 linked (b/link.png)" in notice
    )


def test_a_file_that_becomes_a_fifo_is_named(folder):
    data, _ = opened(folder)
    (folder / "a" / "1.png").unlink()
    os.mkfifo(folder / "a" / "1.png")
    with pytest.raises(UserError, match=r"a/1.png in .* cannot be read \(is a FIFO, expected a file\)"):
        data.samples.to("cpu")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_archives_made_on_windows_keep_parts_and_classes(tmp_path, suffix):
    path = tmp_path / f"pictures.{suffix}"
    files = {rf"data\{part}\{k}\{i}.png": image() for part in ("train", "val") for k in "ab" for i in range(2)}
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data\\", b"")
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, f"w:{suffix[4:]}") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    train, validation = (ImageArchive(str(path), split=split) for split in ("train", "validation"))
    assert train.class_names == validation.class_names == ("a", "b")
    assert train.labels.tolist() == validation.labels.tolist() == [0, 0, 1, 1]
    stored = train.samples.to("cpu")[0].permute(1, 2, 0)
    assert torch.equal(stored, torch.from_numpy(np.array(Image.open(io.BytesIO(files[r"data\train\a\0.png"])))))
