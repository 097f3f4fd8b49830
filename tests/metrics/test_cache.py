from __future__ import annotations

import json
import os
import pickle
import warnings
from multiprocessing import get_context

import pytest
import safetensors.torch
import torch
from forked import SECONDS
from image_sets import DIGITS, Pixels, Tail, as_decoded, gaussian, generated, images
from torch import nn

from gantrain.errors import Notice
from gantrain.metrics import Classifier, Generated, Options, evaluate
from gantrain.metrics.cache import Cache, _digest

OPTIONS = Options(subset_size=50, subsets=5)
KEY, TENSORS, SHAPES = (
    {"images": "a"},
    {"mean": torch.arange(3.0), "count": torch.tensor(2.0)},
    {"mean": (3,), "count": ()},
)


def report(folder, extractor, real=None, metrics=("fid", "kid", "prc")):
    real = images(Generated(gaussian(120, 20)).piece(0, 60, "cpu")) if real is None else real
    found = evaluate(
        Generated(gaussian(110, 20), seed=1), real, extractor, metrics, samples=60, cache=folder, options=OPTIONS
    )
    return found.scalars


def test_the_second_time_real_images_are_not_seen_and_the_numbers_are_the_same(tmp_path):
    first, second = Pixels(), Pixels()
    before = report(tmp_path / "made", first)
    assert first.seen == 120 and len(list((tmp_path / "made").iterdir())) == 2
    assert report(tmp_path / "made", second) == before == report(None, Pixels())
    assert second.seen == 60


def test_what_is_missing_is_added(tmp_path):
    report(tmp_path, Pixels(), metrics=["fid"])
    more = Pixels()
    report(tmp_path, more, metrics=["fid", "kid"])
    assert more.seen == 120 and len(list(tmp_path.iterdir())) == 2


def test_other_images_numbers_and_extractors_have_other_entries(tmp_path):
    samples = Generated(gaussian(120, 20)).piece(0, 60, "cpu")
    changed = samples.clone()
    changed[0, 0, 0, 0] ^= 1
    other = Pixels()
    other.identity = "other"
    cases = [
        (Pixels(), images(samples)),
        (Pixels(), images(changed)),
        (Pixels(), images(samples[:59])),
        (other, images(samples)),
    ]
    for extractor, real in cases:
        report(tmp_path, extractor, real, ["fid"])
        assert extractor.seen == 60 + real.count
    assert len(list(tmp_path.iterdir())) == 4


def test_other_weights_under_the_same_name_are_not_mistaken_for_each_other(tmp_path):
    """torch-fidelity's key has neither weights nor data: there the second number would be that of the first weights."""
    numbers = []
    for seed in range(2):
        torch.manual_seed(seed)
        extractor = Classifier(Tail(nn.Linear(5, 3)), as_decoded, (1, 8, 8), "same name")
        cached, fresh = (
            evaluate(generated(), images(DIGITS.samples[:64]), extractor, ["fid"], samples=64, cache=cache).scalars
            for cache in (tmp_path, None)
        )
        assert cached == fresh
        numbers.append(cached)
    assert numbers[0] != numbers[1]


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def damage(path, kind, tmp_path):
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[:-7])
    elif kind == "flipped":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "fifo":
        path.unlink()
        os.mkfifo(path)
    else:
        other = {"mean": torch.zeros(4)} if kind == "shape" else TENSORS
        about = {"format": "1", "key": json.dumps(KEY), "sha256": "0" if kind == "digest" else _digest(other)}
        if kind == "key":
            about["key"] = json.dumps({"images": "b"})
        path.write_bytes(safetensors.torch.save(other, metadata=about))


@pytest.mark.parametrize("kind", ["cut", "flipped", "pickle", "empty", "fifo", "shape", "key", "digest"])
def test_a_file_that_is_not_what_was_written_is_not_used(tmp_path, kind):
    cache = Cache(tmp_path / "cache")
    cache.save(KEY, TENSORS)
    loaded = cache.load(KEY, SHAPES)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())
    damage(cache.path(KEY), kind, tmp_path)
    with pytest.warns(Notice, match="not used, .*computed anew") as caught:
        assert cache.load(KEY, SHAPES) is None
    assert "\n" not in str(caught[0].message)
    assert not (tmp_path / "exploded").exists()
    if kind == "fifo":  # which no file replaces
        with pytest.warns(Notice, match="cannot be kept"):
            cache.save(KEY, TENSORS)
    else:
        cache.save(KEY, TENSORS)
        assert cache.load(KEY, SHAPES) is not None


def test_a_folder_that_cannot_be_written_costs_a_notice_and_not_the_numbers(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(Notice, match="statistics of the real images cannot be kept: .*file: cannot be written"):
        found = report(tmp_path / "file", Pixels(), metrics=["fid"])
    assert found == report(None, Pixels(), metrics=["fid"])


def write_and_read(folder, seed):
    cache, value = Cache(folder), torch.full((20000,), float(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            cache.save(KEY, {"x": value})
            found = cache.load(KEY, {"x": (20000,)})["x"]
            assert found.unique().numel() == 1
    os._exit(0)


def test_processes_that_write_at_once_never_read_halves(tmp_path):
    processes = [get_context("fork").Process(target=write_and_read, args=(tmp_path, i)) for i in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
