"""Hugging Face data sets in folders, as the package datasets and the hub write them."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from later import Later, later_or_skip
from PIL import Image

from gantrain.config.parts import build
from gantrain.data import Batches
from gantrain.data.datasets import huggingface
from gantrain.data.storage import place_samples
from gantrain.errors import Notice, UserError

pa, parquet = later_or_skip("pyarrow"), Later("pyarrow.parquet")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LEVELS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
LABELS = [i % 3 for i in range(12)]
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["ant", "bee", "cat"], "_type": "ClassLabel"}}


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def table(rows, labels=LABELS, features=FEATURES, **more):
    """A table as the package datasets writes it, with the description of its columns in the metadata."""
    images = [{"bytes": png(IMAGES[row]), "path": None} for row in rows]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(images, kind), "label": pa.array([labels[row] for row in rows]), **more}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    return pa.table(columns).replace_schema_metadata(metadata)


def arrow(path, content):
    """A file as save_to_disk writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
        writer.write_table(content, max_chunksize=4)


def shards(folder, form):
    """The twelve images as a data set's part train, and three more as test, in one of the forms of folders."""
    train, test = [table(range(5)), table(range(5, 12))], table(range(3))
    if form == "saved":
        for i, part in enumerate(train):
            arrow(folder / f"data-0000{i}-of-00002.arrow", part)
        (folder / "state.json").write_text("{}")
    elif form == "saved in parts":
        for i, part in enumerate(train):
            arrow(folder / "train" / f"data-0000{i}-of-00002.arrow", part)
        arrow(folder / "test" / "data-00000-of-00001.arrow", test)
    elif form == "cache":
        arrow(folder / "pets-train.arrow", pa.concat_tables(train))
        arrow(folder / "pets-test.arrow", test)
        arrow(folder / "cache-0123456789abcdef.arrow", test)
    else:
        place = {"repository": "data", "flat": ".", "old": "plain_text", "converted": "train"}[form]
        (folder / place).mkdir(parents=True, exist_ok=True)
        for i, part in enumerate(train):
            name = {"converted": f"000{i}", "old": f"train-0000{i}-of-00002-a09b74b3ef9c3b56"}.get(form)
            parquet.write_table(part, folder / place / f"{name or f'train-0000{i}-of-00002'}.parquet", row_group_size=2)
        (folder / "test").mkdir(exist_ok=True)
        where = folder / "test/0000.parquet" if form == "converted" else folder / place / "test-00000-of-00001.parquet"
        parquet.write_table(test, where)
    return str(folder)


def images(path, **keys):
    return build("data", {"name": "huggingface", "path": path, **keys})


