from __future__ import annotations

import pytest
import torch
from image_sets import DIGITS, Tail, as_decoded, written
from later import Later
from torch import nn

from gantrain.errors import UserError
from gantrain.metrics import Classifier
from gantrain.metrics.extractors.torch_fidelity import register

torch_fidelity, utils = Later("torch_fidelity"), Later("torch_fidelity.utils")


def tail(seed):
    torch.manual_seed(seed)
    return Classifier(Tail(nn.Linear(5, 3)), as_decoded, (1, 8, 8), "tail")


def test_its_cache_does_not_mistake_one_extractor_for_another_of_the_same_name(tmp_path):
    folders = [str(written(tmp_path / str(i), DIGITS.samples[50 * i : 50 * i + 50])) for i in range(2)]

    def distance(extractor, cache):
        return torch_fidelity.calculate_metrics(
            input1=folders[0], input2=folders[1], fid=True, feature_extractor=register(extractor), cuda=False,
            cache=cache, cache_root=str(tmp_path / "cache"), input2_cache_name="real", save_cpu_ram=True, verbose=False,
        )["frechet_inception_distance"]  # fmt: skip

    first, second = tail(0), tail(1)
    assert register(first) == register(first) != register(second)
    assert distance(first, True) == distance(first, False)
    assert distance(second, True) == distance(second, False)


def test_coloured_images_are_not_taken_for_grey_ones():
    extractor = utils.create_feature_extractor(register(tail(0)), ["features"], cuda=False, verbose=False)
    grey = DIGITS.samples[:4].repeat(1, 3, 1, 1)
    assert torch.equal(extractor(grey)[0], tail(0)(DIGITS.samples[:4]).features)
    grey[0, 0, 0, 0] ^= 1
    with pytest.raises(UserError, match="tail: takes grey images, and these are coloured"):
        extractor(grey)
