"""On which data a classifier can be evaluated."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.train.callbacks.predictions import require_known_labels

IMAGES = DataSpec((1, 8, 8), classes=10)


def data(spec: DataSpec, labelled: bool = True) -> SimpleNamespace:
    return SimpleNamespace(spec=spec, labels=torch.zeros(3, dtype=torch.int64) if labelled else None)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (data(DataSpec((1, 8, 8)), labelled=False), "^--against: the data have no labels"),
        (data(DataSpec((1, 8, 8), classes=11)), "^--against: has 11 classes, and the classifier knows 10"),
        (data(DataSpec((3, 8, 8), classes=10)), r"^--against: .* shape \(3, 8, 8\), the classifier is for \(1, 8, 8\)"),
    ],
)
def test_others_are_refused(other, message):
    with pytest.raises(UserError, match=message):
        require_known_labels(other, IMAGES, "--against")


def test_fewer_classes_and_texts_of_another_length_are_not():
    require_known_labels(data(IMAGES), IMAGES, "")
    require_known_labels(data(DataSpec((1, 8, 8), classes=2)), IMAGES, "")
    require_known_labels(data(DataSpec((20,), 2, vocabulary=99)), DataSpec((30,), 2, vocabulary=99), "")
