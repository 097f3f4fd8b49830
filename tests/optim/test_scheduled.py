"""Numbers that follow schedules: their values, what they change, and what they refuse."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from forked import together
from tiny import RING, back_to, config_of, rows, same, state, write

import gantrain as gt
from gantrain.commands.train import make_trainer, train
from gantrain.config.loading import load as load_config
from gantrain.config.loading import validate
from gantrain.config.schedules import Computed
from gantrain.config.schema import Config, MapConfig
from gantrain.errors import UserError
from gantrain.runs.saved import load


def schedule(first, last, kimg=0.96, shape="cosine"):
    return f"{{schedule: {shape}, from: {first}, to: {last}, kimg: {kimg}}}"


# Three draws of 32 a step: ten steps see 0.96 thousand images.
EVERYWHERE = (
    f"game.penalties=[{{name: r1, weight: {schedule(1, 0.1)}}}]",
    f"game.augmentations=[{{target: 'test_scheduled:Shift', by: {schedule(0, 0.1, 0.5, 'linear')}}}]",
    f"game.discriminator.optimizer.betas=[0.0,{schedule(0.9, 0.99)}]",
    f"game.generator.sharpness={{name: sampa, rho: {schedule(0, 0.5)}}}",
    f"outer={{name: rapp, inner_steps: 3, relaxation: {schedule(0.9, 0.5)}}}",
    f"ema.decay={schedule(0, 0.9, 0.48, 'step')}",
    "log.every=1",
    "checkpoint={every: 5, keep: 3}",
    "run.steps=12",
)


class Shift(gt.Augmentation):
    def __init__(self, by: float = 0.0):
        self.by = by

    def __call__(self, images, batch):
        return images + self.by


class Halved(gt.Augmentation):
    """Computes with its number when it is made."""

    def __init__(self, by: float = 0.0, kept: bool = True):
        self.half = by / 2
        if kept:
            self.by = by

    def __call__(self, images, batch):
        return images + self.half


@pytest.mark.parametrize(
    ("shape", "after", "value"),
    [
        ("cosine", 0, 4.0),
        ("cosine", 500, 1 + (1 + math.sqrt(0.5)) * 1.5),
        ("cosine", 1000, 2.5),
        ("linear", 500, 3.25),
        ("linear", 1999, 4 - 3 * 1999 / 2000),
        ("step", 1999, 4.0),
        *((shape, after, 1.0) for shape in ("cosine", "linear", "step") for after in (2000, 10**9)),
    ],
)
def test_values_are_those_of_the_closed_forms(shape, after, value):
    assert gt.Schedule(shape, 4, 1, kimg=2).at(after) == pytest.approx(value, rel=1e-15)


def trained(folder, *overrides):
    return train(config_of(RING, folder, *EVERYWHERE, *overrides), resume=True)


def test_numbers_have_the_value_of_the_clock_at_the_start_of_the_step(tmp_path):
    folder = trained(tmp_path)
    logged = rows(folder)
    assert len(logged) == 12
    for step, row in enumerate(logged):
        done = min(1, 96 * step / 960)
        falls = (1 + math.cos(math.pi * done)) / 2
        assert {key: value for key, value in row.items() if key.startswith("schedule/")} == pytest.approx(
            {
                "schedule/game.penalties.0.weight": 0.1 + falls * 0.9,
                "schedule/game.augmentations.0.by": 0.1 * min(1, 96 * step / 500),
                "schedule/game.discriminator.optimizer.betas.1": 0.99 - falls * 0.09,
                "schedule/game.generator.sharpness.rho": 0.5 - falls * 0.5,
                "schedule/outer.relaxation": 0.5 + falls * 0.4,
                "schedule/ema.decay": 0.9 if 96 * step >= 480 else 0.0,
            }
        )
    # A checkpoint has the values with which the run goes on.
    assert state(folder, 12)["optimizer.discriminator"]["param_groups"][0]["betas"][1] == 0.99
    # As after 480 images: the average, without a decay so far, is the network itself.
    early = state(folder, 5)
    assert same(early["ema"], early["generator"] | {"n_averaged": 5})
    # Resumed, the run ends with the same bits; opened, its game has the numbers of the checkpoint.
    whole, logged = state(folder), rows(folder)
    back_to(folder, 5)
    assert load(folder).game.penalties[0].weight == pytest.approx(0.55)
    trained(tmp_path)
    assert same(state(folder), whole) and rows(folder) == logged


def _two(folder):
    trained(folder)
    return state(folder / "ring") | {"rows": rows(folder / "ring")}


@pytest.mark.slow
def test_two_processes_have_the_same_numbers_and_resume_to_the_bit(tmp_path):
    whole, other = together(_two, tmp_path)
    assert same(whole, other)
    assert whole["rows"][5]["schedule/game.penalties.0.weight"] == pytest.approx(0.55)
    back_to(tmp_path / "ring", 5)
    assert same(together(_two, tmp_path)[0], whole)


def test_the_numbers_change_what_is_trained(tmp_path):
    def end(name, number):
        return state(
            train(config_of(RING, tmp_path, f"game.penalties=[{{name: r1, weight: {number}}}]", f"run.name={name}"))
        )

    constant = end("constant", 1.0)
    assert same(end("flat", schedule(1, 1, 0.1)), constant)
    # It jumps after the last of the 20 steps, or before it.
    assert same(end("late", schedule(1, 2, 0.64, "step")), constant)
    assert not same(end("soon", schedule(1, 2, 0.608, "step")), constant)


def test_each_group_of_an_optimizer_follows_its_own_numbers(tmp_path):
    rest = f"{{name: adamw, weight_decay: {schedule(0.2, 0)}, weight_decay_on: matrices}}"
    optimizer = f"{{name: muon, lr: 0.02, weight_decay: {schedule(0.1, 0)}, rest: {rest}}}"
    config = config_of(RING, tmp_path, "game.discriminator.model.depth=4", f"game.discriminator.optimizer={optimizer}")
    trainer = make_trainer(config, torch.device("cpu"))
    groups = trainer.learners[0].optimizer.param_groups
    # The hidden matrices, those of both ends, and the biases.
    assert [group["weight_decay"] for group in groups] == [0.1, 0.2, 0.0]
    trainer.scheduled.follow(480)
    assert [group["weight_decay"] for group in groups] == pytest.approx([0.05, 0.1, 0.0])


@pytest.mark.parametrize("first, last", [(0, 0.9), pytest.param(0.9, 0, marks=pytest.mark.slow)])
def test_a_momentum_that_begins_or_ends_resumes(tmp_path, first, last):
    momentum = schedule(first, last, 0.2, "step")
    overrides = (
        f"game.generator.optimizer={{name: sgd, lr: 0.1, momentum: {momentum}}}",
        "checkpoint.every=4",
        "checkpoint.keep=9",
    )
    folder = train(config_of(RING, tmp_path, *overrides))
    whole = state(folder)
    for step in (16, 4):  # after the jump, and before it
        back_to(folder, step)
        train(config_of(RING, tmp_path, *overrides), resume=True)
        assert same(state(folder), whole)


REFUSED = {
    "game.penalties=[{name: r1, weight: {schedule: linear, from: 1, to: 0, kimg: 1}}]": (
        "game.penalties.0.weight.to: expected a number above 0, got 0"
    ),
    "game.penalties=[{name: r1, weight: {schedule: sine, from: 1, to: 2, kimg: 1}}]": (
        "game.penalties.0.weight.schedule: expected 'cosine', 'linear' or 'step', got 'sine'"
    ),
    f"game.penalties=[{{name: r1, every: {schedule(1, 2)}}}]": "a whole number cannot follow a schedule",
    f"game.generator.optimizer.lr={schedule(1, 2)}": "the learning rate has schedulers of its own",
    f"game.generator.model.width={schedule(1, 2)}": "a whole number cannot follow a schedule",
    f"run.kimg={schedule(1, 2)}": "run.kimg: expected a number above 0, got a mapping; this number cannot follow a",
    f"game.generator.optimizer.betas=[0.0,{schedule(0.9, 1.5)}]": "optimizer: Invalid beta parameter at index 1: 1.5",
    f"game.generator.optimizer={{name: rmsprop, momentum: {schedule(0, 0.9)}}}": (
        "game.generator.optimizer: RMSprop fails with the last values of its schedules"
    ),
    f"game.augmentations=[{{target: 'test_scheduled:Halved', by: {schedule(0, 1)}}}]": (
        "game.augmentations.0.half: was computed from a schedule when the part was made"
    ),
    f"game.augmentations=[{{target: 'test_scheduled:Halved', by: {schedule(0, 1)}, kept: false}}]": (
        "game.augmentations.0.half: was computed from a schedule when the part was made"
    ),
}


@pytest.mark.parametrize("override", REFUSED, ids=range(len(REFUSED)))
def test_a_schedule_that_cannot_be_followed_is_refused_before_the_run_begins(tmp_path, monkeypatch, override):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / write(tmp_path, RING, override)
    with pytest.raises(UserError) as caught:
        train(load_config(file))
    assert REFUSED[override] in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [file]


def test_a_number_that_a_part_does_not_keep_is_refused():
    mixed = {"model": "softmax", "optimizer": {"name": "sgd", "lr": 0.1}}
    number = {"schedule": "linear", "from": 0, "to": 1, "kimg": 1}
    game = {"name": "matrix", "payoff": [[1, number], [0, 1]], "row": mixed, "column": mixed}
    config = validate(Config, {"run": {"name": "matrix", "steps": 2}, "game": game}, "matrix")
    with pytest.raises(UserError, match=r"^game\.payoff\.0\.1: matrix reads the number only when it is made"):
        make_trainer(config, torch.device("cpu"))


def test_only_a_run_has_schedules():
    number = {"schedule": "linear", "from": 0.5, "to": 1, "kimg": 1}
    game = gt.games.Minimize(lambda x: x.square().sum(), x=torch.ones(1))
    with pytest.raises(UserError, match=r"^outer\.relaxation: a schedule goes by the images that a run has seen"):
        gt.solve(game, {"name": "rapp", "relaxation": number})
    axes = {axis: {"key": axis, "low": 0.1, "high": 1, "count": 2} for axis in ("rho", "gamma")}
    config = {"name": "map", "outers": [{"name": "rapp", "relaxation": number}], "x": axes["rho"], "y": axes["gamma"]}
    with pytest.raises(UserError, match=r"map: outers\.0\.relaxation: a schedule goes by the images"):
        validate(MapConfig, config, "map")


def _built(folder, weight, lr=1e-3, width=8):
    data = gt.data.Digits()
    spec = data.spec.unconditional()
    networks = gt.models.MLPGenerator(spec, width=8), gt.models.MLPDiscriminator(spec, width=width)
    for network in networks:
        for p in network.parameters():
            torch.nn.init.constant_(p, 0.1)
    penalties = [gt.games.penalties.R1(weight)]
    game = gt.games.GAN(*networks, loss=gt.games.losses.NonSaturating(), penalties=penalties)
    betas = (0.0, gt.Schedule("linear", 0.9, 0.99, kimg=0.64))
    learners = [gt.Learner(p, torch.optim.Adam(p.parameters, lr, betas)) for p in game.players.values()]
    run = gt.Run(name="run", folder=str(folder), steps=4)
    checkpoints, log = gt.Checkpoint(every=2), gt.Log(every=1)
    batches = gt.data.Batches(data, batch_size=64, seed=0)
    return gt.Trainer(game, learners, gt.outer.GDA(), batches, run, checkpoints=checkpoints, log=log)


def test_in_python_a_schedule_stands_in_the_place_of_a_number(tmp_path):
    weight = gt.Schedule("step", 1.0, 2.0, kimg=0.128)
    folder = _built(tmp_path, weight).fit()
    keys = ("game.penalties.0.weight", "game.discriminator.optimizer.betas.1", "game.generator.optimizer.betas.1")
    found = [[row[f"schedule/{key}"] for key in keys] for row in rows(folder)]
    assert found == [pytest.approx([1 + (n > 1), 0.9 + 0.009 * n, 0.9 + 0.009 * n]) for n in range(4)]
    whole = state(folder)
    back_to(folder, 2)
    _built(tmp_path, weight).fit(resume=True)
    assert same(state(folder), whole)
    with pytest.raises(UserError, match=r"^schedules\.game\.penalties\.0\.weight\.to: the run in .* has 2\.0, this"):
        _built(tmp_path, gt.Schedule("step", 1.0, 3.0, kimg=0.128)).fit(resume=True)
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"^game\.\w+\.optimizer\.lr: cannot follow a schedule; the learning rate has"):
        _built(tmp_path, weight, lr=gt.Schedule("linear", 1e-3, 1e-4, kimg=1))
    assert type(weight * 2) is Computed and weight * 2 == 2
    for wrong in (("sine", 1, 2, 1), ("step", 1, 2, 0), ("step", math.nan, 2, 1), ("step", 1, "2", 1)):
        with pytest.raises(UserError, match=r"^schedule: "):
            gt.Schedule(*wrong)
