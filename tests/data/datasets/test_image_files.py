import copy
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_sets import CLASSIFICATION
from PIL import Image
from tiny import config_of

from gantrain.config.parts import build
from gantrain.data import Batches, ImageArchive, ImageFolder
from gantrain.data.readers.file_samples import FileSamples
from gantrain.data.readers.windows import RandomWindows
from gantrain.data.storage import place_samples
from gantrain.errors import Notice, UserError


def png(height=4, width=4):
    """Random pixels, and a PNG file of them."""
    pixels = np.random.randint(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return pixels, file.getvalue()


def tree(*names):
    """Pixels and files by name."""
    made = {name: png() for name in names}
    return {name: pixels for name, (pixels, _) in made.items()}, {name: content for name, (_, content) in made.items()}


def written(kind, files, folder, name="pictures"):
    """A folder or an archive of these files, and the data set's class."""
    if kind == "folder":
        for file, content in files.items():
            (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / file).write_bytes(content)
        return ImageFolder, str(folder / name)
    path = folder / f"{name}.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, content in files.items():
                archive.writestr(file, content)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for file, content in files.items():
                member = tarfile.TarInfo(file)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return ImageArchive, str(path)


def read(data):
    """All samples, which lie in their files unless these are a compressed tar."""
    return data.samples.to("cpu")


KINDS = ["folder", "zip", "tar", "tar.gz", "tar.xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_labels_in_the_order_of_their_paths_whatever_the_container(kind, tmp_path):
    pixels, files = tree("b/2.png", "a/1.png", "b/1.png")
    cls, path = written(kind, {"notes.txt": b"hello", **files}, tmp_path)
    data = cls(path)
    expected = np.stack([pixels[name] for name in ("a/1.png", "b/1.png", "b/2.png")])
    assert isinstance(data.samples, torch.Tensor) == kind.startswith("tar."), "only a compressed tar is read at once"
    assert (data.samples.dtype, data.samples.ndim, tuple(data.samples.shape)) == (torch.uint8, 4, (3, 3, 4, 4))
    assert read(data).dtype == torch.uint8 and read(data).is_contiguous()
    assert np.array_equal(read(data).permute(0, 2, 3, 1).numpy(), expected)
    for rows in (torch.tensor([2, 0]), slice(1, 3)):
        assert torch.equal(data.samples[rows].to("cpu"), read(data)[rows])
    assert [len(part) for part in data.samples.split(2)] == [2, 1]
    assert torch.equal(torch.cat([part.to("cpu") for part in data.samples.split(2)]), read(data))
    assert data.labels.tolist() == [0, 1, 1] and data.labels.dtype == torch.int64
    assert data.class_names == ("a", "b") and data.skipped == 0
    assert (data.spec.shape, data.spec.classes) == ((3, 4, 4), 2)
    assert data.decode(read(data)).max() <= 1


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.xz"])
def test_parts(kind, tmp_path):
    names = [f"train/{k}/{i}.png" for k in "ab" for i in range(10)] + ["test/b/0.png", "test/b/1.png"]
    pixels, files = tree(*names)
    cls, path = written(kind, files, tmp_path)
    assert len(cls(path).samples) == 20
    test = cls(path, split="test")
    assert test.labels.tolist() == [1, 1] and test.spec.classes == 2, "numbered as in train"
    assert np.array_equal(read(test)[1].permute(1, 2, 0).numpy(), pixels["test/b/1.png"])
    train, held_out = (cls(path, split=split, validation=0.25) for split in ("train", "validation"))
    assert (len(train.samples), len(held_out.samples)) == (15, 5)
    assert torch.cat([read(train), read(held_out)]).unique(dim=0).shape[0] == 20
    noisy = cls(path, label_noise=1.0, noise_seed=1)
    assert not torch.equal(noisy.labels, cls(path).labels)
    assert cls(path, split="test", label_noise=1.0).labels.tolist() == [1, 1]
    with pytest.raises(UserError, match="data.validation: 0 of 20 training samples leaves the validation part empty"):
        cls(path, split="validation")


def test_an_official_validation_part_is_taken_instead_of_holding_out(tmp_path):
    _, files = tree("train/a/1.png", "train/a/2.png", "val/a/3.png")
    cls, path = written("folder", files, tmp_path)
    sizes = [len(cls(path, split=split, validation=0.5, label_noise=0.5).samples) for split in ("train", "validation")]
    assert sizes == [2, 1]


def test_a_folder_that_is_itself_a_part(tmp_path):
    _, files = tree("test/a/1.png", "test/b/1.png")
    written("folder", files, tmp_path, "data")
    data = ImageFolder(str(tmp_path / "data" / "test"), split="test")
    assert data.labels.tolist() == [0, 1]
    with pytest.raises(UserError, match="data.split: no folder train in"):
        ImageFolder(str(tmp_path / "data" / "test"))


def test_linked_class_folders_are_followed(tmp_path):
    _, files = tree("x/1.png")
    written("folder", files, tmp_path, "elsewhere")
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / "x")
    assert ImageFolder(str(tmp_path / "data")).labels.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_data_without_classes_make_batches_and_take_no_label_noise(kind, tmp_path):
    _, files = tree("1.png", "2.png", "3.png")
    cls, path = written(kind, files, tmp_path)
    data = cls(path, channels=1)
    assert data.labels is None and data.spec.classes == 0 and data.class_names == ()
    assert Batches(data, 2, seed=0)(0, 0).real.shape == (2, 1, 4, 4)
    with pytest.raises(UserError, match="data.label_noise: the data have no labels"):
        cls(path, label_noise=0.1)


def spoiled(**wrong):
    _, files = tree(*(f"a/{i}.png" for i in range(6)))
    return files | {f"a/{name}.png": content for name, content in wrong.items()}


WHOLE = png(32, 32)[1]
FAULTS = {
    "corrupt": (b"\x89PNG\r\n\x1a\nnot really", "cannot be read"),
    "empty": (b"", "cannot be read"),
    "text": (b"hello", "cannot be read"),
    "truncated": (WHOLE[: len(WHOLE) // 2], "cannot be read"),
    "larger": (png(5, 7)[1], "has 7 x 5 pixels"),
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.xz"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_image_that_is_wrong_is_named_or_skipped_and_counted(kind, fault, tmp_path):
    content, what = FAULTS[fault]
    cls, path = written(kind, spoiled(wrong=content), tmp_path)
    with pytest.raises(UserError, match=rf"^data.path: a/wrong.png in .*pictures.* {what}.*set data.on_error to skip$"):
        read(cls(path))
    with pytest.warns(Notice) as said:
        data = cls(path, on_error="skip")
    assert len(read(data)) == len(data.labels) == 6 and data.skipped == 1
    (line,) = (str(warning.message) for warning in said)
    assert "1 of 7 images in" in line and f"a/wrong.png {what}" in line and "\n" not in line


def test_a_truncated_jpeg_is_noticed(tmp_path):
    file = io.BytesIO()
    Image.fromarray(png(64, 64)[0]).save(file, "JPEG")
    cls, path = written("folder", {"a.jpg": file.getvalue(), "b.jpg": file.getvalue()[:-400]}, tmp_path)
    with pytest.raises(UserError, match="b.jpg in .* cannot be read .*truncated"):
        read(cls(path))


def test_the_odd_one_out_is_skipped_also_where_it_comes_first(tmp_path):
    cls, path = written("folder", spoiled(**{"00": png(9, 9)[1]}), tmp_path)
    data = cls(path, on_error="skip")
    assert read(data).shape == (6, 3, 4, 4)


def test_with_a_size_images_of_all_sizes_are_welcome(tmp_path):
    cls, path = written("folder", spoiled(wide=png(5, 30)[1], tall=png(40, 6)[1]), tmp_path)
    assert read(cls(path, size=4)).shape == (8, 3, 4, 4)


def test_where_every_image_is_wrong_skipping_does_not_help(tmp_path):
    cls, path = written("folder", {"a.png": b"x", "b.png": b"y"}, tmp_path)
    with pytest.raises(UserError, match="none of the 2 images in .* can be used: a.png cannot be read"):
        cls(path, on_error="skip")


def test_an_empty_folder_and_no_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="data.path: no image in .*empty"):
        ImageFolder(str(tmp_path / "empty"))
    for cls in (ImageFolder, ImageArchive):
        with pytest.raises(UserError, match=f"data.path: there is nothing at nowhere in {tmp_path}$"):
            cls(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="is a folder; use image_folder"):
        ImageArchive(str(tmp_path / "empty"))
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(UserError, match="is not a folder; for an archive, use image_archive"):
        ImageFolder(str(tmp_path / "x.tar"))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_a_damaged_archive_is_one_line(kind, tmp_path):
    _, files = tree(*(f"a/{i}.png" for i in range(20)))
    cls, path = written(kind, files, tmp_path)
    whole = Path(path).read_bytes()
    middle = len(whole) // 2
    for content in (whole[:middle], whole[: middle + 100], whole[: middle + 600], b"no archive at all" * 100, b""):
        Path(path).write_bytes(content)
        for on_error in ("stop", "skip"):
            with pytest.raises(UserError, match=r"^data.path: .* is not a (zip|tar) archive, or is damaged") as error:
                cls(path, on_error=on_error)
            assert "\n" not in str(error.value)


def test_a_damaged_file_in_a_zip_is_that_files_fault(tmp_path):
    _, files = tree(*(f"a/{i}.png" for i in range(3)))
    cls, path = written("zip", files, tmp_path)
    content = bytearray(Path(path).read_bytes())
    start = content.index(b"a/1.png") + 20
    content[start : start + 10] = bytes(10)
    Path(path).write_bytes(content)
    with pytest.raises(UserError, match="data.path: a/1.png in .* cannot be read"):
        read(cls(path))
    assert cls(path, on_error="skip").skipped == 1


def test_nothing_is_written_whatever_paths_an_archive_holds(tmp_path):
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    _, files = tree("../../a/evil.png", "/b/absolute.png")
    for kind in ("zip", "tar"):
        cls, path = written(kind, files, inner)
        assert cls(path).class_names == ("a", "b")
    with tarfile.open(inner / "links.tar", "w") as archive:
        for name, link in (("a/link.png", tarfile.SYMTYPE), ("a/hard.png", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = link, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(UserError, match="no image"):
        ImageArchive(str(inner / "links.tar"))
    assert {p.name for p in tmp_path.rglob("*")} == {"deep", "inner", "pictures.zip", "pictures.tar", "links.tar"}


def test_from_a_config(tmp_path):
    _, files = tree("a/1.png", "b/1.png")
    _, path = written("zip", files, tmp_path)
    data = build("data", {"name": "image_archive", "path": path, "size": 8, "channels": 1})
    assert data.spec.shape == (1, 8, 8)
    with pytest.raises(UserError, match="data.path: is missing"):
        build("data", "image_folder")
    with pytest.raises(UserError, match="data.channels: expected"):
        build("data", {"name": "image_archive", "path": path, "channels": 2})
    data = build("data", {"name": "image_archive", "path": path, "size": [8, 12], "channels": 4})
    assert data.spec.shape == (4, 8, 12)


WINDOWS = {"size": 6, "random_resized_crop": (0.1, 0.9)}


def photographs(folder, count=12):
    rng = np.random.default_rng(3)
    for i in range(count):
        (folder / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(rng.integers(0, 256, (20 + i, 25, 3), dtype=np.uint8))
        image.save(folder / "ab"[i % 2] / f"{i}.png")
    return str(folder)


def test_training_sees_random_windows_that_are_a_function_of_seed_draw_and_place(tmp_path):
    path = photographs(tmp_path / "photographs")
    data = ImageFolder(path, **WINDOWS)
    place_samples(data)
    assert isinstance(data.samples, FileSamples), "they stay in their files, however small they are"
    whole = Batches(data, 8, seed=5)
    first, again = whole(0, 0), Batches(data, 8, seed=5)(0, 0)
    assert torch.equal(first.real, again.real), "an oracle that asks twice sees the same"
    assert len({first.real.numpy().tobytes(), whole(3, 3).real.numpy().tobytes()}) == 2
    shares = [Batches(data, 8, seed=5, rank=rank, world_size=2)(3, 3).real for rank in (0, 1)]
    assert torch.equal(torch.cat(shares), whole(3, 3).real)
    micro = [whole(3, 3, (part, 4)).real for part in range(4)]
    assert torch.equal(torch.cat(micro), whole(3, 3).real)
    ahead = Batches(data, 8, seed=5, workers=2)
    for draw in (0, 1, 2):
        assert torch.equal(ahead(draw, draw).real, whole(draw, draw).real)
    ahead.close()
    # The same image looks different in another epoch, and evaluations see the centre.
    row = int(whole.rows(0)[0])
    seen = {whole(i, i).real[whole.rows(i) == row].numpy().tobytes() for i in range(6) if row in whole.rows(i)}
    assert len(seen) > 1
    assert torch.equal(data.samples.to("cpu"), ImageFolder(path, size=6).samples.to("cpu"))
    assert not torch.equal(Batches(data, 8, seed=6)(0, 0).real, first.real)


def test_windows_are_kept_by_the_parts_of_a_data_set_and_left_out_of_evaluations(tmp_path):
    path = photographs(tmp_path / "photographs")
    data = build("data", {"name": "image_folder", "path": path, "validation": 0.25, "limit": 6, **WINDOWS})
    assert len(data.samples) == 6 and data.samples.random_numbers == RandomWindows.NUMBERS
    base = copy.deepcopy(CLASSIFICATION) | {"evaluate": {"every": 10, "data": {"split": "validation"}}}
    base["data"] = {"name": "image_folder", "path": path, "validation": 0.25, "resize": 8, **WINDOWS}
    config = config_of(base, tmp_path)
    assert config.data.part.random_resized_crop == (0.1, 0.9) and config.evaluate.data.random_resized_crop is None
    assert config.evaluate.data.resize == 8


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"random_resized_crop": (0.1, 1.0)},
            "data.size: is missing; with data.random_resized_crop, windows are scaled",
        ),
        ({"resize": 8}, "data.size: is missing; with data.resize"),
        ({"size": (4, 9), "resize": 8}, "data.resize: expected at least 9, the size that is cut out, got 8"),
        ({"size": 4, "random_resized_crop": (0.5, 0.1)}, r"data.random_resized_crop: expected .*, got \[0.5, 0.1\]"),
        (
            {"size": 4, "random_resized_crop": (0.0, 0.1)},
            r"data.random_resized_crop: expected .*0 < low <= high, got \[0,",
        ),
        ({**WINDOWS, "crop_ratio": (2.0, 1.0)}, r"data.crop_ratio: expected .*, got \[2, 1\]"),
    ],
)
def test_keys_of_the_geometry_that_do_not_fit_are_one_line(keys, message, tmp_path):
    with pytest.raises(UserError, match=message):
        ImageFolder(photographs(tmp_path / "photographs", 2), **keys)


def test_windows_need_files_that_are_read_at_random_places(tmp_path):
    path = photographs(tmp_path / "photographs", 2)
    for storage in ("memory", "device"):
        with pytest.raises(
            UserError, match=f"data.storage: {storage} was asked for, but data.random_resized_crop reads"
        ):
            place_samples(ImageFolder(path, **WINDOWS), storage)
    packed = shutil.make_archive(str(tmp_path / "packed"), "gztar", path)
    with pytest.raises(UserError, match="data.random_resized_crop: windows are read from files, but a compressed tar"):
        ImageArchive(packed, **WINDOWS)
    assert ImageArchive(shutil.make_archive(str(tmp_path / "packed"), "zip", path), **WINDOWS).samples.random_numbers
