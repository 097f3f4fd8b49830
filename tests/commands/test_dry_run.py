"""A dry run says what a run would cost and write, and leaves nothing."""

from __future__ import annotations

import json
import tempfile
from multiprocessing.util import get_temp_dir
from pathlib import Path

import pytest
from click.testing import CliRunner
from forked import Command, hosts, until
from tiny import DIGITS, RING, config_of, write

from gantrain.cli import cli
from gantrain.commands import train
from gantrain.commands.dry_run import lines, run
from gantrain.errors import UserError
from gantrain.outer.cost import Pace
from gantrain.train import measurement
from gantrain.train.measurement import Occasion

CLASSIFIER = str(Path(__file__).parents[2] / "checkpoints" / "digits-classifier")
EVALUATE = f"evaluate={{every: 8, metrics: [fid], samples: 300, features: {CLASSIFIER}}}"


@pytest.fixture(autouse=True)
def _short_and_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(measurement, "_SECONDS", 0.0)
    (tmp_path / "tmp").mkdir()
    get_temp_dir()  # the sockets of processes lie there; below tmp_path their paths could be too long
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def listed(folder: Path) -> dict[str, int]:
    """All files and folders, but for the one that torch makes when something imports its compiler."""
    found = {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}
    return {name: changed for name, changed in found.items() if not name.startswith("tmp/torchinductor_")}


def dry(folder: Path, base: dict, *overrides: str, resume: bool = False) -> dict:
    before = listed(folder)
    report = run.dry_run(config_of(base, folder, *overrides), resume=resume)
    assert listed(folder).keys() == before.keys()
    assert {k: v for k, v in listed(folder).items() if k != "tmp"} == {k: v for k, v in before.items() if k != "tmp"}
    assert report == json.loads(lines.as_json(report))
    return report


