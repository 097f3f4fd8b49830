"""Muon: the method on matrices, what goes to the rest, and that the two are one optimizer for everything around."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from cases import few
from tiny import DIGITS, back_to, config_of, rows, same, state
from torch import nn

import gantrain as gt
from gantrain.commands.train import train
from gantrain.config.loading import json_schema
from gantrain.config.parts import build
from gantrain.config.registry import kind
from gantrain.data import DataSpec
from gantrain.errors import Notice, UserError
from gantrain.optim import Muon, make_optimizer, make_scheduler
from gantrain.optim.matrices import hidden
from gantrain.optim.muon import orthogonalised
from gantrain.outer import RAPP
from gantrain.sharpness import SAMPa
from gantrain.testing import OracleContract, OuterContract, oracle, outer

MUON = {"name": "muon", "lr": 0.02, "rest": {"name": "adamw", "lr": 2.0e-4}}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 8), (16, 64), (64, 16), (1, 20), (20, 1), (128, 1152)])
def test_the_singular_values_come_near_one(shape):
    u, _, v = torch.linalg.svd(noise(*shape), full_matrices=False)
    spread = torch.logspace(0, -2, min(shape))  # from 1 to 0.01
    found = orthogonalised(u @ spread.diag() @ v)
    assert found.shape == shape and found.dtype == torch.bfloat16
    values = torch.linalg.svdvals(found.float())
    assert values.min() >= 0.5 and values.max() <= 1.5
    # The singular vectors stay, up to the rounding of bfloat16.
    aligned = u.T @ found.float() @ v.T
    assert (aligned - aligned.diagonal().diag()).abs().max() < 0.1


def test_a_matrix_of_zeros_stays_one():
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5, dtype=torch.bfloat16))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw", "spectral_unclamped"])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.0, "momentum": 0.5, "ns_steps": 3, "eps": 1e-3}])
def test_two_dimensions_are_torchs_own_muon(nesterov, adjust, settings):
    settings = {"lr": 0.05, "nesterov": nesterov, "adjust_lr_fn": adjust} | settings
    ours, theirs = ([nn.Parameter(noise(*s)) for s in ((6, 6), (12, 4), (4, 12))] for _ in range(2))
    try:
        pair = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    except ValueError:
        pytest.skip("this torch has fewer rules")
    for step in range(6):
        for i, both in enumerate(zip(ours, theirs, strict=True)):
            for p in both:
                p.grad = noise(*p.shape, seed=7 * step + i)
        for optimizer in pair:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        torch.testing.assert_close(pair[0].state[a], pair[1].state[b])
    for key in torch.optim.Muon([nn.Parameter(torch.ones(2, 2))]).defaults:
        assert Muon([nn.Parameter(torch.ones(2, 2))]).defaults[key] == torch.optim.Muon(theirs).defaults[key], key


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_filters_are_matrices_of_their_output_channels(layout):
    settings = {"lr": 0.1, "momentum": 0.5}
    filters = nn.Parameter(noise(6, 3, 4, 4).to(memory_format=layout))
    turned = nn.Parameter(filters.detach().transpose(0, 1).clone())
    matrix = nn.Parameter(filters.detach().clone().flatten(1))
    strides = filters.stride()
    groups = [{"params": [filters]}, {"params": [turned], "transposed": True}]
    optimizers = Muon(groups, **settings), Muon([matrix], **settings)
    for step in range(3):
        gradient = noise(6, 3, 4, 4, seed=step)
        filters.grad, turned.grad = gradient.to(memory_format=layout), gradient.transpose(0, 1).clone()
        matrix.grad = gradient.flatten(1)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(filters.flatten(1), matrix) and torch.equal(turned.transpose(0, 1).flatten(1), matrix)
    assert filters.stride() == strides and optimizers[0].state[filters]["momentum_buffer"].stride() == strides


@pytest.mark.parametrize(
    ("player", "model", "size"),
    [
        ("generator", {"name": "conv", "width": 4}, 16),
        ("discriminator", {"name": "mlp", "width": 8}, 16),
        ("generator", {"name": "dcgan", "width": 4}, 16),
        ("discriminator", {"name": "sngan", "width": 4}, 32),
        ("generator", {"name": "sngan", "width": 4}, 32),
        ("classifier", {"name": "resnet", "depth": 8}, 32),
    ],
)
def test_hidden_matrices_are_muons_and_everything_else_the_rests(player, model, size):
    network = build(player, model, DataSpec((3, size, size), 10))
    optimizer = make_optimizer(MUON, network)
    muon = [p for group in optimizer.param_groups if "transposed" in group for p in group["params"]]
    rest = [p for group in optimizer.param_groups if "transposed" not in group for p in group["params"]]
    assert {id(p) for p in muon} == {id(matrix.parameter) for matrix in hidden(network)} and muon
    assert [id(p) for p in rest] == [id(p) for p in network.parameters() if id(p) not in {id(q) for q in muon}]
    for group in optimizer.param_groups:
        assert group["lr"] == (0.02 if "transposed" in group else 2e-4)
    transposed = {id(m.weight) for m in network.modules() if isinstance(m, nn.ConvTranspose2d)}
    for group in optimizer.param_groups:
        if "transposed" in group:
            assert all((id(p) in transposed) == group["transposed"] for p in group["params"])


def three_layers(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def move(module, optimizer, steps, start=0):
    for step in range(start, start + steps):
        loss = module(noise(16, 3, seed=step)).square().mean()
        gradients = torch.autograd.grad(loss, list(module.parameters()))
        for p, g in zip(module.parameters(), gradients, strict=True):
            p.grad = g
        optimizer.step()


def test_the_rest_moves_as_it_would_alone():
    module, other = three_layers(), three_layers()
    move(module, make_optimizer(MUON, module), 1)
    move(other, torch.optim.AdamW(other.parameters(), lr=2e-4, fused=True), 1)
    for (name, p), q in zip(module.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q) == (name != "2.weight"), name


RESTS = [name for name in kind("optimizer").parts if name not in ("muon", "mirror")]


@pytest.mark.parametrize("rest", [*RESTS, {"name": "adam", "weight_decay": 0.1, "weight_decay_on": "matrices"}])
def test_state_round_trips_and_goes_on_bit_identically(rest):
    spec = MUON | {"rest": rest}
    straight = three_layers()
    move(straight, make_optimizer(spec, straight), 3)
    module = three_layers()
    optimizer = make_optimizer(spec, module)
    pointers = [p.data_ptr() for p in module.parameters()]
    move(module, optimizer, 2)
    other = copy.deepcopy(module)
    loaded = make_optimizer(spec, other)
    loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert str(loaded.state_dict()) == str(optimizer.state_dict())
    for m, o in ((module, optimizer), (other, loaded)):
        move(m, o, 1, start=2)
        assert all(map(torch.equal, m.parameters(), straight.parameters()))
    assert [p.data_ptr() for p in module.parameters()] == pointers
    # The rest goes on with what was loaded, and has no groups of its own.
    assert loaded.rest.state is loaded.state
    assert all(any(g is h for h in loaded.param_groups) for g in loaded.rest.param_groups)


def test_a_copy_is_a_whole_optimizer():
    module = three_layers()
    optimizer = make_optimizer(MUON, module)
    move(module, optimizer, 2)
    twin, twin_optimizer = copy.deepcopy((module, optimizer))
    for m, o in ((module, optimizer), (twin, twin_optimizer)):
        move(m, o, 2)
    assert all(map(torch.equal, module.parameters(), twin.parameters()))
    assert twin_optimizer.rest is not optimizer.rest and twin_optimizer.rest.state is twin_optimizer.state


def test_schedulers_scale_both():
    optimizer = make_optimizer(MUON, three_layers())
    scheduler = make_scheduler({"name": "exponentiallr", "gamma": 0.5}, optimizer)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 1e-4]
    assert [group["lr"] for group in optimizer.rest.param_groups] == [1e-4]
    scheduler = make_scheduler(
        {"name": "onecyclelr", "max_lr": 0.1, "total_steps": 4}, make_optimizer(MUON, three_layers())
    )
    scheduler.optimizer.step()
    scheduler.step()


def test_both_step_with_the_learning_rate_of_the_moment():
    module, start = three_layers(), three_layers()
    optimizer = make_optimizer(MUON | {"weight_decay": 0.0}, module)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    move(module, optimizer, 2)
    assert all(map(torch.equal, module.parameters(), start.parameters()))


def test_the_rest_is_fused_adamw_by_default_and_decays_what_it_is_told():
    optimizer = make_optimizer("muon", three_layers())
    assert type(optimizer.rest) is torch.optim.AdamW and optimizer.param_groups[1]["fused"]
    default = torch.optim.AdamW([torch.ones(1)]).defaults
    assert optimizer.param_groups[1]["lr"] == default["lr"]
    spec = {"name": "muon", "rest": {"name": "adamw", "weight_decay": 0.3, "weight_decay_on": "matrices"}}
    groups = make_optimizer(spec, three_layers()).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.1), (2, 0.3), (3, 0.0)]


@pytest.mark.parametrize("rest", ["adagrad", {"name": "sgd", "lr": 0.1}])
def test_a_network_of_two_layers_is_the_rests_and_says_so(rest):
    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))

    module, other = network(), network()
    with pytest.warns(Notice, match="^optimizer: the network has no weights for muon .*; all of its parameters go to"):
        optimizer = make_optimizer({"name": "muon", "rest": rest}, module)
    alone = make_optimizer(rest, other)
    move(module, optimizer, 3)
    move(other, alone, 3)
    assert all(map(torch.equal, module.parameters(), other.parameters()))
    assert optimizer.param_groups[0]["lr"] == alone.param_groups[0]["lr"]


def test_a_rest_that_is_given_everything_leaves_the_matrices_alone():
    module, other = three_layers(), three_layers()
    every = list(module.parameters())
    move(module, Muon(every, lr=0.02, rest=torch.optim.Adagrad(every)), 3)
    matrices, others = ([p for p in other.parameters() if (p.dim() == 2) == two] for two in (True, False))
    move(other, Muon(matrices, lr=0.02, rest=torch.optim.Adagrad(others)), 3)
    assert all(map(torch.equal, module.parameters(), other.parameters()))


def test_frozen_ends_leave_nothing_to_the_rest():
    module = three_layers()
    for layer in (module[0], module[4], module[2].bias):
        layer.requires_grad_(False)
    optimizer = make_optimizer(MUON, module)
    assert [group["params"] for group in optimizer.param_groups] == [[module[2].weight]]
    module[2].weight.grad = torch.ones(8, 8)
    optimizer.step()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"lr": -1}, "optimizer.lr: expected a number of at least 0, got -1"),
        ({"momentum": 1.5}, "optimizer.momentum: expected a number of at least 0 and at most 1, got 1.5"),
        ({"ns_steps": 0}, "optimizer.ns_steps: expected a whole number of at least 1, got 0"),
        ({"ns_coefficients": [1, 2]}, "optimizer.ns_coefficients"),
        ({"adjust_lr_fn": "moonshot"}, "optimizer.adjust_lr_fn: expected 'original', 'match_rms_adamw' or"),
        ({"weight_decay_on": "all"}, "optimizer.weight_decay_on: unknown key; expected one of name, lr"),
        ({"rest": "adamm"}, "optimizer.rest: unknown optimizer 'adamm'; expected one of"),
        ({"rest": {"name": "adamw", "lr": "fast"}}, "optimizer.rest.lr: expected a number, got 'fast'"),
        ({"rest": {"name": "adamw", "lr": -1}}, "optimizer.rest: Invalid learning rate: -1.0"),
        ({"rest": "muon"}, "optimizer.rest: expected another optimizer than muon"),
    ],
)
def test_bad_values_are_one_line_with_the_key(spec, message):
    with pytest.raises(UserError) as error:
        make_optimizer({"name": "muon", **spec}, three_layers())
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_schema_shows_every_key():
    schema = json_schema()["$defs"]["optimizer.muon"]["properties"]
    keys = torch.optim.Muon([nn.Parameter(torch.ones(2, 2))]).defaults.keys() | {"name", "rest"}
    assert set(schema) == keys
    assert {"$ref": "#/$defs/optimizer"} in schema["rest"]["anyOf"]
    assert all(value.get("description") for key, value in schema.items() if key != "name")


RUN = (
    "data.size=16",
    "game.generator.optimizer={name: muon, lr: 0.02, rest: {name: adamw, lr: 2.0e-4}}",
    "game.discriminator.optimizer={name: muon, lr: 0.02, rest: {name: adamw, lr: 2.0e-4}}",
    "game.generator.scheduler={name: cosineannealinglr, T_max: 8}",
    "game.discriminator.sharpness={name: sampa, rho: 0.1}",
    "game.conditional=true",
    "outer=extragradient",
)


@pytest.mark.filterwarnings("error::gantrain.errors.Notice")
@pytest.mark.parametrize("layout", few(["run.channels_last=false", "run.channels_last=true"], "run.channels_last=true"))
def test_a_run_trains_and_is_resumed_bit_identically(tmp_path, layout):
    config = config_of(DIGITS, tmp_path, *RUN, layout, "run.steps=8", "checkpoint.every=4")
    run = train(config)
    straight, logged = state(run), rows(run)
    back_to(run, 4)
    train(config, resume=True)
    assert same(state(run), straight) and rows(run) == logged
    assert [group["lr"] for group in state(run)["optimizer.generator"]["param_groups"]][:1] == [pytest.approx(0)]


def test_everything_converges_towards_a_classifier():
    torch.manual_seed(0)
    x = noise(256, 3)
    y = (x[:, 0] * x[:, 1] > 0).long()
    module = three_layers()
    game = gt.games.Minimize(lambda m: nn.functional.cross_entropy(m(x), y), x=module)
    rest = {"name": "adamw", "lr": 0.01}
    for sharpness in (None, {"name": "sampa", "rho": 0.05}):
        path = gt.solve(game, optimizer={"name": "muon", "lr": 0.05, "rest": rest}, sharpness=sharpness, steps=100)
        assert nn.functional.cross_entropy(path.modules["x"](x), y) < 0.2


class TestRAPPOverMuon(OuterContract):
    gradients = 4

    @pytest.fixture(autouse=True)
    def over_muon(self, monkeypatch):
        monkeypatch.setattr(outer, "pair_field", partial(outer.pair_field, Muon))

    def make(self):
        return RAPP(inner_steps=4, relaxation=0.5)


class TestSAMPaOverMuon(OracleContract):
    first = 1

    @pytest.fixture(autouse=True)
    def over_muon(self, monkeypatch):
        monkeypatch.setattr(oracle.torch.optim, "AdamW", Muon)

    def make(self):
        return SAMPa(rho=0.1)