FORMS = ["saved", "saved in parts", "cache", "repository", "flat", "old", "converted"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_folder_is_read(tmp_path, form):
    path = shards(tmp_path, form)
    data = images(path)
    assert not isinstance(data.samples, torch.Tensor) and data.class_names == ("ant", "bee", "cat")
    assert torch.equal(data.samples.to("cpu"), LEVELS) and data.labels.tolist() == LABELS
    if form != "saved":
        assert torch.equal(images(path, split="test").samples.to("cpu"), LEVELS[:3])


def test_batches_are_the_same_from_disk_and_from_memory(tmp_path):
    data = images(shards(tmp_path, "saved"), limit=9)
    assert data.labels.bincount().tolist() == [3, 3, 3]
    from_disk = Batches(data, 4, seed=1, workers=1)
    read = [from_disk(draw, 0).real for draw in range(3)]
    digest = from_disk.digest
    from_disk.close()
    place_samples(data, "memory")
    held = Batches(data, 4, seed=1)
    assert all(torch.equal(held(draw, 0).real, real) for draw, real in enumerate(read))
    assert digest.files == held.digest.files and list(digest.files)[0].startswith("row ")


def test_images_are_converted_and_parts_held_out_as_in_folders(tmp_path):
    path = shards(tmp_path, "saved")
    assert images(path, size=4, channels=1).samples.to("cpu").shape == (12, 1, 4, 4)
    held, rest = (images(path, split=split, validation=0.25) for split in ("validation", "train"))
    assert (len(held.samples), len(rest.samples)) == (3, 9)


@pytest.mark.parametrize(
    ("labels", "features", "expected", "names"),
    [
        ([-1] * 12, FEATURES, None, ()),
        (["b", "a"] * 6, None, [1, 0] * 6, ("a", "b")),
        ([0, 3] * 6, None, [0, 3] * 6, ("0", "1", "2", "3")),
        ([True, False] * 6, None, [1, 0] * 6, ("0", "1")),
    ],
)
def test_labels_are_class_labels_numbers_or_text(tmp_path, labels, features, expected, names):
    arrow(tmp_path / "data-00000-of-00001.arrow", table(range(12), labels, features))
    data = images(str(tmp_path))
    assert (data.labels if data.labels is None else data.labels.tolist()) == expected
    assert data.class_names == names and data.spec.classes == len(names)


def test_columns_are_chosen_by_name_where_there_are_several(tmp_path):
    both = FEATURES | {"fine": {"names": ["x", "y"], "_type": "ClassLabel"}, "other": {"_type": "Image"}}
    one = table(range(4))
    more = {"fine": pa.array([0, 1, 0, 1]), "other": one.column("image").combine_chunks(), "text": pa.array(["a"] * 4)}
    arrow(tmp_path / "data-00000-of-00001.arrow", table(range(4), features=both, **more))
    with pytest.raises(UserError, match="has several columns of images, image, other; choose one with data.image$"):
        images(str(tmp_path))
    with pytest.raises(UserError, match="has labels in several columns, label, fine; choose one with data.label$"):
        images(str(tmp_path), image="other")
    assert images(str(tmp_path), image="other", label="fine").class_names == ("x", "y")
    with pytest.raises(UserError, match="^data.image: 'text' holds no images of .*; expected one of image, other$"):
        images(str(tmp_path), image="text")
    with pytest.raises(UserError, match="^data.label: .* has no column 'fin'; .*did you mean 'fine'"):
        images(str(tmp_path), image="image", label="fin")


def test_damaged_images_are_named_or_skipped(tmp_path):
    whole = table(range(6))
    rows = whole.column("image").to_pylist()
    rows[2]["bytes"], rows[4]["bytes"] = b"no image", None
    arrow(tmp_path / "data.arrow", whole.set_column(0, "image", pa.array(rows, whole.schema.field("image").type)))
    with pytest.raises(UserError, match="^data.path: row 2 in .* cannot be read .*set data.on_error to skip$"):
        images(str(tmp_path)).samples.to("cpu")
    with pytest.warns(Notice, match="2 of 6 images in .* skipped: row"):
        data = images(str(tmp_path), on_error="skip")
    assert data.labels.tolist() == [0, 1, 0, 2] and len(data.samples.to("cpu")) == 4


def test_what_is_wrong_with_a_folder_is_one_line(tmp_path, monkeypatch):
    def refused(message, path=tmp_path, **keys):
        with pytest.raises(UserError, match=message) as error:
            images(str(path), **keys)
        assert "\n" not in str(error.value)

    refused("^data.path: there is nothing at nowhere in ", tmp_path / "nowhere")
    refused("holds no .arrow or .parquet file; .* for a folder of images use image_folder$")
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused("train.parquet is a pointer of Git LFS and not the file itself; run git lfs pull$")
    (tmp_path / "train.parquet").write_bytes(b"PAR1" + b"x" * 50)
    refused("^data.path: .*train.parquet cannot be read \\(.*\\); copy or download it again$")
    shards(tmp_path / "a", "repository")
    refused("has the parts test, train, got 'tset'; did you mean 'test'", tmp_path / "a", split="tset")
    arrow(tmp_path / "a" / "more" / "train.arrow", table(range(2)))
    refused("the part train of .* lies in several folders, data, more; choose one configuration", tmp_path / "a")
    arrow(tmp_path / "text" / "data.arrow", pa.table({"text": ["a", "b"], "label": [0, 1]}))
    refused("has no column of images; its columns are text, label$", tmp_path / "text")
    arrow(tmp_path / "wrong" / "data.arrow", table(range(3), [0, 5, 1]))
    refused("^data.label: label of .*: row 1 has the label 5, expected a whole number from 0 to 2", tmp_path / "wrong")
    monkeypatch.setattr(huggingface, "available", lambda: 10)
    shards(tmp_path / "b", "repository")
    refused("Parquet files of .* unpack to .* and 10 B of memory are left", tmp_path / "b")


def test_without_pyarrow_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        UserError, match="^data: Arrow and Parquet files need .*pyarrow, .*pip install 'gantrain\\[hugg"
    ):
        images("anywhere")
