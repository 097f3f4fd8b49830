from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gantrain.optim.ema import EMA
from gantrain.testing.copies import LiveBytes


def network() -> nn.Module:
    return nn.Sequential(spectral_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).double()


def train(module: nn.Module, seed: int) -> None:
    """Move every parameter and every buffer."""
    generator = torch.Generator().manual_seed(seed)
    dtype = next(module.parameters()).dtype
    module(torch.randn(8, 3, dtype=dtype, generator=generator))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=dtype, generator=generator))


def test_the_average_follows_the_recursion():
    module = network()
    ema = EMA(module, decay=0.6)
    averaged = {name for name, _ in module.named_parameters()} | {"1.running_mean", "1.running_var"}
    expected: dict[str, torch.Tensor] = {}
    decays = []
    for n in range(20):
        train(module, seed=n)
        ema.update()
        decay = 0.0 if n == 0 else min(0.6, (1 + n) / (10 + n))
        decays.append(decay)
        for name, value in module.state_dict().items():
            old = expected.get(name, torch.zeros_like(value))
            expected[name] = decay * old + (1 - decay) * value if name in averaged else value.clone()
    assert 0 < decays[1] < decays[2] < 0.6 == decays[-1]  # both branches of the warm-up took part
    state = ema.module.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(state[name], value, rtol=1e-12, atol=1e-12, msg=name)


def test_the_average_differs_from_the_module_and_leaves_it_alone():
    module = network()
    ema = EMA(module, decay=0.9)
    for n in range(3):
        train(module, seed=n)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        ema.update()
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not torch.equal(ema.module[3].weight, module[3].weight)
    assert module.training and not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert all(p.requires_grad for p in module.parameters())


def test_initial_weights_never_count():
    module = nn.Linear(2, 2)
    ema = EMA(module, decay=0.999)
    with torch.no_grad():
        module.weight.fill_(7.0)
    for _ in range(3):
        ema.update()
    assert torch.equal(ema.module.weight, torch.full((2, 2), 7.0))


def test_counters_and_spectral_norm_vectors_are_copied():
    module = network()
    ema = EMA(module, decay=0.9)
    for n in range(5):
        train(module, seed=n)
        ema.update()
    assert ema.module[1].num_batches_tracked == 5
    vectors = [(name, b) for name, b in ema.module.named_buffers() if name.endswith(("_u", "_v"))]
    assert len(vectors) == 2
    for name, vector in vectors:
        assert torch.equal(vector, module.get_buffer(name))
        torch.testing.assert_close(vector.norm(), torch.ones((), dtype=torch.float64))


def test_state_round_trips_to_the_last_bit_and_goes_on_alike():
    module = network().float()
    ema = EMA(module, decay=0.9)
    inputs = torch.randn(8, 3)
    for n in range(4):
        train(module, n)
        ema.update()
    other_module = network().float()
    other = EMA(other_module, decay=0.9)
    other.load_state_dict(ema.state_dict())
    other_module.load_state_dict(module.state_dict())
    assert other.updates == ema.updates == 4
    assert torch.equal(other.module(inputs), ema.module(inputs))
    for n in range(4, 8):
        for pair in ((module, ema), (other_module, other)):
            train(pair[0], n)
            pair[1].update()
    assert all(
        torch.equal(a, b)
        for a, b in zip(ema.module.state_dict().values(), other.module.state_dict().values(), strict=True)
    )


def test_the_module_state_loads_into_a_plain_network():
    module = network()
    ema = EMA(module, decay=0.9)
    train(module, seed=0)
    ema.update()
    state = ema.state_dict()
    assert state.pop("n_averaged") == 1
    network().load_state_dict(state)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_outside_the_unit_interval_is_refused(decay):
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\]"):
        EMA(nn.Linear(1, 1), decay)


def test_the_average_holds_one_copy():
    module = nn.Linear(100, 100)
    with LiveBytes() as live:
        ema = EMA(module, decay=0.9)
        for _ in range(3):
            ema.update()
    assert live.now == live.peak == sum(p.nbytes for p in module.parameters())
