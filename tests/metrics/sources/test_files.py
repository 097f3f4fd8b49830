from __future__ import annotations

import shutil
import warnings
import zipfile

import numpy as np
import pytest
import torch
from image_sets import DIGITS, Pixels, digest, images, written
from PIL import Image

from gantrain.errors import Notice, UserError
from gantrain.metrics import Folder, evaluate, open_images
from gantrain.plotting.images import save_png


def all_of(source):
    sizes = [(i, min(64, source.count - 64 * i)) for i in range(-(-source.count // 64))]
    return torch.cat(list(source.pieces(sizes, "cpu")))


def test_images_are_read_in_the_order_of_their_paths(tmp_path):
    folder = written(tmp_path / "images", DIGITS.samples[:150])
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    source = open_images(folder, 1)
    assert isinstance(source, Folder) and source.count == 150
    assert torch.equal(all_of(source), DIGITS.samples[:150])
    assert torch.equal(all_of(open_images(folder)), DIGITS.samples[:150].expand(-1, 3, -1, -1))


def test_folders_in_the_folder_are_read_whatever_they_are_called(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir()
    for i, name in enumerate(("a", "train", "z")):
        written(folder / name, DIGITS.samples[10 * i : 10 * i + 10])
    assert torch.equal(all_of(Folder(folder, 1)), DIGITS.samples[:30])


def test_a_subset_of_the_files_has_its_own_digest(tmp_path):
    folder = written(tmp_path / "images", DIGITS.samples[:100])
    source = Folder(folder, 1)
    few = source.take(30)
    assert few.count == 30 and torch.equal(all_of(few), all_of(images(DIGITS.samples[:100]).take(30)))
    assert len({digest(source), digest(few), digest(Folder(folder, 3))}) == 3
    before = digest(source)
    save_png(DIGITS.samples[100], folder / "00050.png")
    assert digest(Folder(folder, 1)) != before


def test_an_archive_gives_the_numbers_of_its_folder(tmp_path):
    folder = written(tmp_path / "images", DIGITS.samples[:40])
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    real, extractor = images(DIGITS.samples[40:80]), Pixels((1, 8, 8))
    reports = [evaluate(open_images(p, 1), real, extractor, ["isc"]).scalars for p in (folder, tmp_path / "images.zip")]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("folders", "classes"),
    [
        (("train/", "test/"), ["test", "train"]),
        (("test/",), ["test"]),
        (("", "cats/"), None),
        (("photos/cats/", "photos/dogs/"), ["cats", "dogs"]),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_all_of_an_archive_is_read_whatever_its_folders_are_called(tmp_path, folders, classes, kind):
    where = [folders[i % len(folders)] for i in range(6)]
    files = [f"{folder}{i}.png" for i, folder in enumerate(where)]
    for i, file in enumerate(files):
        (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        save_png(DIGITS.samples[i], tmp_path / "in" / file)
    path = shutil.make_archive(str(tmp_path / "images"), {"zip": "zip", "tar.gz": "gztar"}[kind], tmp_path / "in")
    source = open_images(path, 1)
    order = sorted(range(6), key=files.__getitem__)
    assert torch.equal(all_of(source), DIGITS.samples[order])
    assert (list(source.class_names) if source.class_names else None) == classes
    if classes is not None:
        names = [source.class_names[n] for n in source.labels_of(torch.arange(6)).tolist()]
        assert names == [where[i].rstrip("/").rpartition("/")[2] for i in order]


def test_transparent_pixels_are_laid_over_white_and_said_so_once(tmp_path):
    colour = np.zeros((8, 8, 4), dtype=np.uint8)
    colour[:4, :, 3] = 255
    for i in range(3):
        Image.fromarray(colour).save(tmp_path / f"{i}.png")
    with pytest.warns(Notice, match="0.png: has transparent pixels, which are laid over white") as caught:
        found = all_of(Folder(tmp_path))
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert found[:, :, :4].max() == 0 and found[:, :, 4:].min() == 255


def test_opaque_rgba_is_rgb(tmp_path):
    Image.fromarray(np.full((8, 8, 4), 255, dtype=np.uint8)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all_of(Folder(tmp_path)).min() == 255


def spoil(folder, kind):
    if kind == "cut":
        (folder / "00003.png").write_bytes((folder / "00003.png").read_bytes()[:60])
    elif kind == "text":
        (folder / "00003.png").write_text("no image")
    elif kind == "size":
        save_png(torch.zeros(1, 9, 8, dtype=torch.uint8), folder / "00003.png")
    elif kind == "link":
        (folder / "00003.png").unlink()
        (folder / "00003.png").symlink_to(folder / "nowhere.png")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", r"00003.png: cannot be read \("),
        ("text", r"00003.png: cannot be read \("),
        ("link", r"00003.png: cannot be read \("),
        ("size", "00003.png: has 8 x 9 pixels and others in .*images have 8 x 8; scale all to one size"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, kind, message):
    folder = written(tmp_path / "images", DIGITS.samples[:10])
    spoil(folder, kind)
    with pytest.raises(UserError, match=message) as caught:
        evaluate(Folder(folder, 1), None, Pixels((1, 8, 8)), ["isc"])
    assert "\n" not in str(caught.value)


def test_nothing_to_read_is_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no image; expected files called .bmp"):
        open_images(tmp_path)
    with pytest.raises(UserError, match="nowhere: there is nothing at nowhere in .*; expected a folder or an archive"):
        open_images(tmp_path / "nowhere")
