"""Checkpoints that are written while the training goes on: what waits for them, and what becomes of their errors."""

from __future__ import annotations

import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forked import SECONDS, together, until
from tiny import RING, config_of, rows, same, state

from gantrain.commands.train import train
from gantrain.errors import Misplaced, UserError
from gantrain.runs import checkpoint
from gantrain.runs.checkpoint_writer import CheckpointWriter
from gantrain.runs.monitor import Monitor
from gantrain.runs.place import Place
from gantrain.train.callbacks.metrics import MetricEvaluation
from gantrain.train.callbacks.samples import SampleGrid
from gantrain.train.trainer import Trainer

FULL = UserError("step_5.tmp/ema.safetensors: cannot be written: No space left on device")


def after_each_step(monkeypatch, act):
    """Call ``act(trainer)`` after each step."""
    step = Trainer.train_step

    def followed(trainer, *arguments, **keywords):
        step(trainer, *arguments, **keywords)
        act(trainer)

    monkeypatch.setattr(Trainer, "train_step", followed)


def before_each_write(monkeypatch, act):
    """Call ``act(step)`` before each checkpoint is written."""
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *arguments: (act(arguments[1]), save(*arguments)))


def test_steps_are_taken_meanwhile_and_are_not_part_of_it(ring, monkeypatch, tmp_path):
    further, written = threading.Event(), []
    with monkeypatch.context() as patched:
        after_each_step(patched, lambda trainer: further.set() if trainer.step == 8 else None)
        before_each_write(patched, lambda step: written.append((step, further.wait(SECONDS))))
        folder = train(ring("checkpoint={every: 5, keep: 10}"))
    assert written == [(step, True) for step in (5, 10, 15, 20)]
    straight = train(ring("checkpoint={every: 5, keep: 10}", "run.name=straight"))
    for step in (5, 10, 15, 20):
        assert same(state(folder, step), state(straight, step))
    for step in (10, 15, 20):
        shutil.rmtree(folder / f"step_{step}")
    assert same(state(train(ring("checkpoint.every=5"), resume=True)), state(straight))
    assert rows(folder) == rows(straight)


@pytest.mark.parametrize(("broken", "last"), [(5, 7), (20, 20)])
def test_one_that_cannot_be_written_stops_the_run_at_the_next_step_or_at_its_end(ring, monkeypatch, broken, last):
    taken, further = [], threading.Event()

    def took(trainer):
        taken.append(trainer.step)
        if trainer.step == 7:
            further.set()
        while trainer.step == 7 and broken == 5 and not trainer.writer.failed:
            pass

    def fail(step):
        if step == broken:
            further.wait(SECONDS)
            raise FULL

    with monkeypatch.context() as patched:
        after_each_step(patched, took)
        before_each_write(patched, fail)
        with pytest.raises(UserError, match=f"^{FULL}$"):
            train(ring("checkpoint.every=5"))
    assert taken[-1] == last
    folder = train(ring("checkpoint.every=5"), resume=True)
    straight = train(ring("run.name=straight"))
    assert same(state(folder), state(straight)) and rows(folder) == rows(straight)


def failing(folder: str) -> tuple[str, int]:
    """A run that this process shares with another, whose first checkpoint cannot be written; its error and its step."""
    steps = []

    def fail(step):
        raise FULL

    with pytest.MonkeyPatch.context() as patched:
        after_each_step(patched, lambda trainer: steps.append(trainer.step))
        before_each_write(patched, fail)
        with pytest.raises(UserError) as caught:
            train(config_of(RING, Path(folder), "run.steps=1000000", "checkpoint.every=3"))
    return str(caught.value), steps[-1]


def test_one_that_cannot_be_written_stops_all_processes_at_the_same_step(tmp_path):
    (first, step), second = together(failing, str(tmp_path))
    assert first == str(FULL) and (first, step) == second


def test_callbacks_find_the_checkpoints_before_them(ring, monkeypatch):
    waited, wait = threading.Event(), CheckpointWriter.wait

    def told(writer):
        waited.set()
        wait(writer)

    monkeypatch.setattr(CheckpointWriter, "wait", told)
    before_each_write(monkeypatch, lambda step: step != 4 or waited.wait(SECONDS))
    after_each_step(monkeypatch, lambda trainer: waited.clear() if trainer.step == 3 else None)
    found = {}

    def look(self, folder, monitor, step, network):
        found[step] = sorted(path.name for path in folder.glob("step_*"))

    monkeypatch.setattr(SampleGrid, "run", look)
    train(ring("run.steps=8", "samples.every=6", "checkpoint={every: 4, keep: 2}"))
    assert found == {6: ["step_4"], 8: ["step_4"]}


