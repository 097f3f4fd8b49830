"""Collapse, memorisation and overfitting are noticed, said once, and again only after they went away."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import DIGITS, RING, config_of, rows

import gantrain as gt
from gantrain.commands.train import train
from gantrain.errors import UserError
from gantrain.metrics.thumbnails import copied, mirrored, spread, thumbnails
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.advice import TrainingAdvice
from gantrain.train.callbacks.signs import SIGNS, Sign


class Ignores(gt.Generator):
    """Makes one sample, whatever the latent vector is."""

    def __init__(self, spec: gt.data.DataSpec, latent_dim: int = 4):
        super().__init__()
        self.latent_dim = latent_dim
        self.sample = torch.nn.Parameter(torch.zeros(spec.shape))

    def forward(self, z, labels=None):
        return self.sample.expand(len(z), *self.sample.shape)


class Copies(gt.Generator):
    """Makes training samples."""

    def __init__(self, bank):
        super().__init__()
        self.latent_dim = 4
        self.register_buffer("bank", bank)
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, z, labels=None):
        return self.gain * self.bank[(z[:, 0].abs() * 1e4).long() % len(self.bank)]


class Knows(gt.Discriminator):
    """1 for what lies in a bank, -1 for a constant, and -0.5 for anything else."""

    def __init__(self, bank):
        super().__init__()
        self.register_buffer("bank", bank.flatten(1))
        self.gain = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, labels=None):
        known = torch.cdist(x.flatten(1), self.bank).amin(dim=1) < 0.1
        constant = x.flatten(1).std(dim=1) < 1e-6
        return self.gain * torch.where(known, 1.0, torch.where(constant, -1.0, -0.5))


def part_of_digits(rows: slice) -> gt.data.DataSet:
    digits = gt.data.Digits()
    data = gt.data.DataSet(digits.samples[rows], None, digits.spec.unconditional())
    data.decode = digits.decode
    return data


def look(folder, game, data, step=500, held_out=None, logged=()):
    """A look after some rows were logged: its line, and its row."""
    callback = TrainingAdvice(game, data, every=500, seed=0, held_out=held_out)
    with Monitor(folder, {}, step=step - 1) as monitor:
        for row in logged:
            monitor.scalars(step - 1, row)
        line = callback.run(folder, monitor, step, game.generator)
    return line, {name.removeprefix("advice/"): value for name, value in rows(folder)[-1].items()}


def digits_game(generator, discriminator=None):
    discriminator = discriminator or gt.models.ConvDiscriminator(gt.data.Digits().spec.unconditional(), width=4)
    return gt.games.GAN(generator, discriminator, loss=gt.games.losses.Hinge())


def test_spread_and_copies_are_what_their_definitions_say():
    points = torch.tensor([[0.0], [1.0], [4.0]], dtype=torch.float64)
    assert spread(points) == pytest.approx((1 + 4 + 3) / 3)
    assert spread(points, torch.tensor([0, 1, 0])) == 4.0
    assert math.isnan(spread(points, torch.tensor([0, 1, 2])))
    # 0.4 is near 0, whose nearest other is at 1; 2.5 is as far from 1 as half of 3; 2.6 is nearer to 4, at 1.4 < 1.5.
    fakes = torch.tensor([[0.4], [0.6], [2.4], [2.6]], dtype=torch.float64)
    assert copied(fakes, points) == 0.75
    assert copied(fakes, torch.cat([points, points])) == 0.75
    assert math.isnan(copied(fakes, points[:1].expand(3, 1)))
    image = torch.rand(3, 2, 20, 40)
    small = thumbnails(image)
    assert small.shape == (3, 2 * 16 * 16)
    assert torch.allclose(mirrored(small, (2, 20, 40)), thumbnails(image.flip(-1)))
    assert copied(thumbnails(image.flip(-1)), small) == 0.0
    assert copied(thumbnails(image.flip(-1)), small, mirrored(thumbnails(image.flip(-1)), (2, 20, 40))) == 1.0


def test_a_sign_begins_and_ends_at_different_numbers():
    high = Sign("high", "x", begins=0.5, ends=0.4, seen="{:.1f}", means="m", remedies=(("a", "A"), ("", "B")))
    was, found = False, []
    for value in (0.3, 0.45, 0.5, 0.45, 0.41, 0.4, 0.45, 0.6):
        was = high.there({"x": value}, {}, was)
        found.append(was)
    assert found == [False, False, True, True, True, False, False, True]
    assert high.line(0.5, {"a"}) == "high: 0.5: m; try B" and high.line(0.5, ()).endswith("try A, or B")
    collapse = next(sign for sign in SIGNS if sign.name == "collapse")
    assert not any(collapse.there({"spread": 0.1}, before, False) for before in ({}, {"spread": 0.7}))
    assert collapse.there({"spread": 0.1}, {"spread": 0.4}, False) and collapse.there({"spread": 0.55}, {}, True)
    assert not collapse.there({"spread": 0.6}, {}, True) and not collapse.there({}, {}, True)


def test_a_collapse_is_said_once_in_a_run_that_is_resumed(tmp_path, capsys):
    base = copy.deepcopy(RING)
    base["game"]["generator"]["model"] = {"target": f"{__name__}:Ignores"}

    def run(steps, name, resume=False):
        folder = train(config_of(base, tmp_path, "advice.every=4", f"run.steps={steps}", f"run.name={name}"), resume)
        return folder, [line for line in capsys.readouterr().out.splitlines() if "advice:" in line]

    whole, said = run(14, "whole")
    assert len(said) == 1 and said[0].startswith("step 8: advice: collapse: samples are only 0.00 times as far apart")
    parts, again = run(10, "parts")
    assert again == said
    assert run(14, "parts", resume=True)[1] == [] and rows(parts) == rows(whole)
    assert [row["advice/collapse"] for row in rows(whole) if "advice/spread" in row] == [0.0, 1.0, 1.0]
    events = EventAccumulator(str(whole)).Reload()
    assert [e.value for e in events.Scalars("health/advice/collapse")] == [0.0, 1.0, 1.0]
    assert [e.step for e in events.Tensors("advice/collapse/text_summary")] == [8]
    silent = train(config_of(base, tmp_path, "advice=null", "run.steps=14", "run.name=silent"))
    assert "advice:" not in capsys.readouterr().out
    assert rows(silent) == [row for row in rows(whole) if "advice/spread" not in row]


def test_copies_of_training_samples_are_memorised(tmp_path):
    data = part_of_digits(slice(0, 200))
    line, row = look(tmp_path, digits_game(Copies(data.decode(data.samples))), data)
    assert row["copies"] == 1.0 and row["memorisation"] == 1.0 and "collapse: " not in line
    assert line.startswith("step 500: advice: memorisation: 100% of the samples are copies of training samples")
    others = part_of_digits(slice(200, 400))
    line, row = look(tmp_path, digits_game(Copies(others.decode(others.samples))), data)
    assert row["copies"] < 0.05 and line is None and row["spread"] == pytest.approx(1.0, abs=0.1)


def test_a_discriminator_that_knows_the_training_samples_overfits(tmp_path):
    data, held_out = part_of_digits(slice(0, 200)), part_of_digits(slice(200, 400))
    game = digits_game(Ignores(data.spec), Knows(data.decode(data.samples)))
    line, row = look(tmp_path, game, data, held_out=held_out)
    assert row["r_v"] == pytest.approx((1 + 0.5) / (1 + 1)) and row["overfitting"] == 1.0
    assert "held-out real samples have gone 75% of the way" in line and "try game.augmentations: [ada]" in line
    fair = digits_game(Ignores(data.spec), Knows(gt.data.Digits().decode(gt.data.Digits().samples)))
    line, row = look(tmp_path, fair, data, held_out=held_out)
    assert row["r_v"] == 0.0 and row["overfitting"] == 0.0
    with pytest.raises(UserError, match=r"^advice.data: expected samples \(1, 8, 8\), as those of data, got \(2,\)"):
        TrainingAdvice(game, data, 500, 0, gt.data.GaussianRing(samples=50))


def test_what_the_log_and_the_evaluation_say_counts(tmp_path):
    data = gt.data.GaussianRing(samples=500)
    spec = data.spec.unconditional()
    networks = gt.models.MLPGenerator(spec, width=4), gt.models.MLPDiscriminator(spec, width=4)
    game = gt.games.GAN(*networks, loss=gt.games.losses.Hinge())
    signs = [{"score/real_sign": 0.95, "kimg": 5.0}] * 20
    assert look(tmp_path, game, data, logged=signs[1:])[1].get("r") is None
    line, row = look(tmp_path, game, data, 501, logged=[{"score/real_sign": 0.85, "kimg": 5.0}])
    assert row["r"] == pytest.approx(0.945) and row["certainty"] == 1.0 and "copies" not in row
    assert "r, the mean of sign D(x) over training samples, is 0.94" in line or "is 0.95" in line
    low = {"precision[x]": 0.8, "recall[x]": 0.01, "memorised[x]": 0.9}
    line, row = look(tmp_path, game, data, 502, logged=[low])
    assert row["low_recall"] == 0.0 and row["low_authenticity"] == 0.0
    line, row = look(tmp_path, game, data, 503, logged=[low | {"recall[x]": 0.03}])
    assert row["low_recall"] == 1.0 and row["low_authenticity"] == 1.0
    assert "low_recall: recall is 0.030" in line and "90% of the samples are memorised" in line
    line, row = look(tmp_path, game, data, 504, logged=[low])
    assert row["low_recall"] == 1.0 and line is None


def test_a_conditional_game_is_compared_within_classes():
    digits = gt.data.Digits()
    networks = gt.models.ConvGenerator(digits.spec, width=4), gt.models.ConvDiscriminator(digits.spec, width=4)
    game = gt.games.GAN(*networks, loss=gt.games.losses.Hinge(), conditional=True)
    rows_, labels, real, of_real = TrainingAdvice(game, digits, 500, 0)._compared
    assert labels.bincount().tolist() == [8] * 10 and len(rows_) == len(real) == 80
    assert of_real < spread(thumbnails(real))


def test_held_out_data_take_over_the_keys_of_the_training_data(tmp_path):
    config = config_of(DIGITS, tmp_path, "advice.data={invert: true}", "data.limit=100")
    assert config.advice.data.invert and config.advice.data.limit is None and config.advice.every == 500
