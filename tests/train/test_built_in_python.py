"""A run that is built in Python, without a config, is like one that has a config."""

from __future__ import annotations

import pytest
import torch
from tiny import rows, same, state
from torch.nn.functional import cross_entropy

import gantrain as gt
from gantrain.commands.sample import sample_run
from gantrain.errors import UserError
from gantrain.runs import checkpoint
from gantrain.runs.monitor import Monitor


class Regression(gt.Game):
    """A game of two players that is no GAN: two linear classifiers, the second of which must differ from the first."""

    def __init__(self):
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(64, 10), torch.nn.Linear(64, 10)
        super().__init__([gt.Player("first", self.first), gt.Player("second", self.second)])

    def objective(self, player, batch):
        first, second = self.first(batch.real.flatten(1)), self.second(batch.real.flatten(1))
        logits = first if player == "first" else second
        apart = (first - second).square().mean() * (1 if player == "first" else -0.1)
        return gt.Objective(cross_entropy(logits, batch.labels) + apart, logits, batch.labels)


class Looks(gt.Callback):
    """Counts the looks, and says of each how large the network is."""

    every = 2

    def __init__(self):
        self.seen = []

    def run(self, folder, monitor, step, network):
        assert folder.is_dir() and isinstance(monitor, Monitor)
        self.seen.append(step)
        size = sum(p.square().sum().item() for p in network.parameters())
        monitor.scalars(step, {"size": size})
        return gt.Result(f"step {step}: size {size:.3g}", "size", size)


def trainer(folder, callbacks=(), lr=1e-2, rho=0.01, **settings):
    game = Regression()
    learners = [
        gt.Learner(player, torch.optim.Adam(player.parameters, lr=lr), gt.sharpness.SAM(rho=rho, climb="tanh"))
        for player in game.players.values()
    ]
    return gt.Trainer(
        game,
        learners,
        gt.outer.Lookahead(inner_steps=2, relaxation=0.5, base=gt.outer.Extragradient()),
        gt.data.Batches(gt.data.Digits(), batch_size=32, seed=0),
        gt.Run(**{"name": "mine", "folder": str(folder), "steps": 6, "device": "cpu", **settings}),
        schedulers={"first": torch.optim.lr_scheduler.StepLR(learners[0].optimizer, 2, 0.5)},
        ema=gt.EMA(game.evaluated_network, decay=0.9),
        callbacks=callbacks,
        log=gt.Log(every=1),
        checkpoints=gt.Checkpoint(every=3, keep=2),
    )


def test_it_trains_logs_looks_and_keeps_checkpoints(tmp_path, capsys):
    looks = Looks()
    folder = trainer(tmp_path, [looks]).fit()
    assert folder == tmp_path / "mine" and looks.seen == [2, 4, 6]
    assert {"config.yaml", "metrics.jsonl", "step_3", "step_6", "best"} <= {p.name for p in folder.iterdir()}
    assert any(p.name.startswith("events.out.tfevents") for p in folder.iterdir())
    logged = [row for row in rows(folder) if "loss/first" in row]
    assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6] and logged[-1]["gradients/second"] == 6 * 2 * 2
    assert [row["lr/first"] for row in logged] == [1e-2, 5e-3, 5e-3, 2.5e-3, 2.5e-3, 1.25e-3]
    sizes = {row["step"]: row["size"] for row in rows(folder) if "size" in row}
    best = min(sizes, key=lambda step: (sizes[step], -step))
    assert [p.name for p in (folder / "best").iterdir()] == [f"step_{best}"]
    assert "finished at step 6" in capsys.readouterr().out


def test_it_resumes_to_the_bit(tmp_path):
    straight = trainer(tmp_path / "straight").fit()
    trainer(tmp_path / "parts", steps=3).fit()
    parts = trainer(tmp_path / "parts").fit(resume=True)
    assert same(state(parts), state(straight)) and rows(parts) == rows(straight)


def test_a_run_from_before_an_argument_of_its_parts_goes_on(tmp_path):
    folder = trainer(tmp_path, steps=3).fit()
    config = folder / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    assert sum("critic_steps: 1" in line for line in lines) == 1
    config.write_text("".join(line for line in lines if "critic_steps" not in line))
    assert trainer(tmp_path).fit(resume=True) == folder


