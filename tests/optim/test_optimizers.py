"""Optimizers from their descriptions: what is decayed, what is fused, what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import DIGITS, config_of, same, state
from torch import nn

import gantrain as gt
from gantrain.commands.train import train
from gantrain.config.loading import json_schema
from gantrain.config.parts import checked, part_model
from gantrain.config.registry import kind
from gantrain.errors import UserError
from gantrain.optim import make_optimizer, make_scheduler
from gantrain.optim.optimizers import keeps_state

DECAY = 0.25


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4), nn.Embedding(5, 2))
    return layers.double()


def stepped(module, spec, steps=3):
    """The module's parameters after steps along gradients of ones."""
    optimizer = make_optimizer(spec, module)
    for _ in range(steps):
        for p in module.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("on", ["all", "matrices"])
def test_sgd_in_closed_form(on):
    """``p <- p - lr (1 + decay p)`` gives ``p_n = (1 - lr decay)^n (p_0 + 1 / decay) - 1 / decay``."""
    module, lr = network(), 0.1
    start = copy.deepcopy(module)
    optimizer = stepped(module, {"name": "sgd", "lr": lr, "weight_decay": DECAY, "weight_decay_on": on})
    decayed = {"0.weight", "3.weight", "4.weight"} if on == "matrices" else set(dict(module.named_parameters()))
    for (name, p), before in zip(module.named_parameters(), start.parameters(), strict=True):
        expected = (1 - lr * DECAY) ** 3 * (before + 1 / DECAY) - 1 / DECAY if name in decayed else before - 3 * lr
        torch.testing.assert_close(p, expected, rtol=0, atol=1e-14, msg=name)
    assert [group["weight_decay"] for group in optimizer.param_groups] == (
        [DECAY, 0.0] if on == "matrices" else [DECAY]
    )


DECAYING = [name for name in kind("optimizer").parts if "weight_decay" in part_model("optimizer", name).model_fields]


def test_every_optimizer_that_decays_has_the_key_and_no_other():
    assert {"sgd", "adam", "adamw", "rmsprop", "adafactor", "muon"} <= set(DECAYING) and "rprop" not in DECAYING
    for name in kind("optimizer").parts:
        field = part_model("optimizer", name).model_fields.get("weight_decay_on")
        assert (field is not None) == (name in DECAYING and name != "muon"), name
        assert field is None or (field.default == "all" and "norms" in field.description)


@pytest.mark.parametrize("name", [name for name in DECAYING if name != "muon"])
def test_only_matrices_feel_the_decay(name):
    ends = {}
    for on in ("all", "matrices", None):
        module = network()
        stepped(module, {"name": name, "weight_decay": DECAY if on else 0.0, "weight_decay_on": on or "all"})
        ends[on] = dict(module.named_parameters())
    for key in ends["all"]:
        matrix = key in ("0.weight", "3.weight", "4.weight")
        assert torch.equal(ends["matrices"][key], ends["all" if matrix else None][key]), key
        assert not torch.equal(ends["all"][key], ends[None][key]), key


def test_both_groups_are_fused_and_scheduled_and_have_one_step_size():
    optimizer = make_optimizer({"name": "adamw", "lr": 0.5, "weight_decay_on": "matrices"}, network())
    scheduler = make_scheduler({"name": "exponentiallr", "gamma": 0.5}, optimizer)
    optimizer.step()
    scheduler.step()
    assert [(group["lr"], group["fused"]) for group in optimizer.param_groups] == [(0.25, True)] * 2


def test_without_the_key_the_state_is_as_it_ever_was():
    module = network()
    (group,) = make_optimizer({"name": "adam", "lr": 0.5}, module).state_dict()["param_groups"]
    (plain,) = torch.optim.Adam(module.parameters(), lr=0.5, fused=True).state_dict()["param_groups"]
    assert group == plain


def test_a_network_without_biases_has_one_group():
    for module in (nn.Linear(2, 2, bias=False), nn.BatchNorm1d(3)):
        (group,) = make_optimizer(
            {"name": "sgd", "weight_decay": 1, "weight_decay_on": "matrices"}, module
        ).param_groups
        assert group["weight_decay"] == (1.0 if isinstance(module, nn.Linear) else 0.0)


