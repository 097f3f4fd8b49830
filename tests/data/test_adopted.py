"""Data as people have them become a data set, or one line that says what is wrong."""

import random

import numpy as np
import pytest
import torch
from later import Later
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from gantrain.config.parts import build
from gantrain.data import Batches, GaussianRing, adopted, as_data_set, storage
from gantrain.data.storage import place_samples
from gantrain.distributed.processes import Processes
from gantrain.errors import Notice, UserError
from gantrain.metrics import Images
from gantrain.metrics.digest import digest_of

datasets, transforms = Later("torchvision.datasets"), Later("torchvision.transforms")
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
LABELS = [i % 4 for i in range(20)]
SEEN = torch.from_numpy(COLOUR).permute(0, 3, 1, 2) / 127.5 - 1


class Items(Dataset):
    """Items that a function makes of their numbers."""

    def __init__(self, make, count=20, **attributes):
        self.make, self.count, self.reads = make, count, []
        self.__dict__ |= attributes

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.reads.append(i)
        return self.make(i)


def seen(data):
    """All samples as networks see them."""
    return data.decode(data.samples.to("cpu"))


def pictures(images):
    return [Image.fromarray(image) for image in images]


FORMS = {
    "array with channels last": COLOUR,
    "array with channels first": COLOUR.transpose(0, 3, 1, 2),
    "tensor": torch.from_numpy(COLOUR).permute(0, 3, 1, 2),
    "floats in [0, 1]": torch.from_numpy(COLOUR).permute(0, 3, 1, 2) / 255,
    "doubles in [-1, 1], channels last": COLOUR / 127.5 - 1,
    "half floats": torch.from_numpy(COLOUR).permute(0, 3, 1, 2).to(torch.float16) / 255,
    "pictures": pictures(COLOUR),
    "list of arrays": list(COLOUR),
    "list of tensors": list(torch.from_numpy(COLOUR).permute(0, 3, 1, 2)),
    "Dataset of pictures": Items(lambda i: Image.fromarray(COLOUR[i])),
    "Dataset of tuples": Items(lambda i: (COLOUR[i], LABELS[i])),
    "Dataset of lists": Items(lambda i: [COLOUR[i], torch.tensor(LABELS[i])]),
    "Dataset of tuples of one": TensorDataset(torch.from_numpy(COLOUR).permute(0, 3, 1, 2)),
    "Dataset of mappings": Items(lambda i: {"label": np.int64(LABELS[i]), "image": Image.fromarray(COLOUR[i])}),
    "processor's mappings": Items(lambda i: {"pixel_values": COLOUR[i] / 255, "labels": np.array([LABELS[i]])}),
    "pair": (COLOUR, LABELS),
    "array of objects": np.array([*pictures(COLOUR), None], dtype=object)[:-1],
    "palettes": [picture.quantize(256) for picture in pictures(COLOUR)],
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_seen_in_the_range_from_minus_one_to_one(name):
    data = as_data_set(FORMS[name])
    assert data.spec.shape == (3, 8, 6)
    tolerance = {"half floats": 1e-3, "palettes": 1.0}.get(name, 1e-6)
    assert torch.allclose(seen(data), SEEN, atol=tolerance) and seen(data).dtype == torch.float32
    labelled = name.endswith(("tuples", "lists", "mappings", "pair"))
    assert data.spec.classes == 4 * labelled
    assert (None if data.labels is None else data.labels.tolist()) == (LABELS if labelled else None)


def test_a_fourth_channel_is_alpha():
    colour = np.concatenate([COLOUR, COLOUR[..., :1]], axis=3)
    for source in (colour, colour.transpose(0, 3, 1, 2), torch.from_numpy(colour / 255)):
        data = as_data_set(source)
        assert data.spec.shape == (4, 8, 6)
        assert np.allclose(seen(data).numpy(), colour.transpose(0, 3, 1, 2) / 127.5 - 1, atol=1e-6)
    kept = as_data_set([Image.fromarray(image) for image in colour], channels=4, size=(4, 3))
    assert kept.spec.shape == (4, 4, 3)
    assert as_data_set([Image.fromarray(image) for image in colour]).spec.shape == (3, 8, 6), "over white"


def test_grey_images_vectors_and_numbers():
    levels = torch.from_numpy(GREY).unsqueeze(1) / 127.5 - 1
    for grey in (GREY, pictures(GREY), list(GREY[:, None]), GREY[..., None]):
        assert torch.equal(seen(as_data_set(grey)), levels)
    assert torch.equal(seen(as_data_set(GREY > 99)) > 0, torch.from_numpy(GREY > 99).unsqueeze(1))
    points = torch.randn(10, 2) * 100
    assert torch.equal(seen(as_data_set(points)), points)
    assert torch.equal(seen(as_data_set(points.double().numpy()[:, 0])), points[:, :1])
    assert as_data_set([1.5, 2.5]).spec.shape == (1,)
    assert torch.equal(seen(as_data_set(points.bfloat16())), points.bfloat16().float())


def test_lists_of_photographs_are_scaled_and_converted():
    photographs = [Image.fromarray(COLOUR[0]).resize((20 + i, 30)) for i in range(5)]
    photographs[3] = photographs[3].convert("L")
    data = as_data_set(photographs, size=8, channels=3)
    assert data.spec.shape == (3, 8, 8) and data.samples.dtype == torch.uint8
    assert as_data_set(COLOUR, size=4, channels=1).spec.shape == (1, 4, 4)
    with pytest.raises(UserError, match="item 0 is float64, and only PIL images and uint8 arrays are scaled"):
        as_data_set(COLOUR / 255, size=4)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (COLOUR.astype(np.int64), "item 0 is int64 of shape \\(8, 6, 3\\); images are uint8 levels"),
        (COLOUR.astype(np.float32), "item 0 is an image with values from .* to 2[0-9]+, expected images of floats"),
        (SEEN * 2.2, "item 0 is an image with values from -2.2 to 2.096, .* leave out a normalisation by mean"),
        (np.zeros((9, 3, 5, 3), np.uint8), "item 0 is uint8 of shape \\(3, 5, 3\\), and its channels may"),
        (np.zeros((9, 8, 8, 5), np.uint8), "of 1, 3 or 4 channels$"),
        (np.zeros((9, 2, 3, 8, 8), np.uint8), "item 0 is uint8 of shape \\(2, 3, 8, 8\\); expected one sample"),
        (np.zeros((9, 64), np.uint8), "item 0 is uint8 of shape \\(64,\\), a vector; return floats"),
        (np.zeros((9, 0)), "expected at least one number"),
        (np.array([[1.0, np.nan]]), "item 0 has a value that is not finite$"),
        ([], "data is empty; expected at least one item$"),
        (["a.png", "b.png"], "item 0 is 'a.png' \\(str\\), expected .*; for paths of files there is image_folder$"),
        ([[1.0, 2.0]], "item 0 is a list of 2, expected a sample or a pair \\(sample, label\\)"),
        ("images", "expected a data set, a map-style torch Dataset, .* got 'images' \\(str\\)$"),
        ((COLOUR, LABELS, LABELS), "a tuple of 3; expected a pair \\(samples, labels\\)"),
        ((COLOUR, LABELS[1:]), "labels: expected 20 whole numbers from 0, got \\["),
        ((COLOUR, np.array(LABELS) / 2), "labels: expected 20 whole numbers from 0, got ndarray of shape \\(20,\\)$"),
        ((COLOUR, [-1] * 20), "labels: expected whole numbers from 0, got -1$"),
        (DataLoader(TensorDataset(SEEN)), "got .*DataLoader\\); give its dataset"),
        (iter(COLOUR), "expected a data set, .* got <"),
        ([*pictures(GREY[:5]), *pictures(COLOUR[:5])], 'item 5 is an image of mode RGB, .* image.convert\\("RGB"\\)$'),
        ([*COLOUR[:3], COLOUR[3, 1:]], "item 3 has the shape \\(7, 6, 3\\), and item 0 \\(8, 6, 3\\); make"),
        ([GREY[0], GREY[1] / 255], "item 1 is float64, and item 0 uint8; make all of one type$"),
        ([GREY[0], GREY[1].astype(np.int64)], "item 1 is int64, and item 0 uint8; make all of one type$"),
        ([GREY[0] > 9, GREY[1]], "item 1 is uint8, and item 0 bool; make all of one type$"),
        (Items(lambda i: (GREY[i], 0.5)), "item 0 has the label 0.5 \\(float\\), expected the number of a class"),
        (Items(lambda i: (GREY[i], "cat")), "item 0 has the label 'cat' \\(str\\), expected the number of a class"),
        (Items(lambda i: (GREY[i], [0, 1])), "item 0 has the label \\[0, 1\\] \\(list\\), expected"),
        (Items(lambda i: (GREY[i], torch.eye(4)[0])), "item 0 has the label an array of shape \\(4,\\)"),
        (Items(lambda i: (GREY[i], -1)), "item 0 has the label -1, expected the number of a class, from 0"),
        (Items(lambda i: (GREY[i], i)[: 1 + i % 2]), "Items: item [0-9]+ has a label, and item 0 has none"),
        (Items(lambda i: {"picture": GREY[i]}), "Items: item 0 has the keys picture; expected the sample under one of"),
        (Items(lambda i: (GREY[i], 7), classes=["a", "b"]), "labels: expected 0 to 1 for 2 classes, got 7$"),
        (Items(lambda i: torch.eye(4).to_sparse()), "item 0 is tensor.*, expected a tensor, an array or a PIL image$"),
        (Items(lambda i: None), "item 0 is null \\(NoneType\\), expected a tensor, an array or a PIL image$"),
        (Items(lambda i: GREY[i], count=0), "Items is empty"),
        (Items(lambda i: torch.rand(1, 4, 4)), "another one each time it is read, .* name them in game.augmentations$"),
        (Items(lambda i: np.random.rand(4, 4)), "another one each time it is read"),
        (Items(lambda i: (GREY[i], random.randrange(9**9))), "another one each time it is read"),
        (Items(lambda i: GREY[i % 20] / 255 - (i == 7), 400), "item 7 is an image .* and others are in \\[0, 1\\]; "),
    ],
)  # fmt: skip
def test_what_is_no_data_or_could_be_meant_in_two_ways_is_one_line(source, message):
    with pytest.raises(UserError, match=message) as error:
        as_data_set(source)
    assert str(error.value).startswith("data") and "\n" not in str(error.value)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(COLOUR)


