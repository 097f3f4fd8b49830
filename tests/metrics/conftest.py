"""A classifier of digits that is trained on the spot, and simple extractors and generators."""

from __future__ import annotations

import copy

import pytest
from tiny import config_of

from gantrain.metrics import Classifier
from gantrain.trainer import train

CLASSIFICATION = {
    "run": {"name": "digits-classifier", "steps": 150},
    "data": {"name": "digits", "batch_size": 64, "split": "train"},
    "game": {
        "name": "classification",
        "standardise": True,
        "classifier": {"model": {"name": "conv", "width": 2}, "optimizer": {"name": "adam", "lr": 1e-2}},
    },
    "log": {"every": 50},
    "checkpoint": {"every": 150},
}


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory):
    """The folder of a run: 64 features, above 90 % accuracy."""
    return train(config_of(copy.deepcopy(CLASSIFICATION), tmp_path_factory.mktemp("classifier")))


@pytest.fixture(scope="session")
def classifier(classifier_run):
    return Classifier.of_run(classifier_run)