class Counting(torch.optim.SGD):
    """SGD that counts its steps in its groups, and holds nothing else."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1
        return super().step(closure)


def test_what_is_kept_in_groups_is_state_too_and_a_trial_leaves_no_trace():
    p = nn.Parameter(torch.ones(2))
    counting, plain = Counting([p], lr=0.1), torch.optim.SGD([p], lr=torch.tensor(0.1))
    assert keeps_state(counting) and not keeps_state(plain)
    assert "k" not in counting.param_groups[0] and torch.equal(p, torch.ones(2))


def test_frozen_parameters_are_left_out():
    module = network()
    module[0].requires_grad_(False)
    groups = make_optimizer({"name": "sgd", "weight_decay_on": "matrices"}, module).param_groups
    assert [len(group["params"]) for group in groups] == [2, 3]


class Own(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1, weight_decay: float = 0.5):
        super().__init__(params, lr=lr, weight_decay=weight_decay)


class Taken(torch.optim.SGD):
    def __init__(self, params, weight_decay: float = 0.5, weight_decay_on: int = 3):
        super().__init__(params, weight_decay=weight_decay)
        self.on = weight_decay_on


def test_an_optimizer_of_ones_own_has_the_key_too_unless_it_is_its_own():
    own = make_optimizer({"target": "test_optimizers:Own", "weight_decay_on": "matrices"}, network())
    assert type(own) is Own and [group["weight_decay"] for group in own.param_groups] == [0.5, 0.0]
    assert make_optimizer({"target": "test_optimizers:Taken", "weight_decay_on": 4}, network()).on == 4


def test_sampa_and_the_functions_of_the_package_take_it():
    game = gt.games.Minimize(lambda m: m(torch.ones(4, 3)).square().mean(), x=nn.Linear(3, 3))
    settings = {"sharpness": "sampa", "steps": 4}
    ends = [
        gt.solve(game, optimizer={"name": "sgd", "lr": 0.1, "weight_decay": 0.5, "weight_decay_on": on}, **settings)[
            "x"
        ]
        for on in ("all", "matrices")
    ]
    assert ends[0].isfinite().all() and not torch.equal(*ends)


SPARED = "game.generator.optimizer={name: adamw, lr: 1e-3, weight_decay: 0.1, weight_decay_on: matrices}"


def test_a_run_is_resumed_bit_identically_and_only_with_the_same_setting(tmp_path):
    straight = train(config_of(DIGITS, tmp_path, SPARED, "run.steps=6", "run.name=straight"))
    parts = train(config_of(DIGITS, tmp_path, SPARED, "run.steps=3", "run.name=parts"))
    with pytest.raises(UserError, match="^game.generator.optimizer.weight_decay_on: the run in .* has 'matrices'") as e:
        other = (SPARED, "game.generator.optimizer.weight_decay_on=all")
        train(config_of(DIGITS, tmp_path, *other, "run.steps=6", "run.name=parts"), resume=True)
    assert "\n" not in str(e.value)
    train(config_of(DIGITS, tmp_path, SPARED, "run.steps=6", "run.name=parts"), resume=True)
    assert same(state(parts), state(straight))
    assert len(state(parts)["optimizer.generator"]["param_groups"]) == 2
    plain = train(config_of(DIGITS, tmp_path, SPARED.replace("matrices", "all"), "run.steps=6", "run.name=plain"))
    assert not same(state(plain)["generator"], state(straight)["generator"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"name": "sgd", "weight_decay_on": "norms"},
            "optimizer.weight_decay_on: expected 'all' or 'matrices', got 'no",
        ),
        (
            {"name": "rprop", "weight_decay_on": "all"},
            "optimizer.weight_decay_on: unknown key; expected one of name, lr",
        ),
        ({"name": "sgd", "weight_decay": -1}, "optimizer: Invalid weight_decay value: -1.0"),
        (
            torch.optim.SGD([torch.ones(1)]),
            "optimizer: expected a name or a mapping; an optimizer object has parameters",
        ),
    ],
)
def test_what_is_wrong_is_one_line(spec, message):
    with pytest.raises(UserError) as error:
        make_optimizer(spec, network())
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_the_key_is_in_the_schema_and_in_resolved_configs():
    schema = json_schema()["$defs"]
    assert schema["optimizer.adam"]["properties"]["weight_decay_on"]["enum"] == ["all", "matrices"]
    assert "weight_decay_on" not in schema["optimizer.rprop"]["properties"]
    assert checked("optimizer", "adam").model_dump(mode="json")["weight_decay_on"] == "all"


@pytest.mark.parametrize("key", ["fused", "foreach"])
def test_an_implementation_that_is_declined_is_not_taken(key):
    spec = {"name": "adam", key: False}
    (group,) = make_optimizer(spec, network()).param_groups
    assert group[key] is False and not group["fused"]


@pytest.mark.parametrize(
    ("spec", "fused"),
    [
        ({"name": "sgd", "lr": 0.1}, True),
        ({"target": "torch.optim:AdamW"}, True),
        ({"name": "adagrad"}, None),
        ({"target": "torch.optim:Adagrad"}, None),
    ],
)
def test_steps_are_fused_where_torch_fuses_them_on_every_device(spec, fused):
    assert make_optimizer(spec, nn.Linear(2, 2)).defaults["fused"] is fused
