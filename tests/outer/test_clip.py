"""Clipping of a player's gradient against norms worked out by hand."""

import math

import pytest
import torch
from forked import gantrain
from tiny import RING, back_to, config_of, rows, same, state, write

import gantrain as gt
from gantrain.commands.train import train
from gantrain.errors import UserError
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer import GDA, Extragradient
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM

START = [[3.0, 0.0], [0.0, 4.0]]


def field_of(clip, oracle=None, lr=0.1):
    """min |x|^2 / 2 over two rows of x: the gradient is x, of norm 5 at the start."""
    game = gt.games.Minimize(lambda x: (x**2).sum() / 2, x=torch.tensor(START))
    (player,) = game.players.values()
    learner = Learner(player, torch.optim.SGD(player.parameters, lr=lr), oracle, clip=clip)
    return Field(Evaluator(game, lambda draw, step: None), [learner])


def test_a_long_gradient_is_scaled_to_the_norm_and_a_short_one_stays():
    field = field_of(clip=1.0)
    GDA().step(field)
    (x,) = field.learners[0].parameters
    assert torch.allclose(x, torch.tensor(START) * (1 - 0.1 / 5))
    field = field_of(clip=5.0)
    GDA().step(field)
    assert torch.equal(field.learners[0].parameters[0], field_of_step_without_clip())
    assert (int(field.learners[0].clipped), field.learners[0].evaluated) == (0, 1)


def field_of_step_without_clip():
    field = field_of(clip=None)
    GDA().step(field)
    return field.learners[0].parameters[0]


def test_every_evaluation_of_an_outer_step_is_clipped_after_the_oracle():
    field = field_of(clip=1.0)
    Extragradient().step(field)
    # Both gradients have norm 1, in the same direction.
    assert torch.allclose(field.learners[0].parameters[0], torch.tensor(START) * (1 - 0.1 / 5))
    assert (int(field.learners[0].clipped), field.learners[0].evaluated) == (2, 2)
    field = field_of(clip=5.5, oracle=SAM(rho=1.0))
    GDA().step(field)
    # SAM's gradient is x (1 + 1/5), of norm 6.
    assert torch.allclose(field.learners[0].parameters[0], torch.tensor(START) * (1 - 0.1 * 5.5 / 5))


def test_a_gradient_of_zeros_stays_and_nan_is_seen():
    learner = field_of(clip=1.0).learners[0]
    zero = [torch.zeros(2)]
    assert learner.within_clip(zero, torch.zeros(()))[0].tolist() == [0.0, 0.0]
    (nan,) = learner.within_clip([torch.tensor([math.nan, 1.0])], torch.tensor(math.nan))
    assert nan.isnan().all()


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, gt.Schedule("linear", 1, -1, kimg=1)], ids=str)
def test_a_norm_that_is_none_is_refused(clip):
    with pytest.raises(UserError, match="clip: expected a positive number"):
        field_of(clip)


CLIP = ("game.discriminator.clip=0.5", "game.generator.clip=0.001", "log.every=3", "checkpoint={every: 4, keep: 9}")


def test_the_share_of_clipped_gradients_is_logged_and_goes_on_after_a_resume(tmp_path):
    config = config_of(RING, tmp_path, *CLIP, "run.steps=9", "outer=extragradient")
    train(config)
    folder = tmp_path / "ring"
    whole, log = state(folder), rows(folder)
    assert [row["clipped/generator"] for row in log] == [1.0] * 3
    assert all(0 <= row["clipped/discriminator"] <= 1 for row in log)
    back_to(folder, 4)
    train(config, resume=True)
    assert same(state(folder), whole) and rows(folder) == log


def test_the_largest_norm_may_follow_a_schedule(tmp_path):
    schedule = "{schedule: step, from: 1.0e-6, to: 1.0e+6, kimg: 0.064}"
    folder = train(config_of(RING, tmp_path, f"game.generator.clip={schedule}", "log.every=1", "run.steps=4"))
    assert [row["clipped/generator"] for row in rows(folder)] == [1.0, 1.0, 0.0, 0.0]
    assert [row["schedule/game.generator.clip"] for row in rows(folder)] == [1e-6, 1e-6, 1e6, 1e6]


@pytest.mark.slow
def test_the_mean_over_processes_is_clipped(tmp_path):
    file = write(tmp_path, RING, *CLIP, "run.steps=6")
    gantrain(tmp_path, "train", file, "run.name=one")
    gantrain(tmp_path, "train", file, "run.name=two", "--processes", "2")
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["clipped/generator"] for row in one] == [row["clipped/generator"] for row in two]
    assert one[-1]["loss/discriminator"] == pytest.approx(two[-1]["loss/discriminator"], rel=1e-4)
