"""Numbers that are not finite: never written, told from bad data, and left behind where the run may go back."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from cases import few
from forked import together
from tiny import DIGITS, RING, config_of, rows, same, state
from torch import Tensor

import gantrain as gt
from gantrain.commands.train import make_trainer, train
from gantrain.config.types import PositiveInt
from gantrain.data.dataset import DataSet
from gantrain.data.spec import DataSpec
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import Diverged, UserError
from gantrain.games.gan import Discriminator, Generator
from gantrain.runs import checkpoint
from gantrain.runs.divergence import read_divergence
from gantrain.train.nonfinite import not_finite
from gantrain.train.trainer import Trainer


class OneFar(DataSet):
    """Points one of which is no point, or so far away that it is marked by that."""

    def __init__(self, far: str = "nan", number: int = 77):
        points = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        points[number] = float(far)
        super().__init__(points, None, DataSpec((2,)))


class Decoded(OneFar):
    """Finite as they are stored, and NaN for the networks."""

    def __init__(self, number: int = 77):
        super().__init__("1e30", number)

    def decode(self, stored: Tensor) -> Tensor:
        return torch.where(stored == 1e30, torch.nan, stored)


class Explodes(gt.games.GAN):
    """A GAN whose losses are infinite for a number of draws."""

    def __init__(
        self, generator: Generator, discriminator: Discriminator, first: PositiveInt = 1, count: PositiveInt = 1
    ):
        super().__init__(generator, discriminator, gt.games.losses.NonSaturating())
        self.draws = range(first, first + count)

    def objective(self, player, batch):
        found = super().objective(player, batch)
        if batch.index in self.draws:
            found.loss = found.loss * math.inf
        return found


SAM = "game.discriminator.sharpness={name: sam, rho: 0.1}"
METHODS = {"plain": (), "sam": (SAM,), "rapp": ("outer={name: rapp, inner_steps: 3}",)}


def exploding(folder: Path, first: int, *overrides: str):
    """A run of 20 steps whose loss explodes at the draw ``first``; it has a checkpoint at every fifth step."""
    game = {k: v for k, v in RING["game"].items() if k not in ("name", "loss")}
    game |= {"target": f"{__name__}:Explodes", "first": first}
    return config_of(
        RING | {"game": game}, folder, "run.on_nonfinite=rollback", "log.every=1", "checkpoint.every=5", *overrides
    )


@pytest.mark.parametrize("method", few(METHODS, "rapp"))
def test_a_run_goes_back_and_on_with_other_samples(tmp_path, method, capsys, monkeypatch):
    draws = 3 if method == "rapp" else 1
    config = exploding(tmp_path, 12 * draws + 1, *METHODS[method])
    folder = train(config)
    end = state(folder)
    assert end["clock"] == {"step": 20, "outer_steps": 20, "rollbacks": 1} and not not_finite(end)
    # The step with the bad draw is the 14th, or one whose end only the 14th sees; then ten more with other samples.
    assert end["field"]["draws"] == 24 * draws
    assert [row["step"] for row in rows(folder)] == list(range(1, 21))
    assert re.search(
        r"back from step 1[34] to 10, and on with other samples \(1 of at most 3 times\)", capsys.readouterr().out
    )

    # The same in parts; the second ends as soon as the run has gone back.
    train(exploding(tmp_path, 12 * draws + 1, *METHODS[method], "run.name=parts", "run.steps=10"))
    parts = exploding(tmp_path, 12 * draws + 1, *METHODS[method], "run.name=parts")
    step = Trainer.train_step

    def dies(self, observe=False):
        if self.rollbacks:
            raise KeyboardInterrupt
        step(self, observe)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "train_step", dies)
        train(parts, resume=True)
    train(parts, resume=True)
    assert same(end, state(tmp_path / "parts")) and rows(folder) == rows(tmp_path / "parts")


def test_what_was_due_in_the_steps_that_are_lost_is_due_after_the_next(tmp_path):
    """Steps 11 to 15 are lost, and with them the multiples 384 and 480 of 96 images."""
    settings = ("log.every={kimg: 0.096}", "checkpoint.every={kimg: 0.16}", "ema.half_life_kimg=0.1")
    folder = train(exploding(tmp_path, 13, *settings))
    logged = [row["step"] for row in rows(folder) if "kimg" in row]
    assert logged == [3, 6, 9, 11, 13, 16, 19, 20]
    saved = state(folder)
    assert saved["clock"]["reached"] == [20, 25 * 32, 20] and saved["clock"]["since"] == [19, 24 * 32, 19]


def test_a_run_goes_back_at_most_so_often(tmp_path):
    config = exploding(tmp_path, 12, "game.count=1000", "run.rollbacks=2")
    with pytest.raises(UserError, match=r"^step 11: .* is (inf|nan); the training diverged.* went back 2 times"):
        train(config)
    folder = tmp_path / "ring"
    assert checkpoint.newest(folder).name == "step_10"
    # Two steps were taken up to the first bad draw, and one after each return.
    assert state(folder)["clock"]["rollbacks"] == 2 and state(folder)["field"]["draws"] == 14
    with pytest.raises(UserError, match="went back 2 times"):
        train(config, resume=True)
    with pytest.raises(UserError, match="went back 3 times"):
        train(exploding(tmp_path, 12, "game.count=1000", "run.rollbacks=3"), resume=True)


def test_before_the_first_checkpoint_a_run_goes_back_to_its_start(tmp_path):
    with pytest.raises(UserError, match="^step 1: .* went back 1 times"):
        train(exploding(tmp_path, 3, "game.count=1000", "run.rollbacks=1"))
    assert state(tmp_path / "ring", 0)["field"]["draws"] == 4


def test_numbers_that_are_not_finite_are_told_from_large_ones():
    largest = {torch.float32: 3e38, torch.float16: 6e4, torch.float64: 1e308}
    large = [torch.full((3,), value, dtype=dtype) for dtype, value in largest.items()]
    bad = [torch.tensor([1.0, math.nan]), torch.tensor([-math.inf, 1.0]), torch.tensor([math.inf, math.nan])]
    found = not_finite({"large": large, "bad": {"list": bad}, "others": [torch.zeros(0), torch.arange(3), 1.0]})
    assert list(found) == ["bad.list.0", "bad.list.1", "bad.list.2"] and found["bad.list.1"] == math.inf


def test_the_state_of_an_optimizer_that_is_not_finite_is_never_written(tmp_path):
    """With Adam's squares at infinity the weights stay as they are, finite."""
    optimizers = [f"game.{name}.optimizer={{name: adam, lr: 1.0e+8}}" for name in ("generator", "discriminator")]
    config = config_of(RING, tmp_path, *optimizers, "game.loss=wasserstein", "checkpoint.every=1")
    with pytest.raises(UserError, match=r"^step \d+: .* (holds|is) (inf|nan); the training diverged"):
        train(config)
    newest = checkpoint.newest(tmp_path / "ring")
    assert newest is None or not not_finite(state(tmp_path / "ring"))