def test_it_starts_no_tracker(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking._available_trackers", ["mlflow"])
    report = dry(tmp_path, RING, "log.to=[mlflow]", "run.steps=1", "samples=null")
    (said,) = (what for path, what in report["writes"].items() if path.endswith("metrics.jsonl"))
    assert said == "scalars, every 2 steps; they are sent to mlflow"
    assert "tensorboard" not in lines.text(report)


def test_it_names_what_is_frozen_and_taken_over(tmp_path):
    there = train.train(config_of(DIGITS, tmp_path, "run.name=a", "run.steps=1", "samples=null"))
    init = f"game.generator.init={there}"
    report = dry(tmp_path, DIGITS, init, "game.generator.freeze=dense", "run.steps=1", "samples=null")
    generator = report["players"][1]
    assert generator["init"] == f"8 of 8 tensors from {there} (step 1, ema)" and generator["frozen"] == 4 * 64
    text = lines.text(report)
    assert f"{generator['parameters']:,} parameters in ConvGenerator and 256 frozen ones; Adam" in text
    assert f"  {generator['init']}\n" in text


def test_it_shows_what_a_run_costs_and_leaves_nothing(tmp_path):
    report = dry(tmp_path, DIGITS, EVALUATE, "samples.every=5", "checkpoint={every: 6, keep: 3}", "run.steps=20")
    players = {player["name"]: player for player in report["players"]}
    assert list(players) == ["discriminator", "generator"]
    assert players["generator"]["gradient_evaluations"] == 1 and players["generator"]["optimizer"] == "Adam"
    memory = report["memory"]
    assert memory["gradients"] == 4 * sum(player["parameters"] for player in players.values())
    # Adam has two numbers and a count for each parameter; the average is of the generator alone.
    assert 2 * memory["gradients"] < memory["optimizers"] < 2.1 * memory["gradients"]
    assert 0 < memory["average"] < memory["networks"] and memory["process_before"] <= memory["process_peak"]
    times = {occasion["name"]: occasion["times"] for occasion in report["time"]["occasions"]}
    assert times == {"SampleGrid": 4, "MetricEvaluation": 3, "TrainingAdvice": 0, "checkpoint": 4}
    assert report["time"]["total"] == pytest.approx(
        report["time"]["start"] + report["time"]["steps"] + sum(o["total"] for o in report["time"]["occasions"])
    )
    (r1,) = dry(tmp_path, DIGITS, "game.penalties=[{name: r1, weight: 0.5}]", "run.steps=3")["r1"]
    assert r1["weight"] == 0.5 and r1["start"] == pytest.approx(0.0002 * 8 * 8 / 32)
    assert report["disk"]["needed"] > 6 * report["disk"]["checkpoint"] > 6 * memory["optimizers"]
    assert report["folder"]["earlier_run"] is None and str(tmp_path / "digits" / "best") in report["writes"]
    assert report["writes"][str(tmp_path / "digits" / "samples")].startswith("pictures of samples, every ")
    shown = lines.text(report)
    assert f"{tmp_path / 'digits'} is free" in shown and "1797 x 1x8x8, 115 kB, in memory; batches of 32" in shown


@pytest.mark.parametrize(
    ("overrides", "gradients", "steps"),
    [
        (["run.steps=null", "run.gradients=100", "outer=extragradient"], 2, 50),
        (["run.steps=null", "run.kimg=3.2", "outer={name: rapp, inner_steps: 4}"], 4, 25),
        (["run.steps=7", "run.gradients=100", "game.penalties=[{name: r1, every: 8}]"], 1, 7),
    ],
)
def test_steps_and_gradient_evaluations(tmp_path, overrides, gradients, steps):
    report = dry(tmp_path, RING, "samples=null", *overrides)
    assert [player["gradient_evaluations"] for player in report["players"]] == [gradients] * 2
    assert report["budget"]["total_steps"] == report["budget"]["steps_left"] == steps
    assert report["step"]["measured"] >= 3 * (8 if "penalties" in overrides[-1] else 1)


def test_a_schedule_may_be_shorter_than_the_measurement(tmp_path):
    schedule = "{name: onecyclelr, max_lr: 0.01, total_steps: 5}"
    report = dry(tmp_path, RING, "run.steps=5", f"game.generator.scheduler={schedule}", "log.every=30")
    assert report["players"][1]["scheduler"] == "OneCycleLR" and report["step"]["measured"] >= 30
    assert report["players"][1]["lr"] == pytest.approx(0.01 / 25)


def test_it_says_where_a_run_would_go_on(tmp_path):
    train.train(config_of(RING, tmp_path, "run.steps=8", "checkpoint.every=4"))
    report = dry(tmp_path, RING, "checkpoint.every=4", resume=True)
    assert "of step 8" in report["folder"]["earlier_run"] and report["folder"]["held_by"] is None
    assert (report["budget"]["steps_taken"], report["budget"]["steps_left"]) == (8, 12)
    assert report["time"]["occasions"][-1]["times"] == 3
    assert "20 steps, 8 of them taken" in lines.text(report)
    report = dry(tmp_path, RING, "run.seed=4", resume=True)
    assert "--resume would refuse: run.seed" in report["folder"]["earlier_run"]


def test_how_often_something_is_done():
    each = Occasion("SampleGrid", 5, 2.0, more_at_first=1.0)
    assert [each.times(20), each.times(21), each.times(20, after=8), each.times(20, after=20)] == [4, 5, 3, 0]
    assert (each.total(20), each.total(20, after=20)) == (9.0, 0.0)
    assert Occasion("MetricEvaluation", 5, None).total(20) == 0.0

    # By 96 images a step: steps 11 (1000 of 1056 images), 21, 32 (3072) and the last.
    each = Occasion("SampleGrid", {"kimg": 1}, 2.0, pace=Pace(96, (96,)))
    assert [each.times(32), each.times(33), each.times(33, after=11), each.times(10)] == [3, 4, 3, 1]
    assert Occasion("checkpoint", {"gradients": 3}, 1.0, pace=Pace(1, (4,))).times(10, after=4) == 6


def test_what_cannot_be_trained_is_refused_as_in_training(tmp_path):
    (tmp_path / "ring").touch()
    before = listed(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        run.dry_run(config_of(RING, tmp_path))
    with pytest.raises(UserError, match="data.batch_size: 501 samples asked for"):
        run.dry_run(config_of(RING, tmp_path, "run.name=other", "data.batch_size=501"))
    assert listed(tmp_path).keys() == before.keys()


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    report = dry(tmp_path, DIGITS, "evaluate={every: 5}")
    (missing,) = report["time"]["not_included"]
    assert missing.startswith("evaluations, whose features are not here yet (weights of")
    with pytest.raises(UserError, match="a dry run downloads nothing, gantrain train would ask"):
        run.dry_run(config_of(DIGITS, tmp_path, f"data={{name: cifar10, root: {tmp_path / 'nowhere'}}}"))


def test_an_evaluation_that_takes_long_is_not_included(tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "_LIMIT", 0.0)
    report = dry(tmp_path, DIGITS, EVALUATE, "samples=null", "advice=null")
    assert report["time"]["not_included"] == ["MetricEvaluation"]
    assert [occasion["name"] for occasion in report["time"]["occasions"] if occasion["total"]] == ["checkpoint"]
    assert "not included: MetricEvaluation" in lines.text(report)


def test_json_goes_with_a_dry_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["train", write(tmp_path, RING), "--json"])
    assert str(result.exception) == "--json goes with --dry-run; a run that trains prints its progress"


def test_two_processes_measure_together_and_the_first_reports(tmp_path):
    config = write(tmp_path, RING, "samples.every=10")
    before = {p.name for p in tmp_path.iterdir()}
    commands = hosts([tmp_path, tmp_path], "train", config, "--dry-run", "--json")
    assert [command.wait() for command in commands] == [0, 0], [command.errors for command in commands]
    assert commands[1].output == ""
    report = json.loads(commands[0].output)
    assert report["run"]["processes"] == 2 and report["data"]["batch_size"] == 32
    assert {p.name for p in tmp_path.iterdir() if p.suffix not in (".out", ".err")} == before


def test_a_signal_leaves_nothing_either(tmp_path):
    config = write(tmp_path, RING, "outer={target: slow:Slow}")
    (tmp_path / "slow.py").write_text(
        "import time\nfrom pathlib import Path\nfrom gantrain.outer import GDA\n"
        "class Slow(GDA):\n"
        "    def step(self, field):\n"
        "        Path('begun').touch()\n"
        "        while True:\n"
        "            time.sleep(0.01)\n"  # a signal just before a long sleep would wait for its end
    )
    command = Command(tmp_path, "train", config, "--dry-run", TMPDIR=str(tmp_path / "tmp"))
    until(lambda: (tmp_path / "begun").exists() or not command.running())
    assert list((tmp_path / "tmp").glob("gantrain-*"))
    command.kill(15)
    assert command.wait() == 143, command.errors
    assert not list((tmp_path / "tmp").glob("gantrain-*")) and not (tmp_path / "ring").exists()
