"""Games of three players, with data and networks and without either: killed, resumed to the bit, on two processes."""

from __future__ import annotations

import copy

import pytest
from forked import Command, decoys, hosts, until
from tiny import ADAM, DIGITS, config_of, rows, same, state, write

from gantrain.commands.compare import compare_runs
from gantrain.commands.diagnose import diagnose_run
from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.errors import UserError

MODULE = '''
from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import softplus

import gantrain as gt


class Encoder(nn.Module):
    def __init__(self, spec, latent_dim: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.shape[1] * spec.shape[2], latent_dim))
        self.norm = nn.BatchNorm1d(latent_dim)

    def forward(self, samples):
        return self.norm(self.layers(samples))


class Inverted(gt.games.GenerativeGame):
    """A GAN with an encoder, which finds the latent vectors of samples; the generator helps it."""

    callbacks = {"samples": "samples", "scalars": "scalars", "pictures": "pictures"}
    better = {"inversion": "lower"}
    evaluated_player = "generator"

    def __init__(self, generator: gt.Generator, judge: gt.Discriminator, encoder: nn.Module, help: float = 0.1):
        super().__init__([gt.Player("judge", judge), gt.Player("generator", generator), gt.Player("encoder", encoder)])
        self.generator, self.judge, self.encoder, self.help = generator, judge, encoder, help

    def objective(self, player, batch):
        z = batch.normal("latent", self.latent_dim)
        samples = self.generator(z)
        if player == "judge":
            return gt.Objective(softplus(-self.judge(batch.real)).mean() + softplus(self.judge(samples)).mean())
        loss = (self.encoder(samples) - z).square().mean()
        if player == "generator":
            loss = softplus(-self.judge(samples)).mean() + self.help * loss
        return gt.Objective(loss)

    def scalars(self, network):
        z = torch.randn(16, self.latent_dim)
        return {"inversion": (self.encoder(network(z)) - z).square().mean()}

    def pictures(self, network):
        return {"first": network(torch.zeros(1, self.latent_dim))[0].add(1).mul(127).to(torch.uint8)}


class Chase(gt.Game):
    """Each of three players in the plane follows the next, whom it sees through noise, and is held to the origin."""

    takes_data = False

    def __init__(self, players: Mapping[str, gt.Strategy], noise: float = 0.1):
        super().__init__([gt.Player(name, strategy) for name, strategy in players.items()])
        self.noise = noise

    @property
    def evaluated_network(self):
        return self.everyone

    @classmethod
    def spec_for_network(cls, player, spec, arguments, networks):
        return gt.models.StrategySpec((2,))

    def objective(self, player, batch):
        names = list(self.players)
        here, there = (self.players[n].module() for n in (player, names[(names.index(player) + 1) % len(names)]))
        seen = there + self.noise * batch.normal(player, 2)
        return gt.Objective((here - seen).square().sum(1).mean() + here.square().sum())
'''
MLP = {"name": "conv", "width": 4}
INVERTED = copy.deepcopy(DIGITS) | {"outer": {"name": "lookahead", "base": "extragradient"}, "scalars": {"every": 5}}
INVERTED["game"] = {
    "target": "three:Inverted",
    "generator": {"model": {"latent_dim": 4, **MLP}, "optimizer": ADAM},
    "judge": {"model": MLP, "optimizer": ADAM, "sharpness": "sampa"},
    "encoder": {"model": {"target": "three:Encoder"}, "optimizer": ADAM},
}
INVERTED |= {"pictures": {"every": 10}, "samples": {"every": 10, "count": 4}}
CHASE = {
    "game": {
        "target": "three:Chase",
        "players": {"optimizer": {"name": "sgd", "lr": 0.05}, "ann": {}, "bob": {}, "cem": {"sharpness": "sam"}},
    },
    "outer": {"name": "rapp", "inner_steps": 2},
    "ema": {"decay": 0.9},
}
RUN = {"name": "straight", "steps": 30}


@pytest.mark.parametrize(
    ("config", "compared"),
    [(INVERTED, "encoder"), pytest.param(CHASE, "cem", marks=pytest.mark.slow)],
    ids=["networks", "no data"],
)
def test_killed_and_resumed_it_ends_with_the_same_bits_and_two_processes_train_the_same(tmp_path, config, compared):
    (tmp_path / "three.py").write_text(MODULE)
    file = write(tmp_path, config | {"run": RUN, "checkpoint": {"every": 3}, "log": {"every": 3}})
    killed = Command(tmp_path, "train", file, "run.name=killed", "run.steps=100000")
    until(lambda: (tmp_path / "killed" / "step_6").is_dir() or not killed.running())
    killed.kill()
    killed.wait()
    straight, two = tmp_path / "straight", tmp_path / "two"
    newest = max(int(p.name[5:]) for p in (tmp_path / "killed").glob("step_*[0-9]"))
    steps = f"run.steps={newest + 4}"
    commands = [
        Command(tmp_path, "train", file, steps, "run.name=killed", "--resume"),
        Command(tmp_path, "train", file, steps),
    ]
    assert [command.wait() for command in commands] == [0, 0], commands[0].errors + commands[1].errors
    assert same(state(tmp_path / "killed"), state(straight))
    assert rows(tmp_path / "killed") == rows(straight)
    decoys(tmp_path)
    both = hosts([tmp_path, tmp_path], "train", file, "run.name=two", "run.steps=6")
    assert [command.wait() for command in both] == [0, 0], both[0].errors + both[1].errors
    (one,), (other,) = ([row for row in rows(f) if row["step"] == 6 and "outer_steps" in row] for f in (straight, two))
    assert one.keys() == other.keys()
    assert one[f"loss/{compared}"] == pytest.approx(other[f"loss/{compared}"], rel=1e-3, abs=1e-5)


def test_a_generative_game_of_ones_own_is_sampled_and_one_without_data_is_not(tmp_path, monkeypatch, capsys):
    (tmp_path / "three.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    run = train(config_of(INVERTED | {"run": RUN}, tmp_path, "run.steps=10", "log.every=5"))
    assert "step 10: inversion[ema] " in capsys.readouterr().out and (run / "best" / "step_10").is_dir()
    assert (run / "samples" / "step_000010.png").is_file() and (run / "pictures" / "first_step_000010.png").is_file()
    assert {"game/inversion", "game/inversion[ema]"} <= {name for row in rows(run) for name in row}
    assert len(list(sample_run(str(run), 4, 0, None, None, None, images=True)[0].iterdir())) == 4

    run = train(config_of(CHASE | {"run": RUN}, tmp_path, "run.name=chase", "run.steps=4", "log.every=2"))
    said = capsys.readouterr().out
    assert "steps/s" in said and "images" not in said and "data:" not in said
    assert not any("kimg" in row for row in rows(run))
    assert "rotation" in diagnose_run(str(run), eigenvalues=1, batches=1)
    for command, message in [
        (lambda: sample_run(str(run), 4, 0, None, None, None, images=False), "the game three:Chase has no generator"),
        (lambda: evaluate_run(str(run), Request()), "three:Chase neither makes samples nor predicts"),
        (lambda: compare_runs([run], at="kimg"), "a run without data sees no samples; choose --at gradients"),
    ]:
        with pytest.raises(UserError) as found:
            command()
        assert message in str(found.value) and "\n" not in str(found.value)