def test_squares_that_overflow_while_the_weights_are_finite_are_found(ring, monkeypatch):
    step = Trainer.train_step

    def overflowing(self, observe=False):
        step(self, observe)
        if self.step == 7:
            next(iter(self.learners[0].optimizer.state.values()))["exp_avg_sq"].fill_(math.inf)

    monkeypatch.setattr(Trainer, "train_step", overflowing)
    with pytest.raises(UserError, match=r"^step 8: optimizer\.\w+\.state\.0\.exp_avg_sq holds inf; .* diverged"):
        train(ring("checkpoint.every=4", "log.every=1000"))


def test_bad_data_in_memory_are_refused_before_the_folder_is_written(tmp_path):
    base = RING | {"data": {"target": f"{__name__}:OneFar", "batch_size": 50}}
    for value in ("nan", "-infinity"):
        with pytest.raises(UserError, match=r"^data: sample 77 .* holds NaN or infinity"):
            train(config_of(base, tmp_path, f"data.far={value}"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("answer", ["stop", "rollback"])
def test_bad_data_that_show_only_in_a_batch_are_no_divergence(tmp_path, answer):
    base = RING | {"data": {"target": f"{__name__}:Decoded", "batch_size": 50, "number": 123}}
    with pytest.raises(UserError, match=r"^data: sample 123 .*this is no divergence$"):
        train(config_of(base, tmp_path, "run.steps=40", f"run.on_nonfinite={answer}"))


def test_a_product_that_single_precision_does_not_hold_is_a_divergence(ring, monkeypatch):
    monkeypatch.setattr(gt.outer.GDA, "step", lambda *_: torch.zeros(1).add_(torch.ones(1), alpha=1e39))
    with pytest.raises(
        Diverged, match=r"^step 0: a setting, times .*, is larger than single precision holds; the trai"
    ):
        train(ring())


def test_a_buffer_that_is_infinite_by_design_is_written(ring):
    trainer = make_trainer(ring("run.steps=4"), torch.device("cpu"))
    module = trainer.learners[0].player.module
    module.register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    again = Trainer(
        trainer.game, trainer.learners, trainer.outer, trainer.batches, trainer.settings, config=trainer.config
    )
    assert state(again.fit())["discriminator"]["mask"][0, 1] == -math.inf


def test_processes_go_back_together(tmp_path):
    first, second = together(gone_back, str(tmp_path))
    assert first == second == (20, 1)
    assert state(tmp_path / "ring")["clock"]["rollbacks"] == 1
    assert [row["step"] for row in rows(tmp_path / "ring")] == list(range(1, 21))


def gone_back(folder: str) -> tuple[int, int]:
    """The step and the number of returns of this process at the end of a run of two processes."""
    with process_group(cpu=True) as accelerator:
        trainer = make_trainer(exploding(Path(folder), 13, SAM), accelerator.device)
        trainer.fit()
        return trainer.step, trainer.rollbacks


def test_an_evaluation_beyond_its_bound_ends_the_run_which_goes_on_if_it_is_asked_to(tmp_path):
    measured = "evaluate={every: 5, metrics: [prc, isc], samples: 64, features: digits-classifier}"
    bound = "evaluate.stop_if_worse_than"
    config = config_of(DIGITS, tmp_path, measured, f"{bound}={{recall: 2}}", "run.on_nonfinite=rollback")
    found = r"step 5: recall is \S+, worse than 2 \(evaluate.stop_if_worse_than\): the run ends here as diverged"
    with pytest.raises(Diverged, match=f"^{found}"):
        train(config)
    folder = tmp_path / "digits"
    record = read_divergence(folder)
    assert record.step == 5 and re.match(found, record.reason) and checkpoint.newest(folder).name == "step_5"
    # What the evaluation has measured stays, and is not measured again. The better bound is kept.
    train(config_of(DIGITS, tmp_path, measured, f"{bound}={{recall: 0, isc: 1}}"), resume=True)
    assert read_divergence(folder) is None
    whole = train(config_of(DIGITS, tmp_path, measured, "run.name=whole"))
    assert same(state(folder), state(whole)) and rows(folder) == rows(whole)


def test_bounds_of_an_accuracy_and_several_processes(tmp_path):
    assert together(hopeless, str(tmp_path)) == ["step 4: accuracy is", "step 4: accuracy is"]
    assert read_divergence(tmp_path / "run").step == 4


def hopeless(folder):
    classifier = {
        "run": {"name": "run", "steps": 8},
        "data": {"name": "digits", "batch_size": 32},
        "game": {"name": "classification", "classifier": {"model": {"name": "mlp", "width": 8}, "optimizer": "sgd"}},
        "evaluate": {"data": {"split": "test"}, "every": 4, "stop_if_worse_than": {"loss": 100, "accuracy": 1}},
    }
    with pytest.raises(Diverged) as error:
        train(config_of(classifier, Path(folder), "game.classifier.optimizer.lr=1e-9"))
    return str(error.value)[:19]