class Endless(Dataset):
    def __getitem__(self, i):
        return COLOUR[i]


def test_data_sets_that_have_no_items_by_number_are_refused():
    with pytest.raises(
        UserError, match="^data: Stream is an IterableDataset, .* needs a map-style Dataset with __len__"
    ):
        as_data_set(Stream())
    with pytest.raises(UserError, match="^data: Endless has no length; define __len__, the number of its items$"):
        as_data_set(Endless())


def test_an_error_in_an_item_names_the_item_and_the_line():
    def broken(i):
        return {1: COLOUR[0]}[1 if i != 7 else 2]

    with pytest.raises(UserError, match=r"^data: item 7: Items raised KeyError: 2 \(test_adopted.py:\d+\)$"):
        as_data_set(Items(broken))
    with pytest.raises(UserError, match="^data: item 2: Subset raised IndexError: "):
        as_data_set(Subset([COLOUR[0]], [0, 0, 3]))


def test_classes_are_those_that_the_data_set_names():
    def labelled(i):
        return GREY[i], LABELS[i]

    assert as_data_set(Items(labelled, classes=list("abcdefg"))).spec.classes == 7
    assert as_data_set(Items(labelled, num_classes=np.int64(9))).spec.classes == 9
    assert as_data_set(Items(labelled), classes=6).spec.classes == 6
    assert as_data_set(Items(labelled), classes=("a", "b", "c", "d", "e")).spec.classes == 5
    assert as_data_set(Items(labelled, classes=list("abcdefg"))).class_names == tuple("abcdefg")
    assert as_data_set(Items(labelled), classes=list("abcde")).class_names == tuple("abcde")
    assert as_data_set(Items(labelled, num_classes=9)).class_names == ()
    part, _ = random_split(Items(lambda i: (GREY[i], 0), classes=list("abc")), [5, 15])
    assert as_data_set(part).spec.classes == 3
    with pytest.raises(UserError, match="classes were given, and the items have no labels"):
        as_data_set(GREY, classes=3)
    with pytest.raises(UserError, match="the items have labels, and labels are given beside them"):
        as_data_set(Items(labelled), labels=LABELS)


