"""Games given by functions: who minimises what, what the function receives, and copies that leave the game alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gantrain.errors import UserError
from gantrain.games import GeneralSum, Minimize, VectorField, ZeroSum
from gantrain.games.base import Objective


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def gradients(game, batch=None):
    """By player, the gradient of its own objective with respect to its own parameters."""
    return {
        name: torch.autograd.grad(game.objective(name, batch).loss, player.parameters, allow_unused=True)
        for name, player in game.players.items()
    }


def test_the_first_player_minimises_and_the_second_maximises():
    found = gradients(ZeroSum(lambda x, y: (x * y**2).sum(), double(2.0), double(3.0)))
    assert found["x"][0].tolist() == [9.0] and found["y"][0].tolist() == [-12.0]


def test_each_player_minimises_its_own_function():
    fs = {"a": lambda a, b, c: (a * b).sum(), "b": lambda a, b, c: (b * c).sum(), "c": lambda a, b, c: (a * c**2).sum()}
    game = GeneralSum(fs, {"a": double(2.0), "b": double(3.0), "c": double(5.0)})
    assert list(game.players) == ["a", "b", "c"]
    assert [g[0].item() for g in gradients(game).values()] == [3.0, 5.0, 20.0]


def test_a_vector_field_is_descended_as_it_is():
    x, y = double(1.0, 2.0), double(3.0, 4.0)
    game = VectorField(lambda x, y: (y * 10, x * 100), {"x": x, "y": y})
    found = gradients(game)
    assert torch.equal(found["x"][0], 10 * y) and torch.equal(found["y"][0], 100 * x)


def test_an_objective_passes_through_with_its_logits():
    logits, targets = double(0.5), torch.tensor([1])
    objective = Minimize(lambda x: Objective((x**2).sum(), logits, targets), double(3.0)).objective("x", None)
    assert objective.loss.item() == 9.0 and objective.logits is logits and objective.targets is targets


def test_batches_reach_the_function():
    game = ZeroSum(lambda x, y, batch: (x * y * batch).sum(), double(2.0), double(3.0))
    assert game.objective("x", double(10.0)).loss.item() == 60.0
    assert game.objective("y", double(10.0)).loss.item() == -60.0
    one = Minimize(lambda x, batch: x.sum() * batch, double(2.0))
    assert one.objective("x", 5).loss.item() == 10.0


def test_the_function_receives_tensors_and_modules_as_they_were_given():
    seen = []
    module = nn.Linear(2, 1)
    game = ZeroSum(lambda x, y: seen.extend([x, y]) or (x(torch.ones(2)) * y).sum(), module, torch.ones(1))
    game.objective("x", None)
    assert seen[0] is module and isinstance(seen[1], torch.Tensor) and seen[1].requires_grad


def test_tensors_are_cloned_whatever_their_history():
    x = double(1.0)
    history = (double(2.0).requires_grad_() * 3).sum()
    game = ZeroSum(lambda x, y: (x * y).sum(), x, history)
    with torch.no_grad():
        for player in game.players.values():
            player.parameters[0].zero_()
    assert x.item() == 1.0 and history.item() == 6.0 and not x.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: ZeroSum(lambda a, b: 0, x, y),
        lambda x, y: GeneralSum({"x": None, "y": None}, {"x": x, "y": y}),
        lambda x, y: VectorField(None, {"x": x, "y": y}),
    ],
)
def test_a_fresh_copy_begins_where_the_game_is_and_moves_alone(make):
    game = make(double(1.0, 2.0), double(3.0))
    twin = game.fresh()
    assert type(twin) is type(game) and list(twin.players) == list(game.players)
    for name in game.players:
        (old,), (new,) = game.players[name].parameters, twin.players[name].parameters
        assert torch.equal(old, new) and old.data_ptr() != new.data_ptr()
        with torch.no_grad():
            new.add_(1.0)
        assert not torch.equal(old, new)


def test_a_fresh_copy_of_a_module_has_buffers_and_frozen_parameters_of_its_own():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    module[0].bias.requires_grad_(False)
    game = Minimize(lambda m: m(torch.randn(4, 2)).sum(), module)
    twin = game.fresh()
    assert len(twin.players["x"].parameters) == 3
    before = module[1].running_mean.clone()
    twin.objective("x", None)
    assert torch.equal(module[1].running_mean, before)
    assert not torch.equal(twin.players["x"].module[1].running_mean, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Minimize(None, torch.tensor([1, 2])),
            "player x: expected a floating-point tensor or a module, got tens",
        ),
        (lambda: ZeroSum(None, torch.ones(1), 3.0), "player y: expected a floating-point tensor or a module, got 3.0"),
        (lambda: Minimize(None, nn.ReLU()), "player x: ReLU has no trainable parameter"),
        (
            lambda: GeneralSum({"a": None}, {"b": torch.ones(1)}),
            r"functions are given for \['a'\], strategies for \['b'\]",
        ),
    ],
)
def test_strategies_that_cannot_be_played(make, message):
    with pytest.raises(UserError, match=f"^{message}"):
        make()


def test_players_may_be_called_as_methods_of_modules_are():
    start = {"forward": double(1.0), "values": double(2.0)}
    game = GeneralSum({"forward": lambda x, y: x * y, "values": lambda x, y: x - y}, start)
    assert {name: module.value.item() for name, module in game.everyone.items()} == {"forward": 1.0, "values": 2.0}
    assert list(game.everyone.state_dict()) == ["forward.value", "values.value"]
    assert game.everyone["values"] is game.players["values"].module and not game.everyone.eval().training


def test_players_that_share_a_parameter():
    module = nn.Linear(2, 1)
    with pytest.raises(UserError, match="^game: ZeroSum: players x and y share a parameter of shape"):
        ZeroSum(None, module, nn.Sequential(module))


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (torch.ones(2, 3), r"a tensor of shape \(2, 3\)"),
        (1.0, "1.0"),
        (None, "null"),
    ],
)
def test_a_function_that_is_no_scalar(value, got):
    games = [
        ZeroSum(lambda x, y: value, double(1.0), double(1.0)),
        Minimize(lambda x: value, double(1.0)),
        GeneralSum({"x": lambda x: value}, {"x": double(1.0)}),
    ]
    for game in games:
        with pytest.raises(UserError, match=f"^the game's function: expected a scalar tensor, got {got}$"):
            game.objective("x", None)
