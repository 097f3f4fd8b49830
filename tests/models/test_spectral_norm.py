"""Spectral norm of a whole network at once is torch's own of each layer."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization

from gantrain.models.layers import spectrally_normalised


class Network(nn.Module):
    """Each kind of layer that is normalised, of several sizes, and one that is not."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3, 4)
        self.convolutions = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, 4, 3)
        )
        self.head = nn.Linear(4, 1)

    def forward(self, x, labels):
        h = self.convolutions(x).mean(dim=(2, 3))
        return (self.head(h).squeeze(1) + (self.table(labels) * h).sum(dim=1)).tanh()


def layers_of(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]


def pair(make=Network):
    """The same network with torch's spectral norm and with ours."""
    torch.manual_seed(0)
    network = make().double()
    twin = copy.deepcopy(network)
    torch.manual_seed(1)
    for layer in layers_of(twin):
        parametrizations.spectral_norm(layer)
    torch.manual_seed(1)
    return twin, spectrally_normalised(network)


def derivatives(network):
    """Values, first and second derivatives of two passes before one backwards, and the buffers after them."""
    x = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double().requires_grad_(True)
    labels = torch.tensor([0, 2, 1, 0, 2])
    parameters = list(network.parameters())
    value = network(x, labels).sum() + network(2 * x, labels).square().sum()
    first = torch.autograd.grad(value, [x, *parameters], create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), [x, *parameters])
    return [value, *first, *second, *network.buffers()]


def assert_same(left, right):
    assert len(left) == len(right)
    for pair_of in zip(left, right, strict=True):
        torch.testing.assert_close(*pair_of, rtol=1e-10, atol=1e-12)


def test_it_is_torchs_own_to_rounding_up_to_second_derivatives():
    twin, network = pair()
    assert list(network.state_dict()) == list(twin.state_dict())
    assert_same(list(network.state_dict().values()), list(twin.state_dict().values()))
    for _ in range(2):
        assert_same(derivatives(network), derivatives(twin))
    assert_same(derivatives(network.eval()), derivatives(twin.eval()))
    # Modes and data types may differ between the layers of a network.
    for each in (network, twin):
        each.train()
        each.head.eval()
    assert_same(derivatives(network), derivatives(twin))


def test_a_state_of_torchs_own_is_taken_back():
    twin, network = pair()
    derivatives(twin)
    network.load_state_dict(twin.state_dict())
    assert_same(derivatives(network), derivatives(twin))
    twin.load_state_dict(network.state_dict())
    assert_same(derivatives(copy.deepcopy(network)), derivatives(twin))


def test_torchs_transforms_of_functions_go_through_it():
    twin, network = (each.eval() for each in pair())
    for each in (twin, network):
        each.convolutions[1] = nn.Identity()  # the transforms do not take batch norm's counter
    x = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    found = []
    for each in (twin, network):
        weights = {name: w.detach() for name, w in each.named_parameters()}
        direction = {name: torch.cos(w) for name, w in weights.items()}

        def value(weights, x, each=each):
            return torch.func.functional_call(each, weights, (x, torch.tensor([0, 2, 1, 0, 2])[: len(x)])).sum()

        _, product = torch.func.jvp(lambda w, f=value: torch.func.grad(f)(w, x), (weights,), (direction,))
        each_sample = torch.func.vmap(lambda x, w=weights, f=value: torch.func.grad(f)(w, x[None]))(x)
        found.append([*product.values(), *each_sample.values()])
    assert_same(*found)


class TwoPrecisions(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(3, 4).double(), nn.Tanh(), nn.Linear(4, 5))

    def forward(self, x):
        return self[2](self[1](self[0](x)).float())


def test_each_pass_is_one_step_and_a_weight_read_outside_of_it_another():
    network = spectrally_normalised(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)))
    states = [network.state_dict()["0.parametrizations.weight.0._u"].clone()]
    for look in (lambda: network(torch.ones(2, 6)), lambda: network[0].weight):
        look()
        states.append(network.state_dict()["0.parametrizations.weight.0._u"].clone())
    assert all(not torch.equal(a, b) for a, b in pairwise(states))
    network.eval()(torch.ones(2, 6))
    assert torch.equal(network[0].parametrizations.weight[0]._u, states[-1])
    mixed = spectrally_normalised(TwoPrecisions())
    assert mixed(torch.ones(2, 3).double()).dtype == torch.float32


def test_a_pass_that_fails_leaves_no_weight_behind():
    network = spectrally_normalised(nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)))
    with pytest.raises(RuntimeError):
        network(torch.ones(2, 7))
    with torch.no_grad():
        network[1].parametrizations.weight.original.mul_(3).add_(1)
    for _ in range(30):
        largest = torch.linalg.matrix_norm(network[1].weight, 2)
    assert largest.item() == pytest.approx(1)


class Doubled(nn.Module):
    def forward(self, weight):
        return weight * torch.arange(1.0, 5)[:, None]


def test_a_weight_that_is_parametrized_already_is_normalised_after_that():
    network = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    register_parametrization(network[1], "weight", Doubled())
    spectrally_normalised(network)
    for _ in range(50):
        network(torch.ones(2, 6))
    for layer in network:
        assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1)
    for weights in (spectrally_normalised(nn.Linear(3, 2)), spectrally_normalised(nn.Tanh())):
        weights(torch.ones(2, 3))
