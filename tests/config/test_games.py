"""Configs of games: strategies, groups of players, no data, own networks, and what is wrong with them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from gantrain.config.loading import validate
from gantrain.config.parts import game_players
from gantrain.config.schema import Config
from gantrain.errors import UserError

MODULE = """
from __future__ import annotations
from collections.abc import Mapping
import torch
import gantrain as gt

class Own(torch.nn.Module):
    def __init__(self, spec, width: int = 3):
        super().__init__()

class Special(torch.nn.Module):
    pass

class Networks(gt.Game):
    def __init__(self, a: torch.nn.Module, b: Special, c: "gt.Generator | None" = None, d: gt.Generator | None = None):
        pass
    def objective(self, player, batch): ...

class Crowd(gt.Game):
    takes_data = False
    def __init__(self, people: Mapping[str, gt.Strategy], judges: dict[str, torch.nn.Module], w: dict[str, float] = {}):
        pass
    def objective(self, player, batch): ...

class Section(Crowd):
    callbacks = {"run": "scalars"}

class Listed(Crowd):
    callbacks = ["scalars"]

class Numbered(Crowd):
    numbered = {"people": "costs"}

class Better(Crowd):
    better = {"gap": "less"}

class Weighted(gt.Metric):
    def __init__(self, network: torch.nn.Module = None):
        pass
