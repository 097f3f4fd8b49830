"""Cournot competition against its closed form, and against best responses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from no_data import config_of, moved, trainer_of

from gantrain.builders import make_data, make_game
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load
from gantrain.errors import UserError

FIRM = {"optimizer": {"name": "sgd", "lr": 0.1}, "constraint": {"name": "box", "low": 0, "high": 100}}


def cournot(costs, **keys):
    return {"name": "cournot", "costs": costs, "firms": FIRM, **keys}


def game_of(*arguments, **keys):
    config = config_of(cournot(*arguments, **keys))
    return make_game(config, make_data(config))


def test_alike_firms_produce_the_closed_form():
    for n in (1, 2, 5):
        game = game_of([1.0] * n, intercept=10.0, slope=2.0)
        assert list(game.players) == [f"firm{i}" for i in range(1, n + 1)]
        torch.testing.assert_close(game.equilibrium, torch.full((n,), 9 / (2 * (n + 1))))


@pytest.mark.parametrize(
    ("costs", "keys"),
    [
        ([1, 2, 3], {}),
        ([1, 8, 2, 30], {"slope": 0.5}),
        ([3, 1, 6], {"quadratic_costs": [0.5, 2, 0]}),
        ([20, 30], {}),
        ([1, 5.5, 5.5], {"intercept": 10}),
    ],
)
def test_no_firm_can_gain_at_the_equilibrium(costs, keys):
    from scipy.optimize import minimize_scalar

    game = game_of(costs, **keys)
    quantities = game.equilibrium.double().numpy()
    rises = np.broadcast_to(keys.get("quadratic_costs", 0.0), len(costs))

    def loss(i, q):
        others = quantities.sum() - quantities[i]
        return -(10 - keys.get("slope", 1.0) * (others + q) - costs[i] - rises[i] * q / 2) * q

    for i, q in enumerate(quantities):
        best = minimize_scalar(lambda other, i=i: loss(i, other), bounds=(0, 100), method="bounded").fun
        assert loss(i, q) <= best + 1e-6
    for i in range(len(costs)):
        with torch.no_grad():
            for player, q in zip(game.players.values(), quantities, strict=True):
                player.parameters[0].fill_(float(q))
        assert game.objective(f"firm{i + 1}", None).loss.item() == pytest.approx(loss(i, quantities[i]), abs=1e-4)


def test_gradient_play_reaches_it_also_where_a_firm_does_not_produce():
    found = moved(trainer_of(cournot([1, 2, 30]), outer={"name": "gda", "order": "simultaneous"}), 150)
    assert found["distance"] < 1e-5 and found["price"] == pytest.approx((10 + 1 + 2) / 3)


def test_the_shipped_config_goes_to_the_equilibrium():
    trainer = make_trainer(load("configs/games/cournot.yaml"), torch.device("cpu"))
    assert trainer.game.equilibrium.tolist() == [3, 2, 1]
    assert moved(trainer, 80)["distance"] < 1e-3


def test_a_section_for_all_firms_and_what_one_has_of_its_own():
    game = cournot([1, 2, 3])
    game["firms"] = FIRM | {"firm2": {"optimizer": {"lr": 0.3}}, "firm3": {"optimizer": "adam", "sharpness": "sam"}}
    config = config_of(game)
    firms = config.game.firms
    assert [firms[f"firm{i}"].optimizer.name for i in (1, 2, 3)] == ["sgd", "sgd", "adam"]
    assert [firms[f"firm{i}"].optimizer.lr for i in (1, 2)] == [0.1, 0.3]
    assert firms["firm3"].sharpness.name == "sam" and firms["firm3"].constraint.name == "box"
    # What is resolved says the same once more.
    plain = config.model_dump(mode="json")
    assert type(config).model_validate(plain).model_dump(mode="json") == plain


def test_as_many_costs_as_firms():
    with pytest.raises(UserError, match=r"game.quadratic_costs: expected 2 numbers, one for each firm, got 3"):
        game_of([1, 2], quadratic_costs=[1, 2, 3])
