"""The list of runs: every state of a run, also of a damaged one, without torch, waiting or code of the config."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from tiny import RING, config_of

import gantrain as gt
from gantrain.cli import cli
from gantrain.commands import train
from gantrain.commands.list_runs import as_json, list_runs, table
from gantrain.commands.sweep import PlannedRun, is_finished
from gantrain.errors import UserError
from gantrain.runs.folder import RESOLVED_CONFIG as MARK
from gantrain.runs.last_rows import LastRows
from gantrain.runs.lock import LOCK, RunLock
from gantrain.runs.summary import Summary, summarise


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of a classifier that is finished after 8 steps, with checkpoints of steps 4 and 8 and its accuracy."""
    folder = tmp_path_factory.mktemp("trained")
    classifier = {
        "run": {"name": "run", "steps": 8},
        "data": {"name": "digits", "batch_size": 32},
        "game": {"name": "classification", "classifier": {"model": {"name": "mlp", "width": 8}, "optimizer": "sgd"}},
        "evaluate": {"data": {"split": "test"}, "every": 2},
        "log": {"every": 2},
        "checkpoint": {"every": 4},
    }
    return train.train(config_of(classifier, folder, "game.classifier.optimizer.lr=0.5"))


@pytest.fixture
def run(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "run"))


def change(run: Path, old: str, new: str) -> None:
    config = run / "config.yaml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new))


def one(run: Path) -> Summary:
    (found,) = list_runs([run.parent])
    assert found.folder == run and "\n" not in found.note
    return found


