"""Weights go into the network that they are of, and into no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gantrain.errors import UserError
from gantrain.runs.restore import part_of, restore

FOLDER = Path("runs/one/step_8")


def network(width: int = 3, **more: nn.Module) -> nn.Sequential:
    made = nn.Sequential()
    for name, module in ({"first": nn.Linear(2, width), "last": nn.BatchNorm1d(3)} | more).items():
        made.add_module(name, module)
    return made


def test_weights_and_buffers_are_put_in_place():
    one, other = network(), network()
    one.last.running_mean.fill_(7)
    places = [t.data_ptr() for t in other.state_dict().values()]
    restore(other, {"generator": one.state_dict()}, "generator", FOLDER)
    assert all(torch.equal(other.state_dict()[key], tensor) for key, tensor in one.state_dict().items())
    assert [t.data_ptr() for t in other.state_dict().values()] == places


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (
            network(4),
            r"first\.weight has the shape \(4, 2\) of float32, and in the network it has the shape \(3, 2\) of float32 \(1 o",
        ),
        (
            network(extra=nn.Linear(1, 1)),
            r"extra\.weight has the shape \(1, 1\) of float32, and in the network it is missing",
        ),
        (network(last=nn.ReLU()), r"last\.weight is missing, and in the network it has .* \(4 others differ as well\)"),
    ],
)
def test_the_first_tensor_that_does_not_fit_is_named_and_nothing_is_changed(saved, message):
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    with pytest.raises(UserError, match=rf"^runs/one/step_8/generator\.safetensors: {message}") as found:
        restore(module, {"generator": saved.state_dict()}, "generator", FOLDER)
    assert "another network" in str(found.value) and "\n" not in str(found.value)
    assert all(torch.equal(module.state_dict()[key], tensor) for key, tensor in before.items())


def test_a_checkpoint_without_the_part_says_what_it_has():
    with pytest.raises(UserError, match="^runs/one/step_8: expected a part generator, found clock, classifier; "):
        part_of({"clock": {}, "classifier": {}}, "generator", FOLDER)
