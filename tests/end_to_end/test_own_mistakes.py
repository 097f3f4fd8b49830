"""A user's own parts that raise, or return what cannot be used: one line names the part and its key."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from forked import Command
from tiny import RING, config_of, write

from gantrain.commands.train import train
from gantrain.errors import UserError

MODULE = """
import torch
from torch import nn

from gantrain.data.augment import Augmentation
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.games import GAN
from gantrain.games.base import Objective
from gantrain.games.losses import Hinge
from gantrain.games.penalties import Penalty
from gantrain.optim.constraints import Resolvent
from gantrain.models.base import Discriminator, Generator
from gantrain.outer.base import Outer
from gantrain.sharpness.base import Oracle

WRONG = {
    "vector": lambda x: x.expand(3),
    "none": lambda x: None,
    "float": lambda x: x.item(),
    "complex": lambda x: x * 1j,
    "detached": lambda x: x.detach(),
    "elsewhere": lambda x: x.to("meta"),
    "raises": lambda x: {}["a\\nb"],
    "tuple": lambda x: (x, x),
    "batch": lambda x: x[1:],
    "shape": lambda x: x[:, None],
    "double": lambda x: x.double(),
}


class MyLoss(Hinge):
    def __init__(self, wrong: str, player: str = "discriminator"):
        self.wrong, self.player = wrong, player

    def discriminator(self, real, fake):
        value = super().discriminator(real, fake)
        return WRONG[self.wrong](value) if self.player == "discriminator" else value

    def generator(self, real, fake):
        value = super().generator(real, fake)
        return WRONG[self.wrong](value) if self.player == "generator" else value


class NoMargins(Hinge):
    def generator_margins(self, real, fake):
        return 3


class MyPenalty(Penalty):
    def __init__(self, wrong: str):
        super().__init__(1.0)
        self.wrong = wrong

    def value(self, discriminator, real, fake, batch):
        return WRONG[self.wrong](real.logits.mean())


class MyGenerator(nn.Module):
    def __init__(self, spec, wrong: str, training_only: bool = False):
        super().__init__()
        assert wrong != "construction"
        self.latent_dim, self.wrong, self.linear, self.only = 4, wrong, nn.Linear(4, 2), training_only

    def forward(self, z, labels=None):
        return self.linear(z) if self.only and not self.training else WRONG[self.wrong](self.linear(z))


class NoLabels(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x):
        return self.linear(x)[:, 0]


class MyDiscriminator(NoLabels):
    def __init__(self, spec, wrong: str):
        super().__init__(spec)
        self.wrong = wrong

    def forward(self, x, labels=None):
        return WRONG[self.wrong](super().forward(x))


class MyData(DataSet):
    def __init__(self, wrong: str):
        if wrong == "construction":
            raise ValueError("no file")
        labels = {"float": torch.zeros(64), "list": [0] * 64, "high": torch.full((64,), 3), "missing": None}
        self.samples, self.labels, self.wrong = torch.zeros(64, 2), labels.get(wrong), wrong
        self.spec = DataSpec((2,), 3 if wrong in labels else 0)

    def decode(self, x):
        assert self.wrong != "decode" or len(x) == 1
        return x


class MyOuter(Outer):
    def __init__(self, wrong: str):
        self.wrong = wrong

    def step(self, field):
        assert self.wrong != "raises"
        return {"idle": False, "number": 3}.get(self.wrong)

    def state_dict(self):
        assert self.wrong != "state"
        return {}


class MyOracle(Oracle):
    def __init__(self, wrong: str):
        self.wrong = wrong

    def evaluate(self, context, part):
        assert self.wrong != "raises"
        gradient = context.gradient()
        wrong = {"none": None, "short": [gradient[1:]], "bare": gradient, "shape": [[g[None] for g in gradient]]}
        return wrong.get(self.wrong, [gradient])

    def combine(self, gradients):
        return gradients if self.wrong == "combined" else gradients[0]


class MyConstraint(Resolvent):
    def __init__(self, wrong: str):
        self.wrong = wrong

    def apply_(self, parameters, step_size):
        assert self.wrong != "raises"
        return parameters


class MyOptimizer(torch.optim.SGD):
    def __init__(self, params):
        super().__init__(params, 0.1)

    def step(self, closure=None):
        raise LookupError


class Closing(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr)

    def step(self, closure):
        closure()


class Bare(torch.optim.Optimizer):
    def __init__(self, params, wrong: str):
        if wrong != "construction":
            super().__init__(params, {})

    def step(self, closure=None):
        pass


