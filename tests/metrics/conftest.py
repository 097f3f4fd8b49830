"""A classifier of digits that is trained on the spot."""

from __future__ import annotations

import pytest
from image_sets import CLASSIFICATION
from tiny import config_of

from gantrain.commands.train import train
from gantrain.metrics import Classifier


@pytest.fixture(scope="session")
def classifier_run(tmp_path_factory):
    """The folder of a run: 64 features, above 90 % accuracy."""
    return train(config_of(CLASSIFICATION, tmp_path_factory.mktemp("classifier")))


@pytest.fixture(scope="session")
def classifier(classifier_run):
    return Classifier.of_run(classifier_run)
