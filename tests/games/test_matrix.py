"""Matrix games against closed forms, a linear program, and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from no_data import ROCK_PAPER_SCISSORS, config_of, matrix, moved, trainer_of

from gantrain.builders import make_data, make_game
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load
from gantrain.errors import UserError
from gantrain.models.strategy import is_mixed

OUTER = ["gda", "extragradient", "extragradient_plus", "optimistic", "rapp", "ceg_plus", "lookahead"]


def game_at(x, y, payoff, column_payoff=None):
    game = matrix(payoff)
    game |= {"column_payoff": column_payoff} if column_payoff else {}
    game["row"] |= {"model": {"start": x}}
    game["column"] = game["column"] | {"model": {"start": y}}
    config = config_of(game)
    return make_game(config, make_data(config))


def measured(game):
    with torch.no_grad():
        return {name: float(value) for name, value in game.scalars(game.evaluated_network).items()}


def value_by_linear_program(payoff):
    """max_x min_j (x' A)_j."""
    from scipy.optimize import linprog

    a = np.array(payoff)
    m, n = a.shape
    found = linprog(
        [*[0] * m, -1],
        A_ub=np.hstack([-a.T, np.ones((n, 1))]),
        b_ub=np.zeros(n),
        A_eq=[[1] * m + [0]],
        b_eq=[1],
        bounds=[(0, None)] * m + [(None, None)],
    )
    return -found.fun


def test_the_gap_is_what_both_gain_by_best_responses_and_nothing_at_the_equilibrium():
    x, y = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
    a, p, q = np.array(ROCK_PAPER_SCISSORS), np.array(x), np.array(y)
    found = measured(game_at(x, y, ROCK_PAPER_SCISSORS))
    assert found["duality_gap"] == pytest.approx((a @ q).max() - (p @ a).min(), abs=1e-6)
    assert found["value"] == pytest.approx(p @ a @ q, abs=1e-6)
    # [[3, -1], [-2, 1]]: x = (3/7, 4/7), y = (2/7, 5/7) and the value 1/7, in closed form.
    found = measured(game_at([3 / 7, 4 / 7], [2 / 7, 5 / 7], [[3, -1], [-2, 1]]))
    assert found["duality_gap"] == pytest.approx(0, abs=1e-6) and found["value"] == pytest.approx(1 / 7, abs=1e-6)


def test_exploitability_of_a_general_sum_game_by_brute_force():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    x, y = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4))
    found = measured(game_at(x.tolist(), y.tolist(), a.tolist(), b.tolist()))
    gains = max((np.eye(3)[i] - x) @ a @ y for i in range(3)) + max(x @ b @ (np.eye(4)[j] - y) for j in range(4))
    assert found["exploitability"] == pytest.approx(gains, abs=1e-5)
    assert found["payoff/row"] == pytest.approx(x @ a @ y, abs=1e-5)
    assert found["payoff/column"] == pytest.approx(x @ b @ y, abs=1e-5)
    # The prisoners' dilemma: both defect, and nowhere else is nothing to gain.
    row, column = [[-1, -3], [0, -2]], [[-1, 0], [-3, -2]]
    assert measured(game_at([0, 1], [0, 1], row, column))["exploitability"] == 0
    assert measured(game_at([1, 0], [1, 0], row, column))["exploitability"] == 2


def test_gradients_are_those_of_the_payoffs_and_differentiable_in_both_players():
    game = game_at([0.5, 0.3, 0.2], [0.2, 0.2, 0.6], ROCK_PAPER_SCISSORS)
    game.joint = True
    x, y = (player.parameters[0] for player in game.players.values())
    (at_x,) = torch.autograd.grad(game.objective("row", None).loss, x, create_graph=True)
    assert torch.allclose(at_x, -game.payoff @ y)
    (at_y,) = torch.autograd.grad(at_x[0], y)
    assert torch.equal(at_y, -game.payoff[0])


@pytest.mark.slow
def test_mirror_prox_finds_the_value_of_a_random_game():
    payoff = np.random.default_rng(3).normal(size=(4, 5)).round(2).tolist()
    trainer = trainer_of(matrix(payoff, lr=0.5), outer="extragradient")
    found = moved(trainer, 400)
    assert found["duality_gap"] < 2e-2
    assert found["value"] == pytest.approx(value_by_linear_program(payoff), abs=1e-2)


@pytest.mark.slow
def test_mirror_runs_away_from_the_equilibrium_where_mirror_prox_goes_to_it():
    start = moved(trainer_of(matrix()), 0)["duality_gap"]
    assert moved(trainer_of(matrix(), outer={"name": "gda", "order": "simultaneous"}), 200)["duality_gap"] > start
    assert moved(trainer_of(matrix(), outer="optimistic"), 200)["duality_gap"] < start / 4
    trainer = make_trainer(load("configs/games/matrix.yaml"), torch.device("cpu"))
    assert moved(trainer, 200)["duality_gap"] < start / 4


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("way", ["mirror", "projected", "softmax"])
def test_strategies_stay_mixed_under_every_outer_loop(outer, way):
    ways = {
        "mirror": matrix(),
        "projected": matrix(optimizer="sgd", constraint="simplex"),
        "softmax": matrix(optimizer="adam", model="softmax"),
    }
    trainer = trainer_of(ways[way], outer=outer, ema={"decay": 0.9})
    for _ in range(20):
        trainer.train_step()
        # Only the points w of CEG+ lie in the set of a constraint, as its equation says.
        if (outer, way) != ("ceg_plus", "projected"):
            assert all(is_mixed(player.module()) for player in trainer.game.players.values())
    assert all(is_mixed(strategy()) for strategy in trainer.averages["ema"].module.values())


def test_softmax_and_vector_start_at_the_same_strategy():
    vector, softmax = (trainer_of(matrix(optimizer=o, model=m)) for o, m in (("mirror", "vector"), ("sgd", "softmax")))
    for name in ("row", "column"):
        left, right = (trainer.game.players[name].module() for trainer in (vector, softmax))
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"payoff": [[1, 2], [3]]}, "game.payoff: expected rows of the same number of entries, got [1, 2] entries"),
        ({"payoff": []}, "game.payoff: expected rows of the same number of entries"),
        ({"payoff": [[]]}, "game.payoff: expected rows of the same number of entries"),
        (
            {"payoff": [[1, 2]], "column_payoff": [[1], [2]]},
            "game.column_payoff: expected 1 x 2 entries, as payoff has",
        ),
        ({"row": {"optimizer": "sgd", "model": {"start": [0.5, 0.6, 0]}}}, "game.row.model.start: expected a mixed"),
        (
            {"row": {"optimizer": "sgd", "model": {"start": [0.5, 0.5]}}},
            "game.row.model.start: expected numbers of shape",
        ),
        (
            {"row": {"optimizer": "mirror", "model": "softmax"}},
            "game.row.optimizer: mirror moves mixed strategies, numbers of at least 0",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(change, message):
    with pytest.raises(UserError) as found:
        trainer_of(matrix() | change)
    assert str(found.value).startswith(message) and "\n" not in str(found.value)


def test_a_strategy_that_left_the_simplex_is_not_measured():
    with pytest.raises(UserError, match=r"game.row.optimizer: SGD leaves the simplex, on which .* use mirror, or add"):
        trainer_of(matrix(optimizer="sgd"))
    trainer = trainer_of(matrix(optimizer="sgd", constraint={"name": "l1", "weight": 1}))
    with pytest.raises(UserError, match=r"game.row: the strategy has left the simplex .*use optimizer: mirror, constr"):
        moved(trainer, 5)
