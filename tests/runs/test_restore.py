"""Weights go into the network that they are of, and into no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import RING, config_of
from torch import nn

from gantrain.commands.train import make_trainer, train
from gantrain.errors import UserError
from gantrain.runs import checkpoint
from gantrain.runs.restore import part_of, require_fit, restore, restore_optimizer, restore_scheduler
from gantrain.utils.nested import Maybe

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
            r"first\.weight has the shape \(4, 2\) of float32, and in the network it .* \(3, 2\) of float32 \(1 oth",
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


def trained(make):
    """A network, its optimizer and a scheduler after three steps."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    optimizer = make(list(module.parameters()))
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
    for _ in range(3):
        module(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
        scheduler.step()
    return module, optimizer, scheduler


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "fused": lambda p: torch.optim.AdamW([{"params": p[:1], "lr": 0.3}, {"params": p[1:]}], lr=0.1, fused=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=1, momentum=0.9),
    "plain": lambda p: torch.optim.SGD(p, lr=0.1),
    "factored": lambda p: torch.optim.Adafactor(p, lr=0.1),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_optimizers_and_schedulers_goes_back_as_it_was(tmp_path, name):
    module, optimizer, scheduler = trained(OPTIMIZERS[name])
    parts = {"optimizer.a": optimizer.state_dict(), "scheduler.a": scheduler.state_dict()}
    checkpoint.save(tmp_path, 3, parts, None)
    _, state = checkpoint.load(tmp_path / "step_3")
    torch.manual_seed(0)
    twin = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    weights = [p.clone() for p in twin.parameters()]
    restored = OPTIMIZERS[name](list(twin.parameters()))
    other = torch.optim.lr_scheduler.MultiStepLR(restored, [2, 4])
    # What an older torch did not write, and what it wrote.
    del state["scheduler.a"]["_is_initial"]
    if name == "adam":
        del state["optimizer.a"]["param_groups"][0]["maximize"]
    restore_optimizer(restored, state, "optimizer.a", FOLDER)
    restore_scheduler(other, state | {"scheduler.a": state["scheduler.a"] | {"verbose": False}}, "scheduler.a", FOLDER)
    assert str(restored.state_dict()["state"]) == str(optimizer.state_dict()["state"])
    assert restored.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] and other.last_epoch == 3
    assert all(torch.equal(*pair) for pair in zip(weights, twin.parameters(), strict=True))


def change(tree, path, *value):
    """A copy of nested dicts, lists and tuples with another value at the path, or with none."""
    first, *rest = path
    items = dict(tree) if isinstance(tree, dict) else dict(enumerate(tree))
    if rest:
        items[first] = change(items[first], rest, *value)
    elif value:
        items[first] = value[0]
    else:
        del items[first]
    return items if isinstance(tree, dict) else type(tree)(items.values())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = config_of(
        RING,
        tmp_path_factory.mktemp("run"),
        "run.steps=3",
        "outer={name: lookahead, inner_steps: 25, base: {name: optimistic, critic_steps: 2}}",
        "game.generator.sharpness={name: sampa, rho: 0.1}",
        "game.generator.scheduler={name: cosineannealinglr, T_max: 48}",
    )
    folder = train(config)
    return make_trainer(config, torch.device("cpu")), folder / "step_3", checkpoint.load(folder / "step_3")[1]


LONG, WRONG = torch.ones(3, dtype=torch.int64), torch.ones(2, 7)
EXP_AVG = ("optimizer.generator", "state", 0, "exp_avg")
SLOPE = ("field", "oracles", "generator", "slope", 0)
START = ("outer", "start", "generator", 1)
CHANGES = [
    *((name,) for name in ("clock", "field", "outer", "ema", "generator", "optimizer.generator")),
    *((name, 7) for name in ("clock", "field", "outer", "ema", "generator", "optimizer.generator")),
    ("scheduler.generator",),
    ("scheduler.generator", [1]),
    ("scheduler.generator", "last_epoch"),
    ("scheduler.generator", "last_epoch", "x"),
    ("scheduler.generator", "base_lrs", []),
    ("clock", "step"),
    ("clock", "step", -1),
    ("clock", "step", 2.5),
    ("clock", "outer_steps", True),
    ("ema", "n_averaged"),
    ("ema", "n_averaged", -1),
    ("ema", "dense.weight", LONG),
    (*EXP_AVG, WRONG),
    (*EXP_AVG, LONG),
    EXP_AVG,
    ("optimizer.generator", "state", {99: {"exp_avg": LONG}}),
    ("optimizer.generator", "state", 0, "step", "x"),
    ("optimizer.generator", "param_groups", []),
    ("optimizer.generator", "param_groups", 0, "lr"),
    ("optimizer.generator", "param_groups", 0, "lr", "x"),
    ("optimizer.generator", "param_groups", 0, "betas", (0.1,)),
    ("optimizer.generator", "param_groups", 0, "params", 1, 0),
    ("field", "draws", "x"),
    ("field", "evaluations", "generator"),
    ("field", "oracles", "generator"),
    ("field", "oracles", "generator", "slope"),
    SLOPE,
    (*SLOPE, WRONG),
    (*SLOPE, 1.5),
    ("outer", "taken", -1),
    ("outer", "start", "generator"),
    START,
    (*START, WRONG),
    (*START, None),
    ("outer", "base", "past", "discriminator", 0, LONG),
]


@pytest.mark.parametrize("path", CHANGES, ids=lambda path: "-".join(map(str, path))[:60].replace("\n", ""))
def test_a_part_that_does_not_fit_is_named_with_its_key(run, path):
    """The last entry of a path is the new value where the one before it is there, and else what is taken away."""
    trainer, folder, state = run
    there = state
    for depth, key in enumerate(path):
        if depth == len(path) - 1 and (not isinstance(there, dict | list | tuple) or not known(there, key)):
            changed, named = change(state, path[:-1], path[-1]), path[:-1]
            break
        there = there[key] if known(there, key) else None
    else:
        changed, named = change(state, path), path
    with pytest.raises(UserError) as caught:
        trainer.load(changed, folder)
    message = str(caught.value)
    assert message.startswith(str(folder)) and "\n" not in message and named[0] in message
    said = message.removeprefix(str(folder))
    assert any(str(key) in said for key in named[-2:]) or "list" in said or "cannot be loaded" in said


def known(tree, key) -> bool:
    if isinstance(tree, dict):
        return isinstance(key, str | int) and key in tree
    return isinstance(tree, list | tuple) and type(key) is int and key < len(tree)


def test_the_run_itself_fits(run):
    trainer, folder, state = run
    trainer.load(state, folder)
    assert trainer.step == 3


def test_what_may_be_none_or_empty():
    form = {"a": Maybe([Maybe(torch.ones(2))]), "b": {}, "c": None}
    for saved in ({"a": None, "c": 3}, {"a": [None], "b": {}, "c": "x"}, {"a": [torch.zeros(2)], "b": {}, "d": {}}):
        require_fit(saved, form, "part", FOLDER)
    with pytest.raises(
        UserError, match=r"step_8: part\.a\.0: expected the shape \(2,\) of float32, found the type str; "
    ):
        require_fit({"a": ["x"]}, form, "part", FOLDER)