def test_torchvision_with_and_without_transforms():
    raw = as_data_set(datasets.FakeData(20, (3, 8, 8), 4))
    scaled = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])
    for transform in (transforms.ToTensor(), scaled):
        assert torch.allclose(seen(as_data_set(datasets.FakeData(20, (3, 8, 8), 4, transform))), seen(raw), atol=1e-6)
    flipped = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.ToTensor()])
    with pytest.raises(UserError, match="^data: FakeData: item [0-9]+ is another one each time it is read"):
        as_data_set(datasets.FakeData(20, (3, 8, 8), 4, flipped))


def test_reading_leaves_the_random_state_alone():
    def drawing(i):
        torch.rand(1)
        return COLOUR[i]

    before = torch.random.get_rng_state()
    as_data_set(Items(drawing)).samples.to("cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_data_that_do_not_fit_into_memory_are_read_as_batches_need_them(monkeypatch):
    def labelled(i):
        return COLOUR[i], LABELS[i]

    held = Batches(Items(labelled), 5, seed=1)
    monkeypatch.setattr(storage, "available", lambda *_: 100)
    unread = Items(labelled, targets=LABELS)
    data = as_data_set(unread)
    assert len(unread.reads) == 1 + 2 * 16  # the attribute says the labels of the others
    assert not isinstance(data.samples, torch.Tensor)
    batches = Batches(data, 5, seed=1, workers=1)
    for draw in range(3):
        assert torch.equal(batches(draw, 0).real, held(draw, 0).real)
        assert torch.equal(batches(draw, 0).labels, held(draw, 0).labels)
    batches.close()
    for wrong in ({}, {"targets": [3 - label for label in LABELS]}):
        counted = Items(labelled, **wrong)
        assert as_data_set(counted).labels.tolist() == LABELS and len(counted.reads) == 1 + 2 * 16 + 20


def test_a_long_reading_is_announced(monkeypatch):
    monkeypatch.setattr(adopted, "_LONG", 0.0)
    with pytest.warns(Notice, match="^data: Items: its 20 items are read once, which takes about 0 s$"):
        as_data_set(Items(lambda i: COLOUR[i]))


def test_items_go_back_to_disk_where_this_is_asked_for():
    data = as_data_set(Items(lambda i: COLOUR[i]))
    assert isinstance(data.samples, torch.Tensor)
    place_samples(data, "disk")
    assert not isinstance(data.samples, torch.Tensor) and torch.equal(seen(data), SEEN)
    with pytest.raises(UserError, match="^data.storage: disk was asked for, but this data set is not read from single"):
        place_samples(as_data_set(COLOUR), "disk")


def test_images_of_floats_can_be_measured():
    levels = Images(as_data_set(COLOUR))
    for floats in (COLOUR / 255, COLOUR / 127.5 - 1):
        images = Images(as_data_set(floats))
        assert torch.equal(images.piece(0, 20, "cpu"), levels.piece(0, 20, "cpu"))
        digests = {digest_of(source, 20, Processes(), None) for source in (images, levels)}
        assert len(digests) == 1 and images.take(3).count == 3
    with pytest.raises(UserError, match="these data are no images"):
        Images(as_data_set(torch.randn(5, 2)))


def test_batches_take_data_as_they_are():
    assert torch.equal(Batches(COLOUR, 5, seed=1)(0, 0).real, Batches(pictures(COLOUR), 5, seed=1)(0, 0).real)
    ring = GaussianRing(samples=50)
    assert as_data_set(ring) is ring and len(as_data_set(ring, limit=30).samples) == 30
    with pytest.raises(UserError, match="^data: is a data set, whose labels, classes and sizes are its own"):
        as_data_set(ring, labels=LABELS)


MODULE = """
from __future__ import annotations
import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset, IterableDataset

class Plain:
    def __init__(self, count: int = 40): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, i): return torch.full((1, 4, 4), i / 50), i % 4

class Derived(Plain, Dataset):
    pass

class Unusable: pass
class Stream(IterableDataset):
    def __iter__(self): return iter(())

def made(count: int = 40) -> Dataset: return TensorDataset(torch.rand(count, 1, 4, 4), torch.arange(count) % 4)
def generic(count: int = 40) -> Dataset[tuple]: return Derived(count)
def array(count: int = 40) -> np.ndarray: return np.zeros((count, 4, 4), np.uint8)
def listed(count: int = 40) -> list[np.ndarray]: return [np.zeros((4, 4), np.uint8)] * count
def pair(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]: return torch.rand(count, 1, 4, 4), torch.arange(count)
def mapping() -> dict: return {}
def text() -> str: return ""
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_items.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", ["Plain", "Derived", "made", "generic", "array", "listed", "pair"])
def test_a_target_may_be_a_class_or_a_function_that_returns_data(module, name):
    data = build("data", {"target": f"own_items:{name}", "count": 30, "limit": 8})
    assert data.samples.shape == (8, 1, 4, 4)
    if name in ("Plain", "Derived", "made", "generic"):
        assert data.labels.bincount().tolist() == [2] * 4


@pytest.mark.parametrize("name", ["Unusable", "mapping", "text"])
def test_other_targets_are_refused_with_what_is_expected(module, name):
    with pytest.raises(
        UserError, match="is no data set; expected a subclass of gantrain.data.DataSet or of torch.utils."
    ):
        build("data", {"target": f"own_items:{name}"})
    with pytest.raises(UserError, match="Stream is an IterableDataset"):
        build("data", {"target": "own_items:Stream"})


def test_torchvisions_own_classes_are_targets(tmp_path):
    fake = build("data", {"target": "torchvision.datasets:FakeData", "size": 12, "image_size": [3, 8, 8]})
    assert fake.samples.shape == (12, 3, 8, 8) and fake.spec.classes == 10
    (tmp_path / "a").mkdir()
    Image.fromarray(COLOUR[0]).save(tmp_path / "a" / "0.png")
    found = build("data", {"target": "torchvision.datasets:ImageFolder", "root": str(tmp_path)})
    assert found.spec.classes == 1 and torch.equal(seen(found), SEEN[:1])
