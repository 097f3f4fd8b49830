"""gt.solve: what comes back, what is left alone, what is refused. The methods themselves are tested elsewhere."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import gantrain as gt
import gantrain.games.toy
from gantrain.errors import UserError


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def bilinear(x=(1.0,), y=(1.0,), **kwargs):
    return gt.games.ZeroSum(lambda x, y: (x * y).sum(), double(*x), double(*y), **kwargs)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_a_path_has_the_iterate_after_every_outer_step_from_the_start_on(shape):
    x0 = torch.full(shape, 2.0, dtype=torch.float64)
    game = gt.games.ZeroSum(lambda x, y: (x * y).sum(), x0, x0)
    path = gt.solve(game, outer={"name": "lookahead", "inner_steps": 3, "base": "extragradient"}, steps=4)
    assert set(path) == {"x", "y"} and path["x"].shape == (5, *shape) and path["x"].dtype == torch.float64
    assert torch.equal(path["x"][0], x0) and not torch.equal(path["x"][1], x0)
    assert path.evaluations == {"x": 4 * 3 * 2, "y": 4 * 3 * 2}
    assert not path["x"].requires_grad


def test_no_steps_are_the_start_alone():
    path = gt.solve(bilinear(), steps=0)
    assert path["x"].tolist() == [[1.0]] and path.evaluations == {"x": 0, "y": 0}


def test_the_defaults_are_simultaneous_gradient_descent_ascent_with_a_step_of_a_tenth():
    x, y, path = 1.0, 1.0, gt.solve(bilinear(), steps=3)
    for t in range(4):
        assert (path["x"][t].item(), path["y"][t].item()) == pytest.approx((x, y), abs=1e-15)
        x, y = x - 0.1 * y, y + 0.1 * x
    for nothing in ({"outer": None}, {"order": None}, {"samples": None}, {"optimizer": None}):
        assert torch.equal(gt.solve(bilinear(), steps=3, **nothing)["x"], path["x"])


def test_modules_as_strategies_are_trained_and_given_back():
    torch.manual_seed(0)
    module = nn.Linear(2, 3).double()
    module.bias.requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    inputs = double(1.0, -2.0)
    game = gt.games.ZeroSum(lambda x, y: x(inputs) @ y, module, double(1.0, 2.0, 3.0))
    path = gt.solve(game, steps=1)
    # One trainable tensor: its own shape. The gradient of y^T W v in W is y v^T.
    assert path["x"].shape == (2, 3, 2)
    expected = before["weight"] - 0.1 * torch.outer(double(1.0, 2.0, 3.0), inputs)
    torch.testing.assert_close(path["x"][1], expected)
    assert torch.equal(path.modules["x"].weight, path["x"][1]) and torch.equal(path.modules["x"].bias, module.bias)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


def test_several_tensors_of_a_module_are_one_vector():
    module = nn.Linear(2, 3).double()
    path = gt.solve(gt.games.Minimize(lambda x: x(double(1.0, 2.0)).sum(), module), steps=2)
    assert path["x"].shape == (3, 9)
    start = torch.cat([module.weight.flatten(), module.bias])
    assert torch.equal(path["x"][0], start.detach())


def test_parts_may_differ_by_player():
    rates = {"x": {"name": "sgd", "lr": 0.5}, "y": {"name": "sgd", "lr": 0.25}}
    path = gt.solve(bilinear(), optimizer=rates, steps=1)
    assert (path["x"][1].item(), path["y"][1].item()) == (0.5, 1.25)
    path = gt.solve(bilinear(), constraint={"y": {"name": "box", "high": 1.05}}, steps=1)
    assert (path["x"][1].item(), path["y"][1].item()) == (0.9, 1.05)
    path = gt.solve(bilinear((3.0,), (4.0,)), constraint={"joint": {"name": "l2_ball", "radius": 0.5}}, steps=1)
    assert torch.hypot(path["x"][1], path["y"][1]).item() == pytest.approx(0.5)
    schedule = {"x": {"name": "exponentiallr", "gamma": 0.5}}
    game = gt.games.GeneralSum({p: lambda x, y: (x + y).sum() for p in "xy"}, {"x": double(0.0), "y": double(0.0)})
    path = gt.solve(game, scheduler=schedule, steps=2)
    assert path["x"].flatten().tolist() == pytest.approx([0, -0.1, -0.15])
    assert path["y"].flatten().tolist() == pytest.approx([0, -0.1, -0.2])


def test_an_alternating_player_sees_the_moves_before_its_own():
    path = gt.solve(bilinear(), order="alternating", steps=1)
    assert path["y"][1].item() == pytest.approx(1 + 0.1 * 0.9)
    own = gt.solve(bilinear(), outer={"name": "gda", "order": "simultaneous"}, order="alternating", steps=1)
    assert own["y"][1].item() == pytest.approx(1.1)


@pytest.mark.parametrize(("samples", "draws"), [("fresh", [0, 1, 2, 0]), ("same", [0, 0, 1, 1])])
def test_batches_are_cycled_through(samples, draws):
    seen = []
    game = gt.games.Minimize(lambda x, batch: seen.append(batch) or (x * batch).sum(), double(1.0))
    gt.solve(game, outer="extragradient", samples=samples, batches=[0, 1, 2], steps=2)
    assert seen == draws


def test_batches_of_the_call_go_before_those_of_the_game():
    game = gt.games.Minimize(lambda x, batch: (x * batch).sum(), double(1.0), batches=[1.0])
    assert gt.solve(game, steps=1)["x"][1].item() == pytest.approx(0.9)
    assert gt.solve(game, batches=[2.0], steps=1)["x"][1].item() == pytest.approx(0.8)


OBJECTS = {
    "outer": lambda: gt.outer.Optimistic(),
    "nested outer": lambda: gt.outer.Lookahead(inner_steps=2, base=gt.outer.Optimistic()),
    "sharpness": lambda: gt.sharpness.SAMPa(rho=0.1),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_is_copied_so_that_nothing_passes_between_runs_or_players(kind):
    part = OBJECTS[kind]()
    game = gt.games.ZeroSum(lambda x, y: (x * y + x**4 / 4 - y**4 / 4).sum(), double(1.0, 0.5), double(1.0, 2.0))
    key = kind.split()[-1]
    first, second = (gt.solve(game, steps=4, **{key: part}) for _ in range(2))
    apart = OBJECTS[kind]() if key == "outer" else {"x": OBJECTS[kind](), "y": OBJECTS[kind]()}
    third = gt.solve(game, steps=4, **{key: apart})
    for player in "xy":
        assert torch.equal(first[player], second[player]) and torch.equal(first[player], third[player])
    assert first.evaluations == second.evaluations == third.evaluations


def test_the_game_stays_where_it_is():
    game = bilinear(x=(1.0, 2.0), y=(3.0, 4.0))
    before = {name: player.parameters[0].clone() for name, player in game.players.items()}
    first = gt.solve(game, optimizer="adam", sharpness={"name": "sam"}, steps=3)
    for name, player in game.players.items():
        assert torch.equal(player.parameters[0], before[name]) and player.parameters[0].grad is None
    assert torch.equal(gt.solve(game, optimizer="adam", sharpness={"name": "sam"}, steps=3)["x"], first["x"])


def settings():
    return {
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
    }


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_no_global_state_is_touched(grad, fails):
    torch.manual_seed(7)
    random, before = torch.random.get_rng_state(), None
    game = gt.games.ZeroSum(lambda x, y: (x * y).sum(), double(1.0), double(1.0))
    if fails:
        game = gt.games.ZeroSum(lambda x, y: x * y, double(1.0, 1.0), double(1.0, 1.0))
    arguments = {
        "outer": {"name": "lookahead", "base": "rapp"},
        "optimizer": "adam",
        "sharpness": {"name": "sampa", "climb": "loss"},
        "steps": 2,
    }
    with torch.set_grad_enabled(grad):
        before = settings()
        if fails:
            with pytest.raises(UserError):
                gt.solve(game, **arguments)
        else:
            path = gt.solve(game, **arguments)
            assert not torch.equal(path["x"][0], path["x"][2])
        assert settings() == before
    assert torch.equal(torch.random.get_rng_state(), random)


WRONG = [
    ({"order": "alternate"}, "order: expected one of simultaneous, alternating, got 'alternate'"),
    ({"samples": "new"}, "samples: expected one of fresh, same, got 'new'"),
    ({"steps": -1}, "steps: expected a whole number of at least 0, got -1"),
    ({"steps": True}, "steps: expected a whole number of at least 0, got true"),
    ({"steps": 2.0}, "steps: expected a whole number of at least 0, got 2.0"),
    ({"batches": []}, r"batches: expected a sequence of at least one batch, or a function of .*, got \[\]"),
    ({"batches": iter([1])}, "batches: expected a sequence of at least one batch, or a function of .*, got <.*"),
    ({"keep": "first"}, 'keep: expected "all", "last" or a number of outer steps of at least 1, got \'first\''),
    ({"keep": 0}, 'keep: expected "all", "last" or a number of outer steps of at least 1, got 0'),
    ({"keep": True}, 'keep: expected "all", "last" or a number of outer steps of at least 1, got true'),
    ({"outer": "rap"}, r"outer: unknown outer loop 'rap'; .*; did you mean 'rapp'\?"),
    ({"outer": {"name": "rapp", "tau": 3}}, "outer.tau: unknown key; .*"),
    ({"outer": {"name": "rapp", "inner_steps": 0}}, "outer.inner_steps: expected a whole number of at least 1, got 0"),
    ({"optimizer": {"z": "sgd"}}, "optimizer: unknown player 'z'; the players are x, y"),
    ({"optimizer": {"joint": "sgd"}}, "optimizer: unknown player 'joint'; the players are x, y"),
    ({"optimizer": {"x": "sgd"}}, "optimizer: player y has none; name one for each player"),
    ({"optimizer": {"name": "sgd", "lr": -1}}, "optimizer.x: Invalid learning rate: -1.0"),
    ({"optimizer": torch.optim.RMSprop([torch.zeros(1)])}, "optimizer.x: expected a name or a mapping; .*"),
    ({"sharpness": {"z": "sam"}}, "sharpness: unknown player 'z'; the players are x, y"),
    ({"constraint": {"z": "box"}}, "constraint: unknown player 'z'; the players are x, y, joint"),
    ({"constraint": {"name": "box", "low": 2}}, r"box: low \(2\) must not exceed high \(1\)"),
    ({"scheduler": {"z": "steplr"}}, "scheduler: unknown player 'z'; the players are x, y"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[str(list(a.items())[0])[:40] for a, _ in WRONG])
def test_what_is_wrong_is_one_line(arguments, message):
    with pytest.raises(UserError, match=f"^{message}$") as error:
        gt.solve(bilinear(), **arguments)
    assert "\n" not in str(error.value)


def test_a_scheduler_object_and_something_that_is_no_game():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(UserError, match="^scheduler.x: expected a name or a mapping; a scheduler object has"):
        gt.solve(bilinear(), scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 1))
    with pytest.raises(UserError, match="^game: expected a gantrain.Game, such as .*, got <function"):
        gt.solve(lambda x: x)


# A game that is given by objectives, not by a function; and games of the package.


class Two(gt.Game):
    """Two networks that pull at each other, without samples."""

    def __init__(self, width=3):
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, 1)
        super().__init__([gt.Player("first", self.first), gt.Player("second", self.second)])
        self.asked = []

    def objective(self, player, batch):
        self.asked.append(player)
        value = self.second(self.first(torch.ones(2, self.first.in_features))).square().mean()
        return gt.Objective(
            value if player == "first" else -value + sum(p.square().sum() for p in self.second.parameters())
        )


def test_any_game_is_solved_and_stays_where_it_is():
    game = Two()
    before = {name: [p.clone() for p in player.parameters] for name, player in game.players.items()}
    path = gt.solve(game, "extragradient", {"first": "adam", "second": {"name": "sgd", "lr": 0.05}}, steps=3)
    assert path["first"].shape == (4, 12) and path["second"].shape == (4, 4)
    assert path.evaluations == {"first": 6, "second": 6} and game.asked == []
    for name, player in game.players.items():
        assert all(
            torch.equal(p, old) and p.grad is None for p, old in zip(player.parameters, before[name], strict=True)
        )
        last = torch.nn.utils.parameters_to_vector(path.modules[name].parameters())
        assert torch.equal(last, path[name][-1]) and not torch.equal(last, path[name][0])
    assert torch.equal(gt.solve(game, steps=2)["first"], gt.solve(game, steps=2)["first"])


def gan(**settings):
    torch.manual_seed(0)
    data = gt.data.GaussianRing(samples=64)
    spec = data.spec.unconditional()
    networks = gt.models.MLPGenerator(spec, width=4), gt.models.MLPDiscriminator(spec, width=4)
    return gt.games.GAN(*networks, gt.games.losses.NonSaturating(), **settings), data


def test_a_gan_is_solved_as_the_trainer_trains_it(tmp_path):
    game, data = gan(penalties=[gt.games.penalties.R1(weight=0.1, every=2)])
    batches = gt.data.Batches(data, 16, seed=3)
    path = gt.solve(game, "extragradient", {"name": "sgd", "lr": 0.05}, batches=batches, steps=4, keep="last")
    learners = [gt.Learner(player, torch.optim.SGD(player.parameters, 0.05)) for player in game.players.values()]
    run = gt.Run(name="a", folder=str(tmp_path), steps=4, seed=3)
    gt.Trainer(game, learners, gt.outer.Extragradient(), batches, run).fit()
    for name, player in game.players.items():
        assert torch.equal(path[name][0], torch.nn.utils.parameters_to_vector(player.parameters))


def test_batches_are_a_sequence_or_a_function_of_draw_and_step():
    game, data = gan()
    batches = gt.data.Batches(data, 16, seed=0)
    listed = gt.solve(game, batches=[batches(i, i) for i in range(3)], steps=3)
    assert torch.equal(listed["generator"], gt.solve(game, batches=batches, steps=3)["generator"])
    asked = []
    gt.solve(
        game, "extragradient", batches=lambda draw, step: asked.append((draw, step)) or batches(draw, step), steps=2
    )
    assert asked == [(0, 0), (1, 0), (2, 1), (3, 1)]
    with pytest.raises(UserError, match="^batches: the objective of GAN asks its batch for .*, and there are none"):
        gt.solve(game)


KEPT = [("all", [0, 1, 2, 3, 4, 5, 6, 7]), ("last", [7]), (3, [0, 3, 6, 7]), (7, [0, 7]), (100, [0, 7])]


@pytest.mark.parametrize(("keep", "steps"), KEPT)
def test_the_iterates_that_are_kept_are_those_of_the_whole_path(keep, steps):
    game = gt.games.toy.Bilinear(start=(1.0, 1.0))
    whole = gt.solve(game, "rapp", steps=7)
    path = gt.solve(game, "rapp", steps=7, keep=keep)
    assert path.steps == tuple(steps) and whole.steps == tuple(range(8))
    assert torch.equal(path["x"], whole["x"][steps]) and path.evaluations == whole.evaluations
    assert torch.equal(game.distances(path), game.distances(whole)[steps])


def test_a_large_game_holds_no_more_iterates_than_are_kept():
    game = Two(width=999)  # a million parameters
    paths = {keep: gt.solve(game, steps=4, keep=keep) for keep in ("last", 2)}
    for path, rows in ((paths["last"], 1), (paths[2], 3)):
        held = sum(tensor.untyped_storage().nbytes() for tensor in path.values())
        assert held == rows * 4 * sum(p.numel() for player in game.players.values() for p in player.parameters)
    assert torch.equal(paths["last"]["first"][0], paths[2]["first"][-1])
    with pytest.raises(UserError, match="^keep: out of memory.*for 1000000000001 iterates; keep fewer, such as"):
        gt.solve(game, steps=10**12)


def test_a_game_that_cannot_be_copied_says_how_it_may_be():
    class Held(Two):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    class Own(Held):
        def fresh(self):
            return Own()

    with pytest.raises(UserError, match=r"^game: Held cannot be copied \(TypeError: .*lock.*\); define its"):
        gt.solve(Held(), steps=1)
    assert gt.solve(Own(), steps=1)["first"].shape == (2, 12)
    module = nn.Linear(1, 1)
    module.lock = threading.Lock()
    with pytest.raises(UserError, match="^game: Minimize cannot be copied"):
        gt.solve(gt.games.Minimize(lambda x: x.weight.sum(), module), steps=1)


def test_a_copy_shares_the_data_sets_of_its_game():
    game, data = gan()
    game.extra = data
    twin = game.fresh()
    assert twin.extra is data and twin.generator is twin.players["generator"].module is not game.generator
    assert twin.players["generator"].parameters[0] is next(twin.generator.parameters())


def test_a_loop_built_with_a_wrong_word():
    for loop in (gt.outer.GDA, gt.outer.RAPP, gt.outer.Extragradient, gt.outer.Optimistic):
        with pytest.raises(UserError, match="^order: expected one of simultaneous, alternating, got 'alternate'$"):
            loop(order="alternate")
    with pytest.raises(UserError, match="^samples: expected one of fresh, same, got 'new'$"):
        gt.outer.CEGPlus(samples="new")