def test_a_finished_run_with_its_best_and_last_value(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracies = {row["step"]: row["validation/accuracy"] for row in rows if "validation/accuracy" in row}
    found = one(run)
    assert (found.state, found.step, found.steps, found.done, found.holder, found.note) == ("finished", 8, 8, 1, "", "")
    assert found.metric == "validation/accuracy" and found.higher_is_better
    assert found.best == max(accuracies.values()) and accuracies[found.best_step] == found.best
    assert found.last == accuracies[8] and found.seconds == rows[-1]["time"]
    head, line = table([found]).splitlines()
    assert head.split() == ["run", "state", "step", "best", "last", "time", "changed"]
    assert f"{run}  finished  8/8 100%  validation/accuracy {found.best:.4g} at {found.best_step}" in line


def test_a_run_that_can_go_on_and_one_that_was_never_saved(run):
    change(run, "steps: 8", "steps: 16")
    found = one(run)
    assert (found.state, found.step, found.done) == ("stopped", 8, 0.5)
    change(run, "steps: 16", "steps: null")
    change(run, "gradients: null", "gradients: 80")
    assert (one(run).state, one(run).done, one(run).steps) == ("stopped", 0.1, None)
    for path in run.glob("step_*"):
        shutil.rmtree(path)
    with (run / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 9, "ti')  # the line that a killed process was writing
    assert (one(run).state, one(run).step) == ("not saved", 8)


def test_the_same_runs_are_finished_for_a_sweep(run):
    config = config_of(RING, run.parent, "run.name=run", "run.steps=8", "data.batch_size=32")
    assert is_finished(PlannedRun(config, ())) and one(run).state == "finished"
    longer = config.model_copy(update={"run": config.run.model_copy(update={"steps": 9})})
    change(run, "steps: 8", "steps: 9")
    assert not is_finished(PlannedRun(longer, ())) and one(run).state == "stopped"


def test_a_run_that_is_training(run):
    with (run / "metrics.jsonl").open("a") as rows:
        rows.write('{"step": 10, "time": 99.0, "gradients/classifier": 10, "kimg": 0.32}\n')
    change(run, "steps: 8", "steps: 20")
    with RunLock(run):
        found = one(run)
        assert (found.state, found.step, found.done, found.seconds) == ("running", 10, 0.5, 99.0)
        assert found.holder.startswith(f"process {os.getpid()} on ")
        lock = json.loads((run / LOCK).read_text())
        held = (run / LOCK).read_text()
        (run / LOCK).write_text(json.dumps(lock | {"host": "elsewhere", "boot": "another"}))
        found = one(run)
        assert (found.state, found.holder) == ("running?", f"process {os.getpid()} on elsewhere")
        (run / LOCK).write_text(json.dumps(lock | {"process": 2**22 + 1}))
        assert (one(run).state, one(run).step) == ("stopped", 8)
        (run / LOCK).write_text(held)


@pytest.mark.parametrize(
    ("file", "content", "state", "note"),
    [
        ("config.yaml", None, "finished", "config.yaml: lost; --resume takes the copy in step_8"),
        ("config.yaml", f"{MARK}\nrun: [\n", "damaged", "config.yaml"),
        (
            "config.yaml",
            f"{MARK}\nrun: {{name: run}}\n",
            "damaged",
            "config.yaml: run: ",
        ),
        ("config.yaml", f"{MARK}\n", "damaged", "config.yaml: expected a mapping"),
        ("config.yaml", "run: [", "damaged", "config.yaml: is not what gantrain wrote"),
        ("metrics.jsonl", "not json\n", "damaged", "metrics.jsonl: one of its lines is not valid JSON"),
        ("metrics.jsonl", "[1]\n", "damaged", "metrics.jsonl: one of its lines is not a row of metrics"),
        ("metrics.jsonl", "", "finished", ""),
        ("metrics.jsonl", None, "finished", ""),
        ("step_8/state.json", "{}", "stopped", "step_8/state.json: damaged"),
        ("step_8/manifest.json", None, "stopped", "step_8/manifest.json: missing"),
        ("step_8/classifier.safetensors", None, "stopped", "step_8/classifier.safetensors: missing"),
        ("deleted.tmp", MARK, "being deleted", "its deletion was interrupted"),
        ("lock", "not a lock", "running?", ""),
    ],
)
def test_a_run_of_which_something_is_damaged(run, file, content, state, note):
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_text(content)
    found = one(run)
    assert found.state == state and note in found.note and str(run) not in found.note
    assert bool(found.note) == bool(note) and (f"{run}: {found.note}" in table([found])) == bool(note)


def test_a_run_none_of_whose_checkpoints_is_whole(run):
    for path in run.glob("step_*/state.json"):
        path.write_text("{}")
    assert (one(run).state, one(run).note[:16]) == ("damaged", "step_8/state.jso")


def test_what_is_no_file_is_neither_read_nor_waited_for(run):
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    assert one(run).state == "damaged" and "metrics.jsonl: cannot be read" in one(run).note
    (run / LOCK).mkdir()
    assert one(run).state == "damaged" and "lock" in one(run).note


def test_runs_are_found_in_sweeps_and_behind_links_each_once_and_in_order(run):
    runs = run.parent
    for seed in (2, 10, 1):
        shutil.copytree(run, runs / "sweep" / f"outer=gda,seed={seed}")
    (runs / "sweep" / "around").symlink_to(runs)
    (runs / "again").symlink_to(run)
    (runs / ".hidden").mkdir()
    shutil.copytree(run, runs / ".hidden" / "run")
    (runs / "notes").mkdir()
    (runs / "notes" / "config.yaml").write_text("mine: true\n")
    found = [str(summary.folder.relative_to(runs)) for summary in list_runs([runs])]
    assert found == ["again", *(f"sweep/outer=gda,seed={seed}" for seed in (1, 2, 10))]
    assert len(list_runs([run, runs / "sweep", run])) == 4
    os.utime(runs / "sweep" / "outer=gda,seed=10" / "metrics.jsonl", (2**31, 2**31))
    assert list_runs([runs], sort="changed")[-1].folder.name == "outer=gda,seed=10"
    assert [entry["state"] for entry in json.loads(as_json(list_runs([runs])))] == ["finished"] * 4


def test_a_run_that_was_built_in_python_and_code_of_others(tmp_path):
    spec = gt.data.GaussianRing().spec.unconditional()
    game = gt.games.GAN(
        gt.models.MLPGenerator(spec, width=8, latent_dim=4),
        gt.models.MLPDiscriminator(spec, width=8),
        loss=gt.games.losses.Minimax(),
    )
    learners = [gt.Learner(p, torch.optim.SGD(p.parameters, lr=0.1)) for p in game.players.values()]
    batches = gt.data.Batches(gt.data.GaussianRing(), batch_size=16, seed=0)
    run = gt.Run(name="python", folder=str(tmp_path), steps=2)
    folder = gt.Trainer(game, learners, gt.outer.GDA(), batches, run, log=gt.Log(every=1)).fit()
    assert (one(folder).state, one(folder).step, one(folder).best) == ("finished", 2, None)
    (tmp_path / "received").mkdir()
    (tmp_path / "received" / "config.yaml").write_text(
        f"{MARK}\nrun: {{name: received, steps: 3}}\ngame: {{target: 'nowhere:Game'}}\n"
    )
    assert summarise(tmp_path / "received").state == "not saved"


def test_before_the_first_run_a_line_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "no runs in checkpoints yet; to make one: gantrain train configs/quickstart.yaml\n"
    named = CliRunner().invoke(cli, ["list", "checkpoints"])
    assert isinstance(named.exception, UserError) and "there is nothing at checkpoints" in str(named.exception)
    for make in (lambda: None, Path("checkpoints").mkdir):
        make()
        result = CliRunner().invoke(cli, ["list"])
        assert (result.exit_code, result.output) == (0, line)
        assert CliRunner().invoke(cli, ["list", "--json"]).output == "[]\n"
    assert CliRunner().invoke(cli, ["list", "checkpoints"]).output == "no runs in checkpoints\n"


def test_the_command(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    result = CliRunner().invoke(cli, ["list", "."])
    assert result.exit_code == 0 and result.output.splitlines()[1].startswith("run  finished  8/8 100%")
    for folder, said in (
        ("run/sample", "there is nothing at sample in .*/run; expected a folder"),
        ("run/config.yaml", "no folder"),
    ):
        result = CliRunner().invoke(cli, ["list", folder])
        assert isinstance(result.exception, UserError) and re.match(f"{folder}: .*{said}", str(result.exception))
    (run.parent / "empty").mkdir()
    assert CliRunner().invoke(cli, ["list", "empty"]).output == "no runs in empty\n"
    (entry,) = json.loads(CliRunner().invoke(cli, ["list", "--json", "run"]).output)
    assert entry["folder"] == "run" and entry["state"] == "finished"


def test_single_rows_of_a_long_log(tmp_path):
    rows = [
        {"step": step, "time": step / 10} | ({"fid": float(step)} if step % 100 == 0 else {}) for step in range(950)
    ]
    rows += [{"step": 950, "time": 95.0, "fid": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 951, "fid": 1')
    found = LastRows(tmp_path)
    assert found.last()["step"] == 950 and found.value("fid") == 900.0
    assert found.value("fid", 300) == 300.0 and found.value("fid", 310) is None and found.value("kid") is None
    assert LastRows(tmp_path / "nowhere").last() is None
