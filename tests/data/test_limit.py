"""The fixed, class-balanced subset of ``data.limit``."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import RING, config_of

from gantrain.config.loading import resolved
from gantrain.config.parts import build
from gantrain.data import Batches, DataSet, DataSpec, GaussianRing, ImageFolder
from gantrain.data.limit import limited, subset_rows
from gantrain.data.storage import place_samples
from gantrain.errors import Notice

LABELS = torch.tensor([0] * 50 + [1] * 30 + [2] * 3 + [4] * 17)


@pytest.mark.parametrize(
    ("limit", "counts"),
    [
        (4, [1, 1, 1, 0, 1]),
        (12, [3, 3, 3, 0, 3]),
        (24, [7, 7, 3, 0, 7]),
        (70, [25, 25, 3, 0, 17]),
        (100, [50, 30, 3, 0, 17]),
    ],
)
def test_each_class_gives_as_many_as_it_can_and_the_rest_is_shared(limit, counts):
    assert LABELS[subset_rows(100, LABELS, limit)].bincount().tolist() == counts


@pytest.mark.parametrize("labels", [LABELS, None])
def test_a_larger_subset_contains_every_smaller_one(labels):
    before: set[int] = set()
    for limit in range(1, 101):
        rows = subset_rows(100, labels, limit).tolist()
        assert rows == sorted(set(rows)) and len(rows) == limit and before < set(rows)
        before = set(rows)


def test_counts_of_classes_differ_by_at_most_one():
    for limit in range(1, 60):
        counts = (torch.arange(60) % 7)[subset_rows(60, torch.arange(60) % 7, limit)].bincount(minlength=7)
        assert counts.max() - counts.min() <= 1


def test_the_subset_is_the_same_in_every_run_and_version():
    assert subset_rows(20, None, 5).tolist() == [2, 9, 12, 14, 18]
    assert subset_rows(20, torch.arange(20) % 4, 5).tolist() == [2, 3, 9, 12, 14]


def test_every_data_set_of_a_config_has_the_key():
    whole = GaussianRing(samples=100)
    data = build("data", {"name": "gaussian_ring", "samples": 100, "limit": 40})
    assert data.labels.bincount().tolist() == [5] * 8 and len(data.samples) == 40
    assert torch.equal(data.samples, limited(whole, 40).samples) and len(whole.samples) == 100
    assert limited(whole, 100) is whole
    with pytest.warns(Notice, match="^data.limit: 5000 samples asked for; taking all 100 there are$"):
        assert limited(whole, 5000) is whole


@pytest.mark.parametrize(
    ("overrides", "training", "compared"),
    [
        (["evaluate.data.limit=null"], 30, None),
        (["evaluate.data.samples=99"], 30, None),
        (["evaluate.data.limit=20"], 30, 20),
        (["data.name=digits", "evaluate.data.split=test"], 30, None),
        (["data.limit=null"], None, None),
    ],
)
def test_data_to_compare_with_do_not_take_over_the_limit(tmp_path, overrides, training, compared):
    config = config_of(RING, tmp_path, "data.limit=30", *overrides)
    assert config.data.part.limit == training and resolved(config)["data"]["limit"] == training
    assert config.evaluate is None or config.evaluate.data.limit == compared


def test_a_run_of_an_earlier_version_has_no_limit(tmp_path):
    content = resolved(config_of(RING, tmp_path))
    assert content["data"].pop("limit") is None
    assert config_of(content, tmp_path).data.part.limit is None


def test_samples_in_files_are_selected_unread(tmp_path, monkeypatch):
    for i in range(12):
        folder = tmp_path / "images" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(folder / f"{i}.png")
    whole = ImageFolder(str(tmp_path / "images"), size=4)
    monkeypatch.setattr(type(whole.samples), "to", lambda *_: pytest.fail("the images were read"))
    part = limited(whole, 4)
    monkeypatch.undo()
    assert len(whole.samples) == 12 and part.labels.tolist() == [0, 0, 1, 1]
    place_samples(part, "memory")
    digest = Batches(part, 2, 0).digest
    assert digest.samples == 4 and len(digest.files) == 4 and part.samples.shape == (4, 3, 4, 4)


def test_a_key_limit_of_a_data_set_of_ones_own_stays_its_own(tmp_path, monkeypatch):
    (tmp_path / "own_limits.py").write_text(
        "import torch\nfrom gantrain.data import DataSet, DataSpec\n"
        "class Points(DataSet):\n"
        "    def __init__(self, limit: float = 0.5):\n"
        "        super().__init__(torch.full((3, 2), limit), None, DataSpec((2,)))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = build("data", {"target": "own_limits:Points", "limit": 0.25})
    assert isinstance(data, DataSet) and data.spec == DataSpec((2,)) and data.samples[0, 0] == 0.25