class MyGame(GAN):
    def __init__(self, generator: Generator, discriminator: Discriminator, wrong: str):
        super().__init__(generator, discriminator, Hinge())
        self.wrong = wrong

    def objective(self, player, batch):
        loss = super().objective(player, batch).loss
        return loss if self.wrong == "objective" else Objective(WRONG[self.wrong](loss))


class Cut(Augmentation):
    def __call__(self, samples, batch):
        return samples[1:]


class Detached(Augmentation):
    def __call__(self, samples, batch):
        return samples.detach()
"""
SCALAR = r"expected a scalar, a real tensor of shape \(\) on cpu, got "
ENTRIES = "expected a gradient with an entry for each of the 6 parameters"
DETACHED = "what it returns does not depend on any parameter, .*"
SAMPLES = "expected samples of the data's shape"
RAISED = r"raised KeyError: 'a.*b' \(mistakes.py:\d+\)"
ASSERTED = r"raised AssertionError \(mistakes.py:\d+\)"
# Key -> class and its arguments -> what is said after the key.
MISTAKES = {
    "game.loss": {
        "MyLoss, wrong: vector": rf"MyLoss.discriminator: {SCALAR}a tensor of shape \(3,\), float32, on cpu",
        "MyLoss, wrong: none": f"MyLoss.discriminator: {SCALAR}None",
        "MyLoss, wrong: float": rf"MyLoss.discriminator: {SCALAR}[\d.]+ \(float\)",
        "MyLoss, wrong: complex": rf"MyLoss.discriminator: {SCALAR}a tensor of shape \(\), complex64, on cpu",
        "MyLoss, wrong: elsewhere": rf"MyLoss.discriminator: {SCALAR}a tensor of shape \(\), float32, on meta",
        "MyLoss, wrong: tuple": f"MyLoss.discriminator: {SCALAR}a tuple of 2",
        "MyLoss, wrong: detached": f"MyLoss.discriminator: {DETACHED}",
        "MyLoss, wrong: raises": f"MyLoss {RAISED}",
        "MyLoss, wrong: none, player: generator": f"MyLoss.generator: {SCALAR}None",
        "NoMargins": r"NoMargins: expected margins as a pair .*, got 3 \(int\)",
    },
    "game.penalties": {
        "MyPenalty, wrong: none": f"MyPenalty.value: {SCALAR}None",
        "MyPenalty, wrong: detached": f"MyPenalty.value: {DETACHED}",
    },
    "game.generator.model": {
        "MyGenerator, wrong: construction": f"MyGenerator {ASSERTED}",
        "MyGenerator, wrong: raises": f"MyGenerator {RAISED}",
        "MyGenerator, wrong: none": f"MyGenerator: {SAMPLES}, got None",
        "MyGenerator, wrong: tuple": f"MyGenerator: {SAMPLES}, got a tuple of 2",
        "MyGenerator, wrong: batch": rf"MyGenerator: {SAMPLES}, shape \(2, 2\), .* of shape \(1, 2\), .*",
        "MyGenerator, wrong: batch, training_only: true": rf"MyGenerator: {SAMPLES}, shape \(32, 2\), .*\(31, 2\), .*",
        "MyGenerator, wrong: shape": rf"MyGenerator: {SAMPLES}, shape \(2, 2\), .* of shape \(2, 1, 2\), .*",
        "MyGenerator, wrong: double": "MyGenerator: its samples are float64, and the discriminator takes float32",
        "MyGenerator, wrong: detached": f"MyGenerator: {DETACHED}",
    },
    "game.discriminator.model": {
        "MyDiscriminator, wrong: shape": r"MyDiscriminator: expected one logit per sample, shape \(2,\), .*\(2, 1\).*",
        "MyDiscriminator, wrong: none": "MyDiscriminator: expected one logit per sample, got None",
        "MyDiscriminator, wrong: raises": f"MyDiscriminator {RAISED}",
        "MyDiscriminator, wrong: detached": f"MyDiscriminator: {DETACHED}",
    },
    "data": {
        "MyData, wrong: construction": r"MyData raised ValueError: no file \(mistakes.py:\d+\)",
        "MyData, wrong: float": r"MyData: labels: expected an int64 tensor of shape \(64,\), got .*float32.*",
        "MyData, wrong: list": "MyData: labels: expected an int64 tensor .*, got a list of 64",
        "MyData, wrong: high": "MyData: labels: expected 0 to 2, got 3 to 3",
        "MyData, wrong: missing": "MyData: labels: there are none, and the spec has 3 classes; .*",
        "MyData, wrong: decode": f"decode {ASSERTED}",
    },
    "outer": {
        "MyOuter, wrong: state": f"MyOuter {ASSERTED}",
        "MyOuter, wrong: raises": f"MyOuter {ASSERTED}",
        "MyOuter, wrong: none": "MyOuter.step: expected true or false, got None",
        "MyOuter, wrong: number": r"MyOuter.step: expected true or false, got 3 \(int\)",
        "MyOuter, wrong: idle": "MyOuter.step: evaluated no gradient; expected a call of field.evaluate",
    },
    "game.generator.sharpness": {
        "MyOracle, wrong: raises": f"MyOracle {ASSERTED}",
        "MyOracle, wrong: none": "MyOracle.evaluate: expected a list of gradients, .*, got None",
        "MyOracle, wrong: short": f"MyOracle.evaluate: {ENTRIES}, got a list of 5",
        "MyOracle, wrong: bare": "MyOracle.evaluate: expected a list of gradients, .*, got a list of 6",
        "MyOracle, wrong: shape": r"MyOracle.evaluate: expected for parameter 0 None or .*, got .*\(1, 16, 4\).*",
        "MyOracle, wrong: combined": f"MyOracle.combine: {ENTRIES}, got a list of 1",
    },
    "game.generator.constraint": {
        "MyConstraint, wrong: raises": f"MyConstraint {ASSERTED}",
        "MyConstraint, wrong: returns": "MyConstraint.apply_: expected None, since .* in place, got a list of 6",
    },
    "game.generator.optimizer": {
        "MyOptimizer": r"MyOptimizer raised LookupError \(mistakes.py:\d+\)",
        "Closing": "Closing.step needs an argument, such as a closure, .*; expected step.. without arguments",
        "Bare, wrong: construction": r"Bare raised AttributeError: .* \(mistakes.py:\d+\)",
        "Bare, wrong: rate": "Bare has no learning rate; expected a number lr in each of its groups",
    },
    "game": {
        "MyGame, wrong: none": rf"MyGame.objective\('discriminator'\).loss: {SCALAR}None",
        "MyGame, wrong: objective": "MyGame.objective.*: expected a gantrain.games.Objective, got .*",
    },
}


def listed(table):
    return [(key, part, message) for key, parts in table.items() for part, message in parts.items()]


@pytest.fixture
def mistakes(tmp_path, monkeypatch):
    (tmp_path / "mistakes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def override(key, part):
    spec = f"{{target: 'mistakes:{part.replace(',', chr(39) + ',', 1)}" + ("}" if "," in part else "'}")
    if key == "data":
        spec = spec.replace("}", ", batch_size: 16}")
    return f"{key}=[r1, {spec}]" if key == "game.penalties" else f"{key}={spec}"


def refused(folder, *overrides):
    base = copy.deepcopy(RING)
    if overrides[0].startswith("game={"):
        del base["game"]["loss"], base["game"]["name"]
    with pytest.raises(UserError) as error:
        train(config_of(base, folder / "runs", *overrides))
    return str(error.value)


@pytest.mark.parametrize(("key", "part", "message"), listed(MISTAKES))
def test_a_mistake_is_named_before_anything_is_written(mistakes, key, part, message):
    before = torch.get_rng_state()
    assert re.fullmatch(f"{key}: {message}", refused(mistakes, override(key, part)))
    assert not (mistakes / "runs").exists() and torch.equal(torch.get_rng_state(), before)


def test_parts_in_lists_are_numbered(mistakes):
    found = refused(mistakes, "game.penalties=[r1, {target: 'mistakes:MyPenalty', wrong: raises}]")
    assert re.fullmatch(f"game.penalties.1: MyPenalty {RAISED}", found)
    found = refused(mistakes, "game.augmentations=[{target: 'mistakes:Cut'}]")
    assert re.fullmatch("game.augmentations.0: Cut: expected samples like those it was given, .*", found)
    found = refused(mistakes, "game.augmentations=[{target: 'mistakes:Detached'}]")
    assert re.fullmatch("game.augmentations.0: Detached: expected samples that can be differentiated in .*", found)


def test_the_command_prints_one_line(mistakes):
    command = Command(mistakes, "train", write(mistakes, RING, override("game.loss", "MyLoss, wrong: raises")))
    assert command.wait() == 2
    assert re.fullmatch(f"gantrain: game.loss: MyLoss {RAISED}\n", command.errors)
