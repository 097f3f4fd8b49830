"""Data sets share one base class, and a data set of the user's own needs no more than its samples, labels and spec."""

import inspect

import pytest
import torch

import gantrain.data
from gantrain.data import Batches, ChannelNorm, DataSet, DataSpec
from gantrain.data.storage import describe_samples, place_samples


@pytest.fixture
def ramps():
    """Twelve samples of three numbers, of two classes."""
    return DataSet(torch.arange(36.0).reshape(12, 3), torch.arange(12) % 2, DataSpec((3,), classes=2))


def test_every_published_data_set_is_one():
    classes = [c for name in gantrain.data.__all__ if inspect.isclass(c := getattr(gantrain.data, name))]
    with_samples = [c for c in classes if hasattr(c, "decode") and c is not DataSet]
    assert len(with_samples) >= 16
    assert all(issubclass(c, DataSet) for c in with_samples)


def test_the_base_class_is_a_data_set_whose_samples_are_seen_as_they_are_stored(ramps):
    place_samples(ramps)
    assert describe_samples(ramps.samples, 0) == "data: 12 x 3, 144 B, in memory"
    batch = Batches(ramps, 4, seed=1)(0, 0)
    rows = (batch.real[:, 0] / 3).long()
    assert torch.equal(batch.real, ramps.samples[rows]) and torch.equal(batch.labels, ramps.labels[rows])
    norm = ChannelNorm.of(ramps)
    assert torch.allclose(norm.mean, ramps.samples.mean(0))
    assert torch.allclose(norm.std, ramps.samples.std(0, unbiased=False))


def test_a_subclass_decodes_batches(ramps):
    class Halved(DataSet):
        def decode(self, stored):
            return stored / 2

    halved = Halved(ramps.samples, None, ramps.spec)
    batch = Batches(halved, 4, seed=1)(0, 0)
    assert batch.labels is None
    assert torch.equal(batch.real, Batches(ramps, 4, seed=1)(0, 0).real / 2)
