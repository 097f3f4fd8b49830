"""Optimistic Adam against loops that are written out here, and that it is an optimizer like any other."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from tiny import DIGITS, back_to, config_of, rows, same, state
from torch import nn

import gantrain as gt
from gantrain.commands.train import train
from gantrain.errors import UserError
from gantrain.games.toy.linear import Bilinear
from gantrain.optim import OptimisticAdam, make_optimizer
from gantrain.outer import RAPP
from gantrain.sharpness import SAMPa
from gantrain.testing import OracleContract, OuterContract, oracle, outer


def gradient(p, step):
    """One that depends on the point, so that errors would add up."""
    return torch.sin(3 * p + step) + p


def by_hand(start, steps, lr, betas=(0.9, 0.999), eps=1e-8, decay=0.0, amsgrad=False):
    """Algorithm 1 of the paper for one number, in Python's floats."""
    p, m, v, largest, before = start, 0.0, 0.0, 0.0, 0.0
    for t in range(1, steps + 1):
        g = math.sin(3 * p + t) + p + decay * p
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        largest = max(largest, v)
        second = largest if amsgrad else v
        u = m / (1 - betas[0] ** t) / (math.sqrt(second / (1 - betas[1] ** t)) + eps)
        p, before = p - 2 * lr * u + lr * before, u
    return p


@pytest.mark.parametrize(
    "settings", [{}, {"betas": (0.0, 0.9), "eps": 0.1}, {"betas": (0.5, 0.9), "decay": 0.3}, {"amsgrad": True}]
)
def test_it_is_the_papers_algorithm(settings):
    starts = [[0.3, -1.2], [2.0]]
    parameters = [nn.Parameter(torch.tensor(s, dtype=torch.float64)) for s in starts]
    keys = {("weight_decay" if key == "decay" else key): value for key, value in settings.items()}
    optimizer = OptimisticAdam(parameters, lr=0.05, **keys)
    for step in range(1, 31):
        for p in parameters:
            p.grad = gradient(p.detach(), step)
        optimizer.step()
    for p, start in zip(parameters, starts, strict=True):
        expected = torch.tensor([by_hand(x, 30, 0.05, **settings) for x in start], dtype=torch.float64)
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-12)


def test_a_parameter_counts_the_steps_in_which_it_has_a_gradient():
    always, sometimes = (nn.Parameter(torch.tensor([0.3], dtype=torch.float64)) for _ in range(2))
    optimizer = OptimisticAdam([always, sometimes], lr=0.05)
    taken = 0
    for step in range(1, 11):
        always.grad, sometimes.grad = gradient(always.detach(), step), None
        if step % 3 == 0:
            taken += 1
            sometimes.grad = gradient(sometimes.detach(), taken)
        optimizer.step()
    assert always.item() == pytest.approx(by_hand(0.3, 10, 0.05), abs=1e-12)
    assert sometimes.item() == pytest.approx(by_hand(0.3, 3, 0.05), abs=1e-12)


def test_where_the_direction_is_the_gradient_it_is_optimistic_gradient_descent():
    """On ``x y``: ``w <- w - 2 lr F w + lr F w_before``; its iterates are those that ``optimistic`` extrapolates to."""
    lr, large = 0.3, 1e12
    game = Bilinear(start=(0.8, -0.5))
    adam = {"name": "optimistic_adam", "lr": lr * large, "betas": [0.0, 0.0], "eps": large}
    path = gt.solve(game, optimizer=adam, steps=40)
    popov = gt.solve(game, outer="optimistic", optimizer={"name": "sgd", "lr": lr}, steps=40)
    w, before = torch.tensor([0.8, -0.5], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for t in range(41):
        torch.testing.assert_close(torch.stack([path["x"][t], path["y"][t]]), w, rtol=0, atol=1e-9)
        z = torch.stack([popov["x"][t], popov["y"][t]])
        torch.testing.assert_close(w + lr * before, z, rtol=0, atol=1e-9)
        field = torch.stack([w[1], -w[0]])
        w, before = w - 2 * lr * field + lr * before, field
    assert w.norm() < 0.5 * math.hypot(0.8, 0.5)


def test_a_copy_and_a_loaded_state_go_on_alike():
    def moved(module, optimizer, steps):
        for step in steps:
            for p in module.parameters():
                p.grad = gradient(p.detach(), step)
            optimizer.step()

    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    spec = {"name": "optimistic_adam", "amsgrad": True}
    optimizer = make_optimizer(spec, module)
    pointers = [p.data_ptr() for p in module.parameters()]
    moved(module, optimizer, range(3))
    other, (twin, twin_optimizer) = copy.deepcopy(module), copy.deepcopy((module, optimizer))
    loaded = make_optimizer(spec, other)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for pair in ((module, optimizer), (other, loaded), (twin, twin_optimizer)):
        moved(*pair, range(3, 6))
        assert all(map(torch.equal, pair[0].parameters(), module.parameters()))
    assert [p.data_ptr() for p in module.parameters()] == pointers


OPTIMISTIC = (
    "optimizer={name: optimistic_adam, lr: 1.0e-3, betas: [0.5, {schedule: linear, from: 0.9, to: 0.8, kimg: 1}]}"
)
RUN = (
    f"game.generator.{OPTIMISTIC}",
    f"game.discriminator.{OPTIMISTIC}",
    "game.generator.scheduler={name: cosineannealinglr, T_max: 8}",
    "game.discriminator.sharpness={name: sampa, rho: 0.1}",
    "data.accumulation=2",
)


def test_a_run_is_resumed_bit_identically(tmp_path):
    config = config_of(DIGITS, tmp_path, *RUN, "run.steps=8", "checkpoint.every=4")
    run = train(config)
    straight, logged = state(run), rows(run)
    back_to(run, 4)
    train(config, resume=True)
    assert same(state(run), straight) and rows(run) == logged
    kept = straight["optimizer.generator"]["state"][0]
    assert set(kept) == {"step", "exp_avg", "exp_avg_sq", "direction"} and kept["step"] == 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"lr": -1}, "optimizer.lr: expected a number of at least 0, got -1"),
        ({"betas": [0.5]}, "optimizer.betas"),
        ({"betas": [0.0, 1.0]}, "optimizer: Invalid beta parameter at index 1: 1.0; expected at least 0 and below 1"),
        ({"fused": True}, "optimizer.fused: unknown key; expected one of name, lr, betas, eps"),
    ],
)
def test_bad_values_are_one_line_with_the_key(spec, message):
    with pytest.raises(UserError) as error:
        make_optimizer({"name": "optimistic_adam", **spec}, nn.Linear(1, 1))
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


class TestRAPPOverOptimisticAdam(OuterContract):
    gradients = 4

    @pytest.fixture(autouse=True)
    def over_optimistic_adam(self, monkeypatch):
        monkeypatch.setattr(outer, "pair_field", partial(outer.pair_field, OptimisticAdam))

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5)


class TestSAMPaOverOptimisticAdam(OracleContract):
    first = 1

    @pytest.fixture(autouse=True)
    def over_optimistic_adam(self, monkeypatch):
        monkeypatch.setattr(oracle.torch.optim, "AdamW", OptimisticAdam)

    def make(self):
        return SAMPa(rho=0.1)