def test_a_run_that_exists_or_differs_is_refused(tmp_path):
    folder = trainer(tmp_path, steps=3).fit()
    with pytest.raises(UserError, match="this run exists; add --resume"):
        trainer(tmp_path, steps=3).fit()
    with pytest.raises(UserError, match="^game.first.optimizer.lr: the run in .* has 0.01, this config 0.02"):
        trainer(tmp_path, lr=2e-2).fit(resume=True)
    with pytest.raises(UserError, match="^game.first.sharpness.rho: the run in .* has 0.01, this config 0.5"):
        trainer(tmp_path, rho=0.5).fit(resume=True)
    before = state(folder)
    assert same(state(trainer(tmp_path, steps=3).fit(overwrite=True)), before)


def test_its_folder_says_that_it_cannot_be_opened_without_its_parts(tmp_path):
    folder = trainer(tmp_path, steps=3).fit()
    with pytest.raises(UserError, match="was built in Python, and its folder does not say how to build its game again"):
        sample_run(str(folder), 4, 0, None, None, None, False)
    again = trainer(tmp_path)
    assert again.restore() and again.step == 3
    expected = checkpoint.load(folder / "step_3")[1]["ema"]
    assert torch.equal(again.evaluated_network().weight, expected["weight"])


def test_learners_of_other_players_are_refused(tmp_path):
    game = Regression()
    learner = gt.Learner(game.players["second"], torch.optim.SGD(game.players["second"].parameters, 0.1))
    batches = gt.data.Batches(gt.data.Digits(), 32, 0)
    with pytest.raises(UserError, match="^learners: expected one for each player .*, first, second; got second"):
        gt.Trainer(game, [learner], gt.outer.GDA(), batches, gt.Run(name="a", steps=1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"game": "gan"}, "game: expected a gantrain.Game, got 'gan'"),
        ({"outer": "gda"}, "outer: expected a gantrain.Outer, such as gantrain.outer.Extragradient"),
        ({"batches": [1, 2]}, "batches: expected gantrain.data.Batches.*, got a list of 2"),
        ({"run": "mine"}, "run: expected gantrain.Run.*, got 'mine'"),
    ],
)
def test_what_is_no_part_of_a_trainer_is_named(wrong, message):
    parts = {"game": Regression(), "learners": [], "outer": gt.outer.GDA(), "run": gt.Run(name="mine", steps=1)}
    parts["batches"] = gt.data.Batches(gt.data.NoData(), batch_size=4, seed=0)
    with pytest.raises(UserError, match=f"^{message}"):
        gt.Trainer(**parts | wrong)


def test_an_optimizer_of_other_parameters_than_the_players_is_refused():
    first, second = Regression().players.values()
    for parameters, message in (
        (second.parameters, "lacks 2 of the player's 2 trainable parameters, and has 2 others; expected exactly"),
        ([*first.parameters, *second.parameters], "lacks 0 of the player's 2 trainable parameters, and has 2 others"),
        (first.parameters[:1], "lacks 1 of the player's 2 trainable parameters, and has 0 others"),
    ):
        with pytest.raises(UserError, match=f"^game.first.optimizer: SGD {message}"):
            gt.Learner(first, torch.optim.SGD(parameters, 0.1))


def test_a_learner_may_be_built_after_its_scheduler():
    player = Regression().players["first"]
    optimizer = torch.optim.Adam(player.parameters, lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 2)
    assert gt.Learner(player, optimizer).step_size == 0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda s: [s["first"]],
            "expected a mapping from players to schedulers, {'first': .*}; got a list of 1",
        ),
        (lambda s: {"third": s["first"]}, "no player is called 'third'; expected one of first, second"),
        (lambda s: {"second": s["first"]}, "that of second, a StepLR, does not belong to the player's optimizer"),
        (lambda s: {"first": 3}, "that of first, a int, does not belong to the player's optimizer"),
    ],
)
def test_schedulers_are_given_by_player_and_belong_to_its_optimizer(given, message):
    game = Regression()
    learners = [gt.Learner(p, torch.optim.SGD(p.parameters, 0.1)) for p in game.players.values()]
    schedulers = {each.name: torch.optim.lr_scheduler.StepLR(each.optimizer, 2) for each in learners}
    batches = gt.data.Batches(gt.data.Digits(), 32, 0)
    with pytest.raises(UserError, match=f"^schedulers: {message}"):
        gt.Trainer(game, learners, gt.outer.GDA(), batches, gt.Run(name="mine", steps=1), schedulers=given(schedulers))


