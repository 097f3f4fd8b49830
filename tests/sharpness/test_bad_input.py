import re
from pathlib import Path

import pytest
import torch
from torch import nn

import gantrain as gt
from gantrain.config.loading import load
from gantrain.errors import UserError
from gantrain.games.base import Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def square(x):
    return (x**2).sum()


def solve(f, x, sharpness, **settings):
    return gt.solve(gt.games.Minimize(f, x=x), sharpness=sharpness, **{"steps": 3, **settings})


@pytest.mark.parametrize(
    "sharpness, message",
    [
        ({"name": "sam", "rho": -0.1}, "sharpness.rho: expected a number of at least 0.*, got -0.1"),
        ({"name": "sampa", "rho": -1}, "sharpness.rho: expected a number of at least 0.*, got -1"),
        ({"name": "sampa", "mix": 1.5}, "sharpness.mix: expected a number of at least 0.* and at most 1.*, got 1.5"),
        ({"name": "sampa", "mix": -0.5}, "sharpness.mix: expected a number of at least 0.* and at most 1.*, got -0.5"),
        ({"name": "sam", "climb": "tanh", "mu": 0.0}, "sharpness.mu: expected a number above 0.*, got 0.0"),
        ({"name": "sam", "mu": -2}, "sharpness.mu: expected a number above 0.*, got -2"),
        ({"name": "sampa", "climb": "sigmoid"}, "sharpness.climb: expected 'loss', 'tanh' or 'log', got 'sigmoid'"),
        ({"name": "sam", "mix": 0.2}, "sharpness.mix: unknown key"),
        ({"name": "esam", "beta": 0.0}, "sharpness.beta: expected a number above 0 and at most 1.*, got 0.0"),
        ({"name": "esam", "gamma": 1.5}, "sharpness.gamma: expected a number above 0 and at most 1.*, got 1.5"),
        ({"name": "gsam", "alpha": -1}, "sharpness.alpha: expected a number of at least 0.*, got -1"),
        ({"name": "ae_sam", "decay": 1.0}, "sharpness.decay: expected a number of at least 0.* and below 1.*, got 1.0"),
    ],
)
def test_values_out_of_range_are_refused_by_name(sharpness, message):
    with pytest.raises(UserError, match=f"^{message}"):
        solve(square, torch.ones(2), sharpness)


@pytest.mark.parametrize("name", ["sam", "sampa", "esam"])
def test_a_climb_of_margins_needs_a_classification(name):
    with pytest.raises(UserError, match="^game.x.sharpness.climb: tanh climbs the margins of a .*, .*climb: loss"):
        solve(square, torch.ones(2), {"name": name, "climb": "tanh"} | ({"gamma": 1.0} if name == "esam" else {}))


def test_a_selection_of_rows_needs_their_losses_and_the_rows():
    with pytest.raises(UserError, match="^game.x.sharpness.gamma: .*, and this objective has none; use gamma: 1"):
        solve(square, torch.ones(2), "esam")
    two = {"batches": [torch.ones(3, 2)], "sharpness": {"name": "esam", "gamma": 0.5}, "steps": 1}
    game = gt.games.Minimize(lambda x, b: gt.Objective((x * b).sum(), losses=(x * b).sum(0)), x=torch.ones(2))
    with pytest.raises(
        UserError, match="^game.x.sharpness.gamma: .* losses of 2 rows, and the batch has no tensor wit"
    ):
        gt.solve(game, **two)
    game = gt.games.Minimize(lambda x, b: gt.Objective((x * b).sum(), losses=(x * b).sum(1)), x=torch.ones(2))
    assert gt.solve(game, **two)["x"].isfinite().all()


@pytest.mark.parametrize("game", ["matrix", "cournot"])
def test_a_config_of_a_game_without_rows_is_refused(game):
    path, player = CONFIG.parent / "games" / f"{game}.yaml", {"matrix": "row", "cournot": "firms"}[game]
    for sharpness, message in (
        ("esam", "esam with gamma below 1 selects rows"),
        ("{name: sam, climb: tanh}", "tanh climbs the margins"),
    ):
        with pytest.raises(UserError, match=message):
            load(path, [f"game.{player}.sharpness={sharpness}"])
    assert load(path, [f"game.{player}.sharpness={{name: esam, gamma: 1}}"])


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_config_that_climbs_the_margins_of_the_wasserstein_loss_is_refused(player):
    sharpness = f"game.{player}.sharpness={{name: sampa, climb: log}}"
    with pytest.raises(UserError) as refused:
        load(CONFIG, ["game.loss=wasserstein", sharpness])
    (line,) = str(refused.value).splitlines()
    assert f"game.{player}.sharpness.climb: log climbs the margins of a classification, but the wasserstein" in line
    assert "use climb: loss" in line
    assert load(CONFIG, ["game.loss=hinge", sharpness])
    assert load(CONFIG, ["game.loss=wasserstein", f"game.{player}.sharpness={{name: sampa, climb: loss}}"])


@pytest.mark.parametrize("geometry", ["l2", "elementwise"])
@pytest.mark.parametrize("name", ["sam", "sampa", "gsam", "esam", "ae_sam", "gradient_norm"])
def test_a_zero_gradient_gives_no_perturbation(name, geometry):
    rows = {"gamma": 1.0} if name == "esam" else {}
    path = solve(square, torch.zeros(3), {"name": name, "geometry": geometry} | rows)
    assert torch.equal(path["x"], torch.zeros(4, 3))


