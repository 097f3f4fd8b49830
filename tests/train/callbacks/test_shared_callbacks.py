"""The processes share validation and diagnosis, and find what one process finds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forked import together
from image_sets import CLASSIFICATION, game
from tiny import DIGITS, RING, config_of, rows
from torch import nn

from gantrain.commands.train import train
from gantrain.config.sections import Diagnose
from gantrain.data import Digits
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.train.callbacks import AccuracyEvaluation, GameDiagnosis

DIAGNOSE = "diagnose={every: 2, batches: 1, eigenvalues: 1}"


class Counting(nn.Module):
    """A network that counts its samples, and fails at a sample where it is told to."""

    def __init__(self, fails: bool = False):
        super().__init__()
        torch.manual_seed(3)
        self.network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
        self.seen, self.fails = 0, fails

    def forward(self, x):
        self.seen += len(x)
        if self.fails:
            raise UserError("no such layer")
        return self.network(x)


def brighter(network, batch):
    """An attack that takes random numbers of the batch."""
    return batch.real + 0.1 * batch.uniform("noise", *batch.real.shape[1:])


def validated(processes: Processes | None = None):
    data, network = Digits(split="test"), Counting()
    evaluation = AccuracyEvaluation(data, 1, chunk=50, attacks={"noise": brighter}, scores=["f1"])
    return evaluation.measure(network, processes), network.seen


def diagnosed(processes: Processes | None = None):
    section = Diagnose(batches=2, eigenvalues=2)
    return GameDiagnosis(game(), Digits(), section, 16, seed=0).measure(processes=processes).as_dict()


def runs(folder: Path) -> tuple[dict, dict]:
    """The last rows of a run that is diagnosed and of one that is validated."""
    diagnosed = train(config_of(RING, folder, "run.steps=2", DIAGNOSE))
    validation = "evaluate={every: 2, data: {name: digits, split: test}}"
    validated = train(config_of(CLASSIFICATION, folder, "run.steps=2", validation))
    return rows(diagnosed)[-1], rows(validated)[-1]


def statistics(folder: Path) -> list[float]:
    """What a callback of all processes sees of the running statistics, of which each process has its own."""
    seen = []

    def look(self, *_):
        seen.extend(b.double().sum().item() for p in self.game.players.values() for b in p.module.buffers())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GameDiagnosis, "run", look)
        train(config_of(DIGITS, folder, "run.batch_norm=local", "run.steps=2", DIAGNOSE))
    return seen


def in_a_process(folder):
    with process_group(cpu=True):
        processes = Processes.launched()
        network = Counting(fails=processes.rank == 1)
        try:
            AccuracyEvaluation(Digits(split="test"), 1, chunk=50).measure(network, processes)
        except UserError as error:
            said = str(error)
        found = validated(processes), diagnosed(processes), said
    return *found, runs(folder), statistics(folder)


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_find_what_one_finds(tmp_path, world):
    answers = together(in_a_process, tmp_path / "shared", world=world)
    (values, seen), diagnosis = validated(), diagnosed()
    for (found, _), same, said, *_ in answers:
        assert found == values and said.endswith("no such layer") and "process 1" in said
        assert same.keys() == diagnosis.keys() and same["products"] == diagnosis["products"]
        for name, numbers in diagnosis["batches"].items():
            assert same["batches"][name] == pytest.approx(numbers, rel=1e-5), name
        for name, ends in diagnosis["hessians"].items():
            assert same["hessians"][name] == pytest.approx(ends, rel=1e-4, abs=1e-6), name
    shares = [share for (_, share), *_ in answers]
    assert sum(shares) == seen and max(shares) < seen
    assert len({tuple(answer[4]) for answer in answers}) == 1
    alone = runs(tmp_path / "alone")
    for one, shared in zip(alone, answers[0][3], strict=True):
        assert one.keys() == shared.keys()
        for name in (name for name in one if name.startswith(("diagnose/", "validation/"))):
            assert shared[name] == pytest.approx(one[name], rel=1e-2, abs=1e-4), name