def test_an_average_of_another_network_is_refused():
    game = Regression()
    learners = [gt.Learner(p, torch.optim.SGD(p.parameters, 0.1)) for p in game.players.values()]
    batches, other = gt.data.Batches(gt.data.Digits(), 32, 0), torch.nn.Linear(64, 10)
    with pytest.raises(UserError, match="^ema: averages a Linear that is not the game's evaluated network"):
        gt.Trainer(game, learners, gt.outer.GDA(), batches, gt.Run(name="mine", steps=1), ema=gt.EMA(other, decay=0.5))


class Misspelt(gt.outer.GDA):
    def step(self, field):
        field.move(field.draw(), "simultanious")
        return True


def test_an_order_that_there_is_not_is_refused(tmp_path):
    game = Regression()
    learners = [gt.Learner(p, torch.optim.SGD(p.parameters, 0.1)) for p in game.players.values()]
    batches = gt.data.Batches(gt.data.Digits(), 32, 0)
    with pytest.raises(UserError, match="order: expected simultaneous or alternating, got 'simultanious'"):
        gt.Trainer(game, learners, Misspelt(), batches, gt.Run(name="mine", steps=1, folder=str(tmp_path))).fit()


class ByImages(Looks):
    every = {"kimg": 1}


class OfSlow(Looks):
    weights = "slow"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"log": gt.Log(every={"kimg": 1})},
            "log.every: counts images, and the game sees no samples; use steps or grad",
        ),
        ({"checkpoints": gt.Checkpoint(every={"kimg": 1})}, "checkpoint.every: counts images"),
        ({"callbacks": [ByImages(), ByImages()]}, ".*ByImages.every: counts images"),
        ({"ema": {"half_life_kimg": 1.0}}, "ema: counts images, and the game sees no samples; use decay or uniform"),
        ({"ema": {"uniform": True, "start": {"kimg": 1}}}, "ema: counts images"),
        ({"run": gt.Run(name="mine", kimg=1.0)}, "run.kimg: the game sees no samples; use run.steps or run.gradients"),
        ({"callbacks": [OfSlow()]}, ".*OfSlow.weights: expected one of live, anchor, got 'slow'"),
    ],
)
def test_what_a_run_without_samples_cannot_follow_is_refused(settings, message):
    game = Regression()
    learners = [gt.Learner(p, torch.optim.SGD(p.parameters, 0.1)) for p in game.players.values()]
    parts = {"run": gt.Run(name="mine", steps=1), "outer": gt.outer.GDA(), **settings}
    if "ema" in settings:
        parts["ema"] = gt.EMA(game.evaluated_network, **settings["ema"])
    with pytest.raises(UserError, match=f"^{message}"):
        gt.Trainer(game, learners, batches=gt.data.Batches(gt.data.NoData(), batch_size=4, seed=0), **parts)


def test_intervals_of_two_callbacks_of_one_class_are_both_looked_at():
    game, first, second = Regression(), ByImages(), ByImages()
    second.every = 2
    learners = [gt.Learner(p, torch.optim.SGD(p.parameters, 0.1)) for p in game.players.values()]
    batches = gt.data.Batches(gt.data.NoData(), batch_size=4, seed=0)
    with pytest.raises(UserError, match="ByImages.every: counts images"):
        gt.Trainer(game, learners, gt.outer.GDA(), batches, gt.Run(name="a", steps=1), callbacks=[first, second])


def test_a_data_set_is_no_sequence_of_batches():
    with pytest.raises(UserError, match="^batches: expected batches, got the data set Digits; give "):
        gt.solve(Regression(), batches=gt.data.Digits(), steps=1)
