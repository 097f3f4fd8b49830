"""Runs from other directories than that in which they began, and runs whose data were moved or are gone."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from tiny import ADAM, RING, same, state

from gantrain.cli.group import cli
from gantrain.commands.diagnose import diagnose_run
from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.sample import sample_run
from gantrain.commands.train import train
from gantrain.config import load
from gantrain.data import Digits
from gantrain.errors import Notice, UserError
from gantrain.metrics import make_extractor
from gantrain.plotting.images import save_png
from gantrain.runs.data_record import RECORD
from gantrain.runs.folder import CONFIG
from gantrain.runs.saved import load as load_run

MOVED = "if the data have been moved, say with --data PATH where they are now"
POINTS = """
import torch
from gantrain.config.types import FilePath
from gantrain.data import DataSet, DataSpec

class Points(DataSet):
    def __init__(self, file: FilePath):
        super().__init__(torch.load(file), None, DataSpec((2,)))
"""


def config(place: str, **sections) -> dict:
    """A config of a GAN on grey images in a folder, with one step, that may be changed by sections."""
    data = {"name": "image_folder", "path": place, "channels": 1, "batch_size": 8}
    run = {"name": "run", "steps": 2, "device": "cpu", "folder": "runs"}
    return copy.deepcopy(RING) | {"data": data, "run": run, "checkpoint": {"every": 1}} | sections


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A project with photographs, and a run that a config in a subfolder describes; and its state at both steps."""
    project = tmp_path_factory.mktemp("made") / "project"
    digits = Digits()
    for label in (0, 1):
        (project / "pictures" / str(label)).mkdir(parents=True)
        for i, image in enumerate(digits.samples[digits.labels == label][:24]):
            save_png(image, project / "pictures" / str(label) / f"{i}.png")
    (project / "configs").mkdir()
    evaluate = {"every": 1, "metrics": ["fid"], "samples": 8, "features": "digits-classifier"}
    content = config("../pictures", evaluate=evaluate)
    content["game"]["conditional"] = True
    (project / "configs" / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        train(load("configs/c.yaml"))
    return project


@pytest.fixture
def project(made, tmp_path, monkeypatch) -> Path:
    """A copy of the project, all of which has been moved; the current directory is another one."""
    shutil.copytree(made, tmp_path / "project")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "project"


def lost(project: Path) -> Path:
    """The run, whose config names pictures that are gone."""
    text = (project / "runs" / "run" / CONFIG).read_text()
    (project / "runs" / "run" / CONFIG).write_text(text.replace(text.split("path: ")[1].split()[0], "/gone/pictures"))
    return project / "runs" / "run"


def sample(run: Path, **more) -> Path:
    return sample_run(str(run), 4, 0, None, None, None, False, **more)[0]


def test_a_run_goes_on_from_any_directory(made, monkeypatch, tmp_path):
    shutil.copytree(made / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    file = made / "configs" / "c.yaml"
    more = ["run.steps=3", "evaluate=null"]
    assert train(load(file, more), resume=True) == Path("runs/run")
    monkeypatch.chdir(made)
    train(load("configs/c.yaml", [*more, "run.name=whole"]))
    assert same(state(made / "runs" / "whole", 3), state(tmp_path / "runs" / "run", 3))
    monkeypatch.chdir("/")
    train(load(tmp_path / "runs" / "run" / CONFIG, ["run.steps=4"]), resume=True)
    assert (tmp_path / "runs" / "run" / "step_4").is_dir()
    (tmp_path / "runs").rename(tmp_path / "moved")
    train(load(tmp_path / "moved" / "run" / CONFIG, ["run.steps=5"]), resume=True)
    assert (tmp_path / "moved" / "run" / "step_5").is_dir() and not (tmp_path / "runs").exists()


def test_without_the_data_a_run_is_sampled_and_judged_by_others(project):
    run = lost(project)
    whole = sample(project / "runs" / "run").read_bytes()
    shutil.rmtree(project / "pictures")
    assert sample(run).read_bytes() == whole
    for need in (lambda: diagnose_run(str(run), batches=1, eigenvalues=1), lambda: evaluate_run(str(run), Request())):
        with pytest.raises(UserError) as error:
            need()
        assert str(error.value) == f"data.path: there is nothing at gone/pictures in /; {MOVED}"
    with pytest.raises(UserError, match=MOVED):
        train(load(project / "configs" / "c.yaml", [f"run.folder={project}/runs", "run.steps=3"]), resume=True)
    with pytest.raises(UserError, match="nothing at pictures in .*project$"):
        train(load(project / "configs" / "c.yaml", ["run.name=new"]))


def test_moved_data_are_named_on_the_command_line(project, tmp_path):
    run = lost(project)
    (project / "pictures").rename(tmp_path / "photographs")
    photographs = "../photographs"
    assert "dominates" in diagnose_run(str(run), batches=1, eigenvalues=1, as_json=True, data=photographs)
    assert "frechet_distance[digits-classifier]" in evaluate_run(str(run), Request(samples=8, data=photographs)).values
    there = f"run.folder={project}/runs"
    train(load(project / "configs" / "c.yaml", [there, "run.steps=3"], data=photographs), resume=True)
    found = yaml.safe_load((run / CONFIG).read_text())
    assert found["data"]["path"] == str(tmp_path / "photographs")
    assert evaluate_run(str(run), Request(samples=8)).values
    (tmp_path / "photographs" / "0" / "3.png").unlink()
    changed = "47 samples instead of 48, 0/3.png is missing"
    with pytest.raises(UserError, match=f"^--data: {changed}, compared with the data on which the run in .*runs/run"):
        diagnose_run(str(run), batches=1, eigenvalues=1, data=photographs)
    with pytest.raises(UserError, match=f"^data: {changed}"):
        train(load(project / "configs" / "c.yaml", [there, "run.steps=4"], data=photographs), resume=True)
    with pytest.raises(UserError, match=f"^--data: there is nothing at qqq in {tmp_path}; say where the training data"):
        diagnose_run(str(run), data="../qqq")


def test_other_processes_are_told_where_the_data_are(project, monkeypatch):
    started = []
    monkeypatch.setattr("gantrain.distributed.launch.launch", lambda arguments, processes: started.append(arguments))
    arguments = [
        "train",
        str(project / "configs" / "c.yaml"),
        "--processes",
        "2",
        "--data",
        "x",
        "--resume",
        "ema=null",
    ]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    (told,) = started
    options, rest = told[: told.index("--")], told[told.index("--") + 1 :]
    assert options[options.index("--data") + 1] == "x" and "--resume" in options and rest == [arguments[1], "ema=null"]


def test_a_run_of_an_earlier_version_is_opened_with_its_data(project, monkeypatch):
    run = project / "runs" / "run"
    text = (run / CONFIG).read_text()
    (run / CONFIG).write_text(text.replace(text.split("path: ")[1].split()[0], "pictures"))
    record = json.loads((run / RECORD).read_text())
    (run / RECORD).write_text(json.dumps({k: v for k, v in record.items() if k not in ("spec", "pixels")}))
    with pytest.raises(UserError, match=f"nothing at pictures in {Path.cwd()}; {MOVED}"):
        sample(run)
    assert sample(run, data=str(project / "pictures")).is_file()
    monkeypatch.chdir(project)
    assert sample(Path("runs/run")).is_file()
    train(load("configs/c.yaml", ["run.steps=3"]), resume=True)
    assert "spec" in json.loads((run / RECORD).read_text())


def test_a_damaged_record_is_none(project):
    run = project / "runs" / "run"
    record = json.loads((run / RECORD).read_text())
    form = load_run(run).form
    assert form.spec == load_run(run).data.spec and form.pixels
    for spec in (None, 3, {"shape": ["a"]}, {"shape": [1, 8, 8], "classes": True, "vocabulary": 0, "padding": None}):
        (run / RECORD).write_text(json.dumps(record | {"spec": spec}))
        with pytest.raises(UserError, match="nothing at"):
            load_run(lost(project))


@pytest.mark.slow
def test_points_are_drawn_without_data_that_are_gone(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "points_of_mine.py").write_text(POINTS)
    torch.save(torch.randn(64, 2), tmp_path / "points.pt")
    data = {"target": "points_of_mine:Points", "file": "points.pt", "batch_size": 8}
    content = config("x", data=data)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    run = train(load("c.yaml"))
    with_data = sample(run).read_bytes()
    (tmp_path / "points.pt").rename(tmp_path / "moved.pt")
    with pytest.warns(Notice, match=f"drawn without the data: data: Points raised FileNotFound.*points.pt.*; {MOVED}"):
        assert sample(run, overwrite=True).read_bytes() != with_data
    assert sample(run, data="moved.pt", overwrite=True).read_bytes() == with_data
    train(load("c.yaml", ["run.steps=3"], data="moved.pt"), resume=True)


@pytest.mark.parametrize("game", ["classification", "domain_adversarial"])
def test_a_classifier_gives_features_and_accuracy_without_its_training_data(project, tmp_path, game):
    pictures = {"name": "image_folder", "path": "../pictures", "channels": 1}
    learns = {"model": {"name": "conv", "width": 2}, "optimizer": ADAM}
    further = {"domain_classifier": {"model": {"name": "mlp", "width": 4}, "optimizer": ADAM}, "target_data": pictures}
    players = {"name": game, "classifier": learns} | (further if game == "domain_adversarial" else {})
    content = config("../pictures", game=players) | {"evaluate": {"every": 5, "data": {"validation": 0.5}}}
    del content["samples"]
    (project / "configs" / "k.yaml").write_text(yaml.safe_dump(content))
    run = train(load(project / "configs" / "k.yaml", ["run.name=k"]))
    before = evaluate_run(str(run), Request()).values
    (project / "pictures").rename(tmp_path / "photographs")
    assert make_extractor(str(run)).dimensions > 1
    with pytest.raises(UserError, match=f"nothing at pictures in .*; {MOVED}, or with --against what to compare with"):
        evaluate_run(str(run), Request())
    assert evaluate_run(str(run), Request(data=str(tmp_path / "photographs"))).values == before
    against = f"{{name: image_folder, channels: 1, path: {tmp_path / 'photographs'}, validation: 0.5}}"
    assert evaluate_run(str(run), Request(against=against)).values == before
    with pytest.raises(UserError, match=MOVED):
        diagnose_run(str(run), batches=1, eigenvalues=1)
    assert diagnose_run(str(run), batches=1, eigenvalues=1, data=str(tmp_path / "photographs"))


def test_an_archive_is_found_beside_the_config_and_missed_with_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "pictures").mkdir(parents=True)
    for i in range(8):
        Image.new("L", (8, 8), i).save(tmp_path / "configs" / "pictures" / f"{i}.png")
    archive = shutil.make_archive(str(tmp_path / "configs" / "pictures"), "zip", tmp_path / "configs" / "pictures")
    content = config("pictures.zip")
    content["data"]["name"] = "image_archive"
    (tmp_path / "configs" / "c.yaml").write_text(yaml.safe_dump(content))
    run = train(load("configs/c.yaml", ["run.steps=1"]))
    Path(archive).rename(tmp_path / "pictures.zip")
    with pytest.raises(UserError) as error:
        train(load("configs/c.yaml", ["run.name=other"]))
    assert str(error.value) == (
        f"data.path: there is nothing at pictures.zip in {tmp_path}/configs; did you mean 'pictures'?; the current "
        f"directory, {tmp_path}, has pictures.zip, but paths in a file are relative to the file, and only others to "
        "the current directory"
    )
    assert "dominates" in diagnose_run(str(run), batches=1, eigenvalues=1, as_json=True, data="pictures.zip")
