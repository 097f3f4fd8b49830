from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from gantrain.config.clock import Clock
from gantrain.config.schedules import Schedule
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


def moved_to(value: float, module: nn.Module) -> None:
    with torch.no_grad():
        module.weight.fill_(value)


def jumped(ema: EMA, module: nn.Module, steps: int, size: int, before: int = 0) -> float:
    """The average after steps on batches of one size, if the weights jump to 1 in the first of them."""
    moved_to(1.0, module)
    for n in range(steps):
        since = Clock(n, before + n * size, n)
        ema.update(Clock(n + 1, before + (n + 1) * size, n + 1), since)
    return float(ema.module.weight)


def test_half_of_the_average_is_new_after_the_half_life():
    """After a jump from 0 to 1 the average lacks 0.5^(images / half-life), whatever the batches are."""
    for size, steps in ((10, 100), (100, 10), (1000, 1)):
        module = nn.Linear(1, 1, bias=False).double()
        moved_to(0.0, module)
        ema = EMA(module, half_life_kimg=0.5)
        assert jumped(ema, module, steps, size) == pytest.approx(1 - 0.25, abs=1e-12)
        assert jumped(ema, module, 1, 500, before=1000) == pytest.approx(1 - 0.125, abs=1e-12)


def test_a_ramp_bounds_the_half_life_by_the_images_before_the_step():
    module = nn.Linear(1, 1, bias=False).double()
    moved_to(0.0, module)
    ema = EMA(module, half_life_kimg=2.0, ramp=0.05)
    # No image came before the first step, whose weights the average takes as they are.
    assert jumped(ema, module, 1, 64) == 1.0
    moved_to(0.0, module)
    for images, half_life in ((6400, 320.0), (32_000, 1600.0), (64_000, 2000.0)):
        before = float(ema.module.weight)
        ema.update(Clock(2, images + 64, 2), Clock(1, images, 1))
        assert float(ema.module.weight) == pytest.approx(before * 0.5 ** (64 / half_life), rel=1e-12)


def test_a_half_life_of_zero_is_the_live_weights_and_settings_may_move():
    module = nn.Linear(1, 1, bias=False).double()
    moved_to(0.0, module)
    ema = EMA(module, half_life_kimg=0.0)
    assert jumped(ema, module, 1, 10) == 1.0
    ema.half_life_kimg = 0.01
    moved_to(0.0, module)
    ema.update(Clock(2, 20, 2), Clock(1, 10, 1))
    assert float(ema.module.weight) == pytest.approx(0.5)


@pytest.mark.parametrize("start", [None, 3, {"kimg": 0.24}, {"gradients": 6}])
def test_a_uniform_average_is_the_mean_of_the_weights_since_its_start(start):
    module = nn.Linear(1, 1, bias=False).double()
    ema = EMA(module, uniform=True, start=start)
    skipped = 0 if start is None else 3
    values = []
    for n in range(7):
        values.append(float(n * n))
        moved_to(values[-1], module)
        ema.update(Clock(n + 1, 80 * (n + 1), 2 * (n + 1)), Clock(n, 80 * n, 2 * n))
        counted = values[skipped:] or values[-1:]
        assert float(ema.module.weight) == pytest.approx(sum(counted) / len(counted), abs=1e-12)
    assert ema.updates == 7 - skipped


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one of"),
        ({"decay": 0.5, "uniform": True}, "exactly one of"),
        ({"half_life_kimg": -1.0}, "half_life_kimg: expected a number of at least 0"),
        ({"half_life_kimg": 1.0, "ramp": 0.0}, "ramp: expected a number above 0"),
        ({"decay": Schedule("linear", 0.5, 1.5, kimg=1)}, r"decay: expected a number in \[0, 1\], got 1.5"),
        ({"decay": 0.5, "ramp": 0.1}, "ramp: goes with half_life_kimg"),
        ({"decay": 0.5, "start": 3}, "start: goes with uniform"),
        ({"uniform": True, "start": 0}, "start: expected a whole number of at least 1, got 0"),
        ({"uniform": True, "start": {"epochs": 3}}, "start: expected a number of training steps"),
        ({"decay": 0.5, "of": "slow"}, "of: expected one of live, anchor, outer_iterate, got 'slow'"),
        ({"decay": 0.5, "name": "live"}, "name: expected a name of at most 50 letters"),
    ],
)
def test_settings_that_make_no_average_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EMA(nn.Linear(1, 1), **settings)


OUTER = [
    ({"decay": 0.6}, lambda n, images: 0.0 if n == 0 else min(0.6, (1 + n) / (10 + n))),
    ({"uniform": True}, lambda n, images: n / (n + 1)),
    ({"half_life_kimg": 0.1, "ramp": 0.5}, lambda n, images: 0.5 ** (30 / min(100, 15 * n)) if n else 0.0),
]


@pytest.mark.parametrize(("settings", "kept"), OUTER, ids=["decay", "uniform", "half-life"])
def test_an_average_of_outer_iterates_takes_each_of_them_once(settings, kept):
    """Every third step of 10 images completes an outer step; the average is loaded into another one in between."""
    module = nn.Linear(1, 1, bias=False).double()
    ema, expected, iterates = EMA(module, of="outer_iterate", **settings), module.weight.item(), 0
    for n in range(12):
        moved_to(float(n * n), module)
        complete = n % 3 == 2
        ema.update(Clock(n + 1, 10 * (n + 1), n + 1), Clock(n, 10 * n, n), {}, complete)
        if complete:
            share = kept(iterates, 10 * n)
            expected, iterates = share * expected + (1 - share) * n * n, iterates + 1
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-12)
        assert ema.state_dict()["n_averaged"] == iterates
        again = EMA(module, of="outer_iterate", **settings)
        again.load_state_dict(ema.state_dict())
        ema = again


@pytest.mark.parametrize(("start", "counted"), [(4, [5, 8, 11]), (6, [8, 11]), ({"kimg": 0.08}, [8, 11])])
def test_a_uniform_average_of_outer_iterates_counts_those_reached_after_its_start(start, counted):
    module = nn.Linear(1, 1, bias=False).double()
    ema = EMA(module, uniform=True, start=start, of="outer_iterate")
    for n in range(12):
        moved_to(float(n * n), module)
        ema.update(Clock(n + 1, 10 * (n + 1), n + 1), Clock(n, 10 * n, n), {}, n % 3 == 2)
        seen = [m for m in counted if m <= n] or [m for m in range(n + 1) if m % 3 == 2][-1:]
        if seen:
            assert float(ema.module.weight) == pytest.approx(sum(m * m for m in seen) / len(seen), rel=1e-12)


def test_complex_parameters_are_averaged():
    network = nn.ParameterList([torch.tensor([2 + 4j])])
    average = EMA(network, uniform=True)
    for value in (1 + 1j, 3 - 5j):
        with torch.no_grad():
            network[0].fill_(value)
        average.update()
    assert torch.equal(average.module[0], torch.tensor([2 - 2j]))


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
