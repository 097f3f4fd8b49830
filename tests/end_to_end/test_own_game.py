"""A user's own game, brought by its target, trains and resumes; what it cannot do is one line."""

from __future__ import annotations

import copy

import pytest
from forked import Command, decoys, gantrain
from tiny import ADAM, DIGITS, rows, same, state, write

MODULE = '''
import torch
from torch.nn.functional import cross_entropy

import gantrain as gt


class Rivals(gt.Game):
    """Three classifiers of the same digits, each of which is paid to differ from the one before it."""

    def __init__(self, first: gt.Classifier, second: gt.Classifier, third: gt.Classifier, apart: float = 0.1):
        self.apart = apart
        modules = {"first": first, "second": second, "third": third}
        super().__init__([gt.Player(name, module) for name, module in modules.items()])

    def objective(self, player, batch):
        logits = {name: other.module(batch.real) for name, other in self.players.items()}
        names = list(logits)
        other = names[names.index(player) - 1]
        apart = (logits[player] - logits[other].detach()).square().mean()
        loss = cross_entropy(logits[player], batch.labels) - self.apart * apart.clamp(max=1)
        return gt.Objective(loss, logits[player], batch.labels, {f"apart/{player}": apart.detach()})
'''
SAM = {"name": "sam", "climb": "tanh", "ascent": "global"}
PLAYER = {"model": {"name": "mlp", "width": 8}, "optimizer": ADAM, "sharpness": SAM}
CONFIG = copy.deepcopy(DIGITS)
CONFIG["game"] = {"target": "rivals:Rivals", "apart": 0.5, "first": PLAYER, "second": PLAYER, "third": PLAYER}
CONFIG["outer"] = {"name": "rapp", "inner_steps": 2}
CONFIG["run"] = {"name": "rivals", "steps": 8}
del CONFIG["samples"]


@pytest.mark.slow  # test_three_players does so with a network, and without one
def test_it_trains_on_one_process_and_on_two_and_resumes_to_the_bit(tmp_path):
    (tmp_path / "rivals.py").write_text(MODULE)
    config = write(tmp_path, CONFIG, "checkpoint.every=4")
    gantrain(tmp_path, "train", config, "run.steps=4")
    gantrain(tmp_path, "train", config, "--resume")
    gantrain(tmp_path, "train", config, "run.name=straight")
    decoys(tmp_path)
    gantrain(tmp_path, "train", config, "run.name=two", "--processes", "2")
    run = tmp_path / "rivals"
    assert same(state(run), state(tmp_path / "straight"))
    last, shared = rows(run)[-1], rows(tmp_path / "two")[-1]
    # Two gradients of SAM in each of two inner steps, of every player.
    assert {last[f"gradients/{player}"] for player in ("first", "second", "third")} == {8 * 2 * 2}
    assert last["score/apart/third"] > 0
    for player in ("first", "second", "third"):
        assert abs(last[f"loss/{player}"] - shared[f"loss/{player}"]) < 1e-5


def test_what_it_cannot_do_or_does_not_have_is_one_line(tmp_path):
    (tmp_path / "rivals.py").write_text(MODULE)
    config = write(tmp_path, CONFIG, "run.steps=2")
    gantrain(tmp_path, "train", config)
    for arguments, message in [
        (("sample", "rivals"), "rivals: the game rivals:Rivals has no generator"),
        (("eval", "rivals"), "rivals: the game rivals:Rivals neither makes samples nor predicts"),
        (
            ("train", config, "run.name=a", "samples.every=3"),
            "samples: unknown key, as the attribute callbacks of the game Rivals names none; expected one of run",
        ),
        (
            ("train", config, "run.name=a", "game.third.modell=1"),
            "game.third.modell: unknown key; expected one of model",
        ),
        (("train", config, "run.name=a", "game.apart=far"), "game.apart: expected a number, got 'far'"),
        (("train", config, "run.name=a", "game.target=rivals:Rival"), "has no class 'Rival'; did you mean 'Rivals'?"),
        (
            ("train", config, "run.name=a", "game={target: 'gantrain.outer:GDA'}"),
            "expected a subclass of gantrain.Game",
        ),
    ]:
        command = Command(tmp_path, *arguments)
        assert command.wait() == 2, arguments
        (line,) = command.errors.splitlines()
        assert line.startswith("gantrain: ") and message in line, line


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            '"third": third}',
            '"last": third}',
            "game: Rivals: the players are first, second, last, and the constructor",
        ),
        ("third", "field", "player 'field': expected a name like a Python variable's, and none of clock, field, outer"),
        (
            "    def objective",
            "    callbacks = {'look': 'looks'}\n    def objective",
            "unknown callback 'looks'",
        ),
    ],
)
def test_a_game_that_does_not_fit_is_one_line(tmp_path, old, new, message):
    (tmp_path / "rivals.py").write_text(MODULE.replace(old, new))
    config = tmp_path / write(tmp_path, CONFIG)
    if old == "third":
        config.write_text(config.read_text().replace("third:", "field:"))
    command = Command(tmp_path, "train", config.name)
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert message in line and not (tmp_path / "rivals").exists()
