"""What a game of the user's own does wrong is one line before a step is taken."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from no_data import trainer_of

import gantrain as gt
from gantrain.errors import UserError


class Fair(gt.Game):
    takes_data = False

    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        super().__init__([gt.Player("a", a), gt.Player("b", b)])
        self.a, self.b = a, b

    def objective(self, player, batch):
        value = (self.a() * self.b()).sum()
        return gt.Objective(value if player == "a" else -value, scores=self.scores())

    def scores(self):
        return {"positive": self.a().detach() > 0, "count": torch.arange(3), "a": self.a().detach()}


class Started(Fair):
    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        pass


class Nobody(Fair):
    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        gt.Game.__init__(self, [])


class Lost(Fair):
    @property
    def evaluated_network(self):
        return self.average


class Nothing(Fair):
    evaluated_network = None


class Numbers(Fair):
    def scores(self):
        return {"size": 1.5}


class Listed(Fair):
    def scores(self):
        return [torch.ones(())]


def trainer(cls, monkeypatch):
    module = ModuleType("fair")
    cls.__module__ = "fair"
    setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "fair", module)
    player = {"model": {"start": [1.0, -2.0]}, "optimizer": {"name": "sgd", "lr": 0.1}}
    return trainer_of({"target": f"fair:{cls.__name__}", "a": player, "b": player})


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Started, "game: Started.__init__: expected a call super().__init__("),
        (Nobody, "game: Nobody has no players"),
        (Lost, "game: Lost raised AttributeError: .* no attribute 'average'"),
        (Nothing, "game: Nothing.evaluated_network: expected a network of a player's, or self.everyone, got None"),
        (Numbers, r"game: Numbers.objective: scores: size: expected a tensor, got 1.5 \(float\)"),
        (Listed, "game: Listed.objective: scores: expected a dict of tensors by name, got a list of 1"),
    ],
)
def test_a_mistake_is_one_line(cls, message, monkeypatch):
    with pytest.raises(UserError, match=message.replace("__(", r"__\(").replace("super()", r"super\(\)")) as error:
        trainer(cls, monkeypatch).rehearse()
    assert "\n" not in str(error.value)


def test_scores_may_be_decisions_and_counts(monkeypatch):
    run = trainer(Fair, monkeypatch)
    run.train_step(observe=True)
    observed = run.evaluator.observed["a"]
    assert [float(observed[f"score/{name}"]) for name in ("positive", "count", "a")] == [0.5, 1.0, -0.5]


def test_a_constructor_may_be_inherited_from_another_module(monkeypatch):
    derived = type("Derived", (Lost,), {"__doc__": "Another.", "evaluated_network": gt.Game.evaluated_network})
    run = trainer(derived, monkeypatch)
    assert list(run.game.players) == ["a", "b"]
