"""Rows of the log at trackers: each once, in order, and none that the run takes back."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import PartialState
from accelerate.tracking import GeneralTracker
from pydantic import ValidationError
from tiny import RING, back_to, config_of

import gantrain as gt
from gantrain.commands.train import train
from gantrain.config.base import lines
from gantrain.errors import Notice, UserError
from gantrain.runs.monitor import Monitor
from gantrain.runs.trackers import MLflow, WandB
from gantrain.runs.tracking import Trackers

EVERY = ("log.every=2", "checkpoint.every=6", "samples={every: 6, count: 4}")


class Fake(GeneralTracker):
    """Keeps what it is given in a file, and fails while there is a file that says so."""

    name = "fake"
    requires_logging_directory = False
    run_id = None

    def __init__(self, run_name: str, path: str):
        super().__init__()
        self.run_name, self.path = run_name, Path(path)

    @property
    def tracker(self):
        return None

    def start(self):
        self.given("start", self.run_id)
        self.run_id = self.run_id or "first"

    def store_init_configuration(self, values):
        self.given("config", values["run.name"], values["game.generator.optimizer.betas"])

    def log(self, values, step=None, **kwargs):
        if self.path.with_suffix(".down").exists():
            raise ConnectionError("no\nserver")
        self.given("row", {"step": step, **values})

    def finish(self):
        self.given("finish")

    def given(self, *what):
        with self.path.open("a") as stream:
            stream.write(json.dumps(what) + "\n")


class Pictures(Fake):
    def log_images(self, values, step=None, **kwargs):
        self.given("image", step, {name: [list(each.shape) for each in images] for name, images in values.items()})


@pytest.fixture(autouse=True)
def _without_a_state_of_accelerates():
    yield
    PartialState._reset_state()


@pytest.fixture
def fake(tmp_path):
    """The config of a tracked run with more overrides, and what the tracker was given."""
    path = tmp_path / "fake.jsonl"

    def configured(*overrides: str, kind: str = "Fake"):
        to = f"log.to=[{{target: '{__name__}:{kind}', path: {path}}}]"
        return config_of(RING, tmp_path, to, *EVERY, *overrides)

    def given(kind: str = "row"):
        lines = map(json.loads, path.read_text().splitlines())
        return [what[0] if len(what) == 1 else what for name, *what in lines if name == kind]

    return SimpleNamespace(config=configured, given=given, down=path.with_suffix(".down"))


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_tracker_is_given_the_rows_of_the_log(fake):
    folder = train(fake.config("evaluate=null"))
    assert fake.given() == logged(folder) and [row["step"] for row in fake.given()] == list(range(2, 21, 2))
    assert fake.given("config") == [["ring", "[0.0, 0.9]"]] and fake.given("finish") == [[]]
    assert not list(folder.glob("events.*")) and not fake.given("image")


def test_a_tracker_that_takes_pictures_is_given_them_in_order(fake):
    folder = train(fake.config(kind="Pictures"))
    assert [step for step, _ in fake.given("image")] == [6, 12, 18, 20]
    assert list(fake.given("image")[0][1]) == ["samples"] and fake.given() == logged(folder)


def test_a_run_that_goes_on_sends_what_is_missing(fake, kept=6):
    folder = train(fake.config("run.steps=12", "checkpoint.keep=9"))
    back_to(folder, kept)
    before = len(fake.given())
    train(fake.config("run.steps=20", "checkpoint.keep=9"), resume=True)
    resent = [row for row in fake.given()[:before] if row["step"] > kept]
    assert fake.given()[before:] == logged(folder)[before - len(resent) :]
    assert fake.given("start") == [None, "first"] and len(fake.given("config")) == 1


def test_a_killed_run_has_sent_no_row_that_it_takes_back(fake, monkeypatch):
    real = gt.Trainer.train_step

    def dies(self, observe=False):
        if self.step == 11:
            self.writer.wait()  # the checkpoint of step 6 is on the disk
            raise KeyboardInterrupt
        real(self, observe)

    monkeypatch.setattr(gt.Trainer, "train_step", dies)
    with pytest.raises(KeyboardInterrupt):
        train(fake.config())
    assert {row["step"] for row in fake.given()} <= {2, 4, 6}
    monkeypatch.undo()
    folder = train(fake.config("log.every=3"), resume=True)
    assert fake.given() == logged(folder) and [row["step"] for row in fake.given()] == [2, 4, 6, *range(9, 19, 3), 20]


def test_a_rollback_takes_no_row_back_that_was_sent(fake, monkeypatch):
    real, done = gt.Trainer.train_step, []

    def explodes(self, observe=False):
        real(self, observe)
        if self.step == 10 and not done:
            done.append(True)
            with torch.no_grad():
                self.learners[0].parameters[0].fill_(float("nan"))

    monkeypatch.setattr(gt.Trainer, "train_step", explodes)
    folder = train(fake.config("run.on_nonfinite=rollback", "run.steps=16"))
    assert done and fake.given() == logged(folder)


def test_a_tracker_that_fails_costs_no_training(fake):
    fake.down.touch()
    expected = r"^step \d+: the log: log.to.0: Fake raised ConnectionError: no server \(test_tracking.py:\d+\); the"
    with pytest.raises(UserError, match=f"{expected} checkpoint of this step is written"):
        train(fake.config())
    with pytest.warns(Notice, match=f"{expected} run goes on"):
        train(fake.config("run.on_error=warn"), resume=True)
    assert fake.given() == []
    fake.down.unlink()
    folder = train(fake.config("run.steps=22"), resume=True)
    assert fake.given() == logged(folder)


def test_a_tracker_that_comes_later_is_given_all_rows(fake, tmp_path):
    folder = train(config_of(RING, tmp_path, *EVERY, "run.steps=12"))
    assert len(list(folder.glob("events.*"))) == 1 and not (folder / "trackers.json").exists()
    train(fake.config("run.steps=20"), resume=True)
    assert fake.given() == logged(folder) and len(list(folder.glob("events.*"))) == 1


def test_nothing_but_the_log_is_written_where_nothing_is_asked_for(tmp_path):
    folder = train(config_of(RING, tmp_path, "log.to=[]", "run.steps=2"))
    assert logged(folder) and not list(folder.glob("events.*"))


def test_what_is_not_finite_is_a_number_to_trackers(tmp_path):
    trackers = Trackers([tracker := Fake("a", tmp_path / "fake.jsonl")], tmp_path)
    trackers.start({"run": {"name": "a"}, "game": {"generator": {"optimizer": {"betas": [0, 1]}}}})
    with Monitor(tmp_path, {}, events=False, trackers=trackers) as monitor:
        monitor.scalars(1, {"fid": float("inf")})
    trackers.safe = trackers.count
    trackers.send()
    trackers.finish()
    (row,) = [what for kind, *what in map(json.loads, tracker.path.read_text().splitlines()) if kind == "row"]
    assert row[0]["fid"] != row[0]["fid"]


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("wand", r"expected one of tensorboard, wandb, mlflow, .* got 'wand'; did you mean 'wandb'\?"),
        ("[wandb, wandb]", "wandb is named twice"),
        ("[{name: wandb, projct: a}]", r"unknown key; expected one of name, project, .*; did you mean 'project'\?"),
    ],
)
def test_a_wrong_tracker_is_named(tmp_path, to, said):
    with pytest.raises(ValidationError) as refused:
        config_of(RING, tmp_path, f"log.to={to}")
    ((_, what),) = lines(refused.value, {"log": {"to": []}})
    assert re.search(said, what)


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", [])
    with pytest.raises(UserError, match="^log.to.0: the package mlflow is not installed; run pip install mlflow$"):
        train(config_of(RING, tmp_path, "log.to=mlflow"))
    assert not (tmp_path / "ring").exists()


def test_what_is_no_tracker_is_refused(tmp_path):
    with pytest.raises(UserError, match="^log.to.0: expected a tracker, an instance of accelerate.tracking.GeneralTr"):
        Trackers([object()], tmp_path)


def test_wandb_goes_on_with_its_run(tmp_path, monkeypatch):
    begun, told = [], []
    run = SimpleNamespace(log=lambda values, step: told.append((step, values)), finish=lambda: None)
    config = SimpleNamespace(update=lambda values, allow_val_change: told.append(values))
    wandb = SimpleNamespace(init=lambda **how: begun.append(how) or run, config=config)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    rows = [{"step": 1, "time": 0.5, "fid": 3.0}, {"step": 2, "time": 0.6, "fid": 2.0}]
    for number in (1, 2):
        trackers = Trackers([WandB("a", str(tmp_path), project="cats", mode="offline")], tmp_path)
        trackers.start({"run": {"name": "a"}})
        trackers.take_up(rows[:number])
        trackers.send()
        trackers.finish()
    assert told == [{"run.name": "a"}, (1, {"time": 0.5, "fid": 3.0}), (2, {"time": 0.6, "fid": 2.0})]
    assert begun[0] == begun[1] and len(begun[0]["id"]) == 12 and begun[0]["resume"] == "allow"
    assert begun[0]["project"] == "cats" and begun[0]["name"] == "a" and begun[0]["dir"] == str(tmp_path)


def test_mlflow_is_given_names_that_it_takes(monkeypatch):
    found = {}
    mlflow = SimpleNamespace(log_metrics=lambda values, step: found.update(values, step=step))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    MLflow("a").log({"accuracy[ema]": 0.5, "fid[digits-classifier, ema]": 1.0, "loss/generator": 2.0}, step=3)
    assert found == {"accuracy.ema": 0.5, "fid.digits-classifier. ema": 1.0, "loss/generator": 2.0, "step": 3}