def test_a_tiny_gradient_gives_the_whole_radius():
    # rho / ||g|| alone would overflow.
    seen = []

    def f(x):
        seen.append(x.detach().clone())
        return 1e-40 * x.sum()

    solve(f, torch.zeros(1), {"name": "sam", "rho": 0.05}, steps=1)
    torch.testing.assert_close(seen[1], torch.tensor([0.05]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    "sharpness",
    [
        {"name": "sam"},
        {"name": "sam", "geometry": "elementwise"},
        {"name": "sampa"},
        {"name": "gsam"},
        {"name": "esam", "gamma": 1.0},
        {"name": "ae_sam"},
    ],
    ids=str,
)
def test_a_gradient_that_is_not_finite_names_the_player_and_the_step(sharpness, bad):
    def f(x, factor):
        return (factor * x).sum()

    factors = [torch.ones(2), torch.ones(2), torch.tensor([1.0, bad])]
    # SAMPa meets the batch of step 2 when it looks ahead, and refuses what came of it there.
    with pytest.raises(UserError, match="^step 2, player x: the norm of the gradient .* (inf|nan); the training div"):
        solve(f, torch.ones(2), sharpness, batches=factors, steps=9)


def test_on_a_device_an_overflow_becomes_nan_and_is_told_when_observed():
    evaluator = Evaluator(gt.games.Minimize(square, x=torch.ones(2)), lambda draw, step: None)

    class Far:
        """A number that is not on the CPU until it is looked at."""

        def __init__(self, value):
            self.value, self.device = torch.tensor(value), torch.device("cuda")

        def detach(self):
            return self

        def double(self):
            looked.append(self)
            return self.value.double()

    looked = []
    evaluator.step = 7
    evaluator.require_finite("x", "the norm", Far(1.0))
    evaluator.require_finite("x", "the norm", Far(float("inf")))
    evaluator.step = 8
    evaluator.require_finite("x", "the norm", Far(1.0))
    assert not looked
    evaluator.observing = True
    with pytest.raises(UserError, match="^step 7, player x: the norm is inf"):
        evaluator.require_finite("x", "the norm", Far(1.0))
    evaluator.observing = False
    with pytest.raises(UserError, match="^step 8, player x: the norm is inf"):
        for _ in range(100):
            evaluator.require_finite("x", "the norm", Far(float("inf")))


def test_an_overflowing_norm_is_no_step_of_length_zero(monkeypatch):
    monkeypatch.setattr(Evaluator, "require_finite", lambda *_: None)
    path = solve(lambda x: 1e30 * x.sum(), torch.ones(2), {"name": "sam"}, optimizer={"name": "sgd", "lr": 0.0})
    assert path["x"].isfinite().all()
    seen = []

    def f(x):
        seen.append(x.detach().clone())
        return 1e30 * (x**2).sum()

    solve(f, torch.ones(2), {"name": "sam"}, steps=1)
    assert seen[1].isnan().all()


class Odd(nn.Module):
    """A frozen parameter, one that nothing depends on, and one that does something."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.frozen = nn.Parameter(torch.full((3,), 2.0), requires_grad=False)
        self.unreached = nn.Parameter(torch.full((3,), 3.0))


@pytest.mark.parametrize("geometry", ["l2", "elementwise"])
@pytest.mark.parametrize("name", ["sam", "sampa"])
def test_frozen_and_unreached_parameters_stay(name, geometry):
    sharpness = {"name": name, "geometry": geometry}
    optimizer = {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}
    path = solve(lambda m: (m.weight * m.frozen).square().sum(), Odd(), sharpness, optimizer=optimizer)
    module = path.modules["x"]
    assert torch.equal(module.frozen, torch.full((3,), 2.0)) and torch.equal(module.unreached, torch.full((3,), 3.0))
    assert (module.weight < 0.9).all()


def test_a_player_with_nothing_to_train_is_refused():
    module = nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(UserError, match="^player x: Linear has no trainable parameter"):
        solve(lambda m: m.weight.sum(), module, {"name": "sam"})


def test_a_parameter_of_two_players_is_refused():
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = one.weight
    with pytest.raises(UserError, match=re.escape("game: ZeroSum: players x and y share a parameter of shape (2, 2)")):
        gt.games.ZeroSum(lambda x, y: x.weight.sum() * y.weight.sum(), x=one, y=other)


def test_a_parameter_reached_in_one_pass_only_counts_as_zero_in_the_other():
    # The branch on the batch reaches b on odd draws only.
    module = nn.ParameterDict({"a": torch.ones(1), "b": torch.ones(1)})

    def f(m, odd):
        return m["a"].square().sum() + (m["b"].square().sum() if odd else 0.0)

    path = gt.solve(
        gt.games.Minimize(f, x=module),
        optimizer={"name": "sgd", "lr": 0.1},
        sharpness={"name": "sampa", "rho": 0.0, "mix": 0.25},
        batches=[False, True],
        steps=1,
    )
    # At x: no gradient of b; at y_1, where b is still 1, it is 2.
    torch.testing.assert_close(path["x"][1], torch.tensor([1 - 0.1 * (0.75 * 2 + 0.25 * 1.6), 1 - 0.1 * 0.25 * 2]))


def test_the_radius_is_that_of_the_trainable_and_reached_parameters():
    seen = []

    def f(m):
        seen.append(m.weight.detach().clone())
        return m.weight.square().sum()

    player = Player("x", Odd())
    game = gt.games.Minimize(f, x=player.module)
    learner = Learner(game.players["x"], torch.optim.SGD(player.parameters, 0.1), SAM(rho=0.6))
    Field(Evaluator(game, lambda draw, step: None), [learner]).move(0)
    torch.testing.assert_close((seen[1] - seen[0]).norm(), torch.tensor(0.6))