def test_a_run_whose_folder_is_deleted_meanwhile_ends_with_a_line(ring, monkeypatch, tmp_path):
    write_file, deleted = checkpoint.write_file, []

    def delete(path, content):
        if path.name == "state.json" and not deleted:
            deleted.append(path)
            _deleted(tmp_path / "ring")
        write_file(path, content)

    monkeypatch.setattr(checkpoint, "write_file", delete)
    with pytest.raises(Misplaced, match="ring: was deleted while the run trained, so the run ends here$"):
        train(ring("checkpoint.every=5"))
    assert not (tmp_path / "ring").exists()


def _deleted(run: Path) -> None:
    while run.exists():  # a checkpoint may be in work
        shutil.rmtree(run, ignore_errors=True)


def losing(folder: str) -> tuple[str, int]:
    """A run that this process shares with another, whose folder is deleted at step 5; its error and its step."""
    steps = []

    def took(trainer):
        steps.append(trainer.step)
        if trainer.step == 5 and trainer.main:
            _deleted(Path(folder) / "ring")

    with pytest.MonkeyPatch.context() as patched:
        after_each_step(patched, took)
        with pytest.raises(Misplaced) as caught:
            train(config_of(RING, Path(folder), "run.steps=1000000", "log.every=4"))
    assert caught.value.shared
    return str(caught.value), steps[-1]


def test_a_folder_that_is_deleted_stops_all_processes_at_the_same_step(tmp_path):
    first, second = together(losing, str(tmp_path))
    assert first == second and first[1] == 8 and "was deleted while the run trained" in first[0]
    assert not (tmp_path / "ring").exists()


def _moved(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))


def _replaced(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))
    run.mkdir()
    (run / "config.yaml").write_text("of somebody else")


def _copied(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))
    shutil.copytree(run.with_name("elsewhere"), run)


def _emptied(run: Path) -> None:
    for entry in run.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


# Where the folder is taken away: the place in the code that is called for it next, and how often it is called before.
MOMENTS = {
    "before a step": ("train_step", 3),
    "before a row": ("monitor", 3),
    "before samples": ("samples", 1),
    "in an evaluation": ("evaluation", 1),
    "before a checkpoint": ("save", 1),
    "in a checkpoint": ("write_file", 5),
    "before the end": ("finish", 0),
}


@pytest.mark.filterwarnings("ignore::gantrain.errors.Notice")  # that so few samples say little
@pytest.mark.parametrize(
    ("take", "moment"),
    [
        (_deleted, "in an evaluation"),
        (_deleted, "in a checkpoint"),
        (_moved, "before a row"),
        *(pytest.param(take, each, marks=pytest.mark.slow) for take in (_deleted, _moved) for each in MOMENTS),
        *(pytest.param(take, "before a step", marks=pytest.mark.slow) for take in (_replaced, _copied, _emptied)),
    ],
)
def test_a_run_whose_folder_is_taken_away_ends_with_a_line_and_writes_nothing_there(
    digits, monkeypatch, tmp_path, take, moment
):
    run, (place, calls) = tmp_path / "digits", MOMENTS[moment]
    owner, name = {
        "train_step": (Trainer, "train_step"),
        "monitor": (Monitor, "scalars"),
        "samples": (SampleGrid, "run"),
        "evaluation": (MetricEvaluation, "run"),
        "save": (checkpoint, "save"),
        "write_file": (checkpoint, "write_file"),
        "finish": (Monitor, "finish"),
    }[place]
    original, left = getattr(owner, name), []

    def everything() -> set[Path]:
        return {path.relative_to(run) for path in run.rglob("*")} - {Path("lock")}

    def called(*arguments, **keywords):
        if len(left) == calls:
            take(run)
            left.append(everything())
        elif len(left) < calls:
            left.append(None)
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, called)
    evaluate = "evaluate={every: 4, metrics: [fid], samples: 64, features: digits-classifier}"
    with pytest.raises(Misplaced) as caught:
        train(digits("checkpoint.every=5", "samples.every=3", evaluate, "run.on_error=warn"))
    what = {"_emptied": "deleted", "_deleted": "deleted"}.get(take.__name__, rf"moved to {tmp_path}/elsewhere")
    assert re.fullmatch(rf"{run}: was {what} while the run trained, so the run ends here.*", str(caught.value))
    assert everything() == left[-1]


@pytest.mark.parametrize("every", [5, 1])
def test_a_write_that_failed_while_the_folder_was_deleted_is_explained_by_that(ring, tmp_path, monkeypatch, every):
    def fail(step):
        if step == 5:
            raise FULL

    def take(trainer):
        if trainer.step == 6:
            until(lambda: trainer.writer.failed)
            _deleted(tmp_path / "ring")

    before_each_write(monkeypatch, fail)
    after_each_step(monkeypatch, take)
    with pytest.raises(Misplaced, match="ring: was deleted while the run trained, so the run ends here"):
        train(ring(f"checkpoint.every={every}"))
    assert {path.name for path in tmp_path.iterdir()} <= {"ring"}


def test_threads_that_look_for_the_folder_at_the_same_time_find_it(tmp_path):
    (tmp_path / "config.yaml").touch()
    with Place(tmp_path) as place, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: place.require(), range(4000)))
