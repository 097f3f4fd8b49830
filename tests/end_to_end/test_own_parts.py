"""A user's own parts, from a module in the working directory, train and are sampled like ours."""

from __future__ import annotations

import shutil

from forked import Command, gantrain
from tiny import RING, rows, same, state, write

MODULE = '''
import torch
from torch import nn

from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.games.losses import Loss
from gantrain.outer.base import Outer


class Halves(Outer):
    """Two simultaneous moves, the second of the last player alone."""

    def __init__(self, again: int = 1):
        self.again = again
        self.steps = 0

    def step(self, field):
        draw = field.draw()
        field.move(draw, "simultaneous")
        for _ in range(self.again):
            field.move(draw, learners=field.learners[-1:])
        self.steps += 1
        return self.steps % 2 == 0

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


class Linear(Loss):
    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def discriminator(self, real, fake):
        return self.scale * (fake.mean() - real.mean())

    def generator(self, real, fake):
        return -self.scale * fake.mean()


class Shift(nn.Module):
    def __init__(self, spec, latent_dim: int = 2):
        super().__init__()
        self.latent_dim = latent_dim
        self.shift = nn.Parameter(torch.zeros(spec.shape))
        self.drop = nn.Dropout(0.5)

    def forward(self, z, labels=None):
        return self.drop(z) + self.shift


class Line(DataSet):
    def __init__(self, length: float = 1.0):
        samples = torch.stack([torch.linspace(0, length, 99), torch.zeros(99)], dim=1)
        super().__init__(samples, None, DataSpec((2,)))

    def decode(self, raw):
        return raw
'''
OWN = (
    "run.steps=15",
    "outer={target: 'own:Halves', again: 2}",
    "game.loss={target: 'own:Linear', scale: 0.5}",
    "game.generator.model={target: 'own:Shift'}",
    "data={target: 'own:Line', length: 2, batch_size: 32}",
)


def test_own_parts_train_resume_and_are_sampled(tmp_path):
    (tmp_path / "own.py").write_text(MODULE)
    config = write(tmp_path, RING, *OWN, "checkpoint.every=5")
    gantrain(tmp_path, "train", config, "run.steps=5")
    gantrain(tmp_path, "train", config, "--resume")
    gantrain(tmp_path, "train", config, "run.name=straight")
    run = tmp_path / "ring"
    assert same(state(run), state(tmp_path / "straight"))
    last = rows(run)[-1]
    assert (last["step"], last["outer_steps"]) == (15, 7)
    assert (last["gradients/discriminator"], last["gradients/generator"]) == (15, 45)
    assert state(run)["generator"]["shift"].abs().min() > 0.001
    assert gantrain(tmp_path, "sample", "ring").output == "ring/samples/ema_step_15_seed_0.png\n"

    shutil.copytree(run, tmp_path / "copy")
    command = Command(tmp_path, "sample", "copy")
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert line.startswith("gantrain: copy/config.yaml: names code outside gantrain") and "'own:Halves'" in line
    assert gantrain(tmp_path, "sample", "copy", "--trust").output == "copy/samples/ema_step_15_seed_0.png\n"


def test_a_wrong_key_of_an_own_part_is_one_line(tmp_path):
    (tmp_path / "own.py").write_text(MODULE)
    command = Command(tmp_path, "train", write(tmp_path, RING, *OWN, "game.loss.scael=2"))
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert "game.loss.scael" in line and "scale" in line
