"""What a game of the user's own does wrong is one line before a step is taken."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from no_data import trainer_of
from tiny import DIGITS

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


class Twice(Fair):
    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        gt.Game.__init__(self, [gt.Player("a", a), gt.Player("a", b)])


class Shared(Fair):
    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        gt.Game.__init__(self, [gt.Player("a", a), gt.Player("b", a)])


class Renamed(Fair):
    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        gt.Game.__init__(self, [gt.Player("a", a), gt.Player("c", b)])


class Unplayed(Fair):
    def __init__(self, a: gt.Strategy, b: gt.Strategy):
        gt.Game.__init__(self, [gt.Player("a", a), gt.Player("b", 3)])


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Twice, "^game: Twice: two players are called a; "),
        (Shared, "^game: Shared: players a and b share a parameter of shape "),
        (Renamed, "^game: Renamed: the players are a, c, and the constructor's arguments .* are a, b; "),
        (Unplayed, r"^game: Unplayed: player b: expected a torch.nn.Module, got 3 \(int\); "),
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


class Empty(torch.nn.Module):
    def __init__(self, spec):
        super().__init__()


class Frozen(Empty):
    def __init__(self, spec):
        super().__init__(spec)
        self.weight = torch.nn.Parameter(torch.ones(1), requires_grad=False)


class Unbuffered(Empty):
    once_per_step = ("seen",)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Empty, "Empty has no trainable parameter, .*"),
        (Frozen, "Frozen has no trainable parameter, .*"),
        (Unbuffered, "Unbuffered.once_per_step: expected a tuple of names of its buffers, .*"),
    ],
)
def test_a_network_that_no_player_can_have_is_named_by_its_key(cls, message, monkeypatch):
    module = ModuleType("bare")
    monkeypatch.setattr(cls, "__module__", "bare")
    setattr(module, cls.__name__, cls)
    monkeypatch.setitem(sys.modules, "bare", module)
    section = {"model": {"target": f"bare:{cls.__name__}"}, "optimizer": "sgd"}
    with pytest.raises(UserError, match=f"^game.generator.model: {message}$"):
        trainer_of(DIGITS["game"] | {"generator": section}, data=DIGITS["data"])


def test_scores_may_be_decisions_and_counts(monkeypatch):
    run = trainer(Fair, monkeypatch)
    run.train_step(observe=True)
    observed = run.evaluator.observed["a"]
    assert [float(observed[f"score/{name}"]) for name in ("positive", "count", "a")] == [0.5, 1.0, -0.5]


def test_a_constructor_may_be_inherited_from_another_module(monkeypatch):
    derived = type("Derived", (Lost,), {"__doc__": "Another.", "evaluated_network": gt.Game.evaluated_network})
    run = trainer(derived, monkeypatch)
    assert list(run.game.players) == ["a", "b"]