"""
SOLO = {"optimizer": {"name": "sgd", "lr": 0.1}}
OWN = {"model": {"target": "own_games:Own"}, **SOLO}
MATRIX = {"name": "matrix", "payoff": [[1, 2]], "row": SOLO, "column": SOLO}
COURNOT = {"name": "cournot", "costs": [1, 2, 3], "firms": SOLO}
CROWD = {"target": "own_games:Crowd", "people": {**SOLO, "ann": {}, "bob": None}, "judges": {"cem": OWN}}
NETWORKS = {"target": "own_games:Networks", "a": OWN, "b": OWN, "c": {"model": "mlp", **SOLO}}


@pytest.fixture(autouse=True)
def own_games(monkeypatch):
    module = ModuleType("own_games")
    monkeypatch.setitem(sys.modules, "own_games", module)
    exec(MODULE, vars(module))


def config(game, **sections):
    return validate(Config, {"run": {"name": "x", "steps": 1}, "game": game, **sections}, "file")


def test_a_game_without_data_needs_no_section_and_may_say_how_many_random_numbers():
    assert config(MATRIX).data.model_dump(mode="json")["name"] == "none"
    assert config(MATRIX, data={"batch_size": 3}).data.batch_size == 3
    assert config(MATRIX, data=None).data.batch_size == 64
    resolved = config(COURNOT).model_dump(mode="json")
    assert validate(Config, resolved, "file").model_dump(mode="json") == resolved


def test_players_without_a_network_and_with_any_network():
    assert config(MATRIX).game.row.model.name == "vector"
    assert config(MATRIX | {"row": SOLO | {"model": {"start": [1]}}}).game.row.model.start == [1]
    found = config(NETWORKS, data="digits").game
    assert list(game_players(found)) == ["a", "b", "c"] and found.a.model.width == 3


def test_groups_have_a_section_for_all_and_for_each():
    players = game_players(config(CROWD | {"people": {**SOLO, "ann": {"optimizer": {"lr": 1}}, "bob": {}}}).game)
    assert list(players) == ["ann", "bob", "cem"]
    assert (players["ann"].optimizer.lr, players["bob"].optimizer.lr) == (1.0, 0.1)
    assert list(game_players(config(COURNOT | {"firms": {**SOLO, "firm3": None}}).game)) == ["firm1", "firm2", "firm3"]


@pytest.mark.parametrize(
    ("game", "sections", "message"),
    [
        (
            MATRIX,
            {"data": "digits"},
            "data: the game matrix takes no data; leave it out, or give data.b",
        ),
        (
            MATRIX,
            {"run": {"name": "x", "kimg": 1}},
            "run.kimg: the game matrix sees no samples; use run.steps",
        ),
        (
            NETWORKS,
            {"data": "none"},
            "data: the game own_games:Networks learns from data; choose another",
        ),
        (
            MATRIX,
            {"samples": {"every": 1}},
            "samples: unknown key, as the attribute callbacks of the game Matrix names none; expected one of run",
        ),
        (NETWORKS, {}, "data: is missing (The data set and the batch size)"),
        (NETWORKS | {"a": SOLO}, {"data": "digits"}, "game.a.model: is missing (The network of the player)"),
        (
            NETWORKS | {"a": SOLO | {"model": "mlp"}},
            {"data": "digits"},
            "game.a.model: unknown network 'mlp'; expected a network, as {target: package.module:Class}",
        ),
        (
            NETWORKS | {"a": SOLO | {"model": 3}},
            {"data": "digits"},
            "game.a.model: expected a network, as {target: package.module:Class}, got 3",
        ),
        (
            MATRIX | {"row": SOLO | {"model": "vectro"}},
            {},
            "game.row.model: unknown strategy 'vectro'; expected one of vector, softmax; did you",
        ),
        (MATRIX | {"payoff": [[1, "a"]]}, {}, "game.payoff.0.1: expected a number, got 'a'"),
        (COURNOT | {"costs": []}, {}, "game.costs: expected at least one entry; each is one of firms"),
        (COURNOT | {"costs": 3}, {}, "game.costs: expected a list, got 3"),
        (COURNOT | {"firms": 3}, {}, "game.firms: expected a mapping with the keys model, optimizer, scheduler, sharp"),
        (COURNOT | {"firms": {}}, {}, "game.firms.optimizer: is missing (The optimizer: any of torch.optim by its"),
        ({"name": "cournot", "costs": [1, 2]}, {}, "game.firms: is missing (the players, called firm1"),
        (
            COURNOT | {"firms": {"optimizer": {"name": "sgd", "lrr": 1}}},
            {},
            "game.firms.optimizer.lrr: unknown key; expected one of name, lr, momentum",
        ),
        (
            COURNOT | {"firms": {**SOLO, "firm2": {"optimizer": {"lrr": 1}}}},
            {},
            "game.firms.firm2.optimizer.lrr: unknown key; expected one of name, lr, momentum",
        ),
        (
            COURNOT | {"firms": {**SOLO, "firm4": {}}},
            {},
            "game.firms.firm4: unknown key or player; expected one of model, optimizer, scheduler, sharpness, "
            "constraint, clip, init, freeze, firm1, firm2, firm3; did you mean",
        ),
        (
            COURNOT | {"firms": {**SOLO, "firm1": SOLO, "firm2": SOLO, "firm3": {"optimizer": "adam"}}},
            {},
            "game.firms.optimizer: has no effect, since every player has its own optimizer; change these",
        ),
        (COURNOT | {"firms": {**SOLO, "firm2": 3}}, {}, "game.firms.firm2: expected a mapping with the keys model"),
        (CROWD | {"people": SOLO}, {}, "game.people: names no player; expected each name, with the keys in which it"),
        (
            CROWD | {"judges": {"ann": OWN}},
            {},
            "game.judges.ann: a player is called ann already, in game.people",
        ),
        (CROWD | {"w": {"a": "b"}}, {}, "game.w.a: expected a number, got 'b'"),
        (
            CROWD | {"target": "own_games:Section"},
            {},
            "game.target: own_games:Section: callbacks: 'run' is a",
        ),
        (
            CROWD | {"target": "own_games:Listed"},
            {},
            "game.target: own_games:Listed: callbacks: expected a dict from text",
        ),
        (
            CROWD | {"target": "own_games:Numbered"},
            {},
            "game.target: own_games:Numbered: numbered: 'costs' is no argument",
        ),
        (
            CROWD | {"target": "own_games:Better"},
            {},
            "game.target: own_games:Better: better: expected 'lower' or 'high",
        ),
    ],
)
def test_what_is_wrong_is_one_line(game, sections, message):
    with pytest.raises(UserError) as found:
        config(game, **sections)
    text = str(found.value)
    assert text.startswith(f"file: {message}") and "\n" not in text, text
