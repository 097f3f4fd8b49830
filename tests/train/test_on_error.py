"""Errors beside the training: evaluations, pictures and logs that fail cost no training."""

from __future__ import annotations

import pytest
from cases import few
from tiny import RING, config_of, rows, same, state

from gantrain.commands.train import train
from gantrain.errors import Notice, UserError
from gantrain.runs import checkpoint
from gantrain.runs.monitor import Monitor
from gantrain.train.callbacks.base import Result
from gantrain.train.callbacks.samples import SampleGrid


@pytest.fixture
def fails(monkeypatch):
    """Makes the grids of samples raise an error until it is taken back."""

    def make(error: Exception | None) -> None:
        def run(self, folder, monitor, step, network):
            if error is not None:
                raise error
            monitor.scalars(step, {"grid": step})
            return Result("grid", "grid", -step)

        monkeypatch.setattr(SampleGrid, "run", run)

    return make


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("evaluate: no such network"), "evaluate: no such network"),
        (ZeroDivisionError("no\nreason"), r"ZeroDivisionError: no reason \(test_on_error.py:\d+\)"),
        (OSError(28, "No space left on device", "grid.png"), "grid.png: No space left on device"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_callback_that_fails_leaves_a_checkpoint(ring, tmp_path, fails, error, said):
    fails(error)
    with pytest.raises(
        UserError, match=rf"^step 6: SampleGrid: {said}; the checkpoint of this step is written.* run.on_error=warn"
    ):
        train(ring("samples.every=6"))
    assert checkpoint.newest(tmp_path / "ring").name == "step_6"


def test_a_callback_that_failed_is_repeated(ring, fails):
    config = ring("samples.every=6")
    fails(OSError(28, "No space left on device", "grid.png"))
    with pytest.raises(UserError, match="^step 6: SampleGrid: "):
        train(config)
    fails(None)
    folder = train(config, resume=True)
    straight = train(ring("samples.every=6", "run.name=straight"))
    assert same(state(folder), state(straight)) and rows(folder) == rows(straight)
    assert [row["grid"] for row in rows(folder) if "grid" in row] == [6, 12, 18, 20]
    assert same(state(folder / "best"), state(straight / "best"))


def test_with_warn_the_run_goes_on(ring, fails):
    fails(ValueError("bad"))
    with pytest.warns(Notice, match=r"^step \d+: SampleGrid: ValueError: bad .*; the run goes on") as caught:
        folder = train(ring("samples.every=6", "run.on_error=warn"))
    assert [str(w.message).split(":")[0] for w in caught] == ["step 6", "step 12", "step 18", "step 20"]
    assert checkpoint.newest(folder).name == "step_20" and "undone" not in state(folder)
    assert same(state(folder), state(train(ring("samples.every=1000", "samples=null", "run.name=without"))))


@pytest.mark.parametrize("method", few(["scalars", "finish", "close"], "scalars", "close"))
def test_a_log_that_fails_loses_no_training(ring, monkeypatch, method):
    before, calls = getattr(Monitor, method), []

    def fail(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3 or method != "scalars":
            raise OSError(28, "No space left on device", "metrics.jsonl")
        return before(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Monitor, method, fail)
        with pytest.raises((UserError, OSError), match=r"metrics.jsonl: No space left on device|No space"):
            train(ring())
    folder = train(ring(), resume=True)
    straight = train(ring("run.name=straight"))
    assert same(state(folder), state(straight)) and rows(folder) == rows(straight)
    assert [row["step"] for row in rows(folder)] == list(range(2, 21, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "metrics: [kid], samples: 50, subset_size: 51",
            "generator: kid compares subsets of 51 images and there are 50",
        ),
        ("metrics: [kid], samples: 5000, subset_size: 2000", "data: kid compares subsets of 2000 images"),
        ("metrics: [fid], samples: 1", "generator: fid needs at least 2 images"),
        ("metrics: [fid], samples: 7, infinity: true", "generator: fid needs at least 8 images"),
        ("metrics: [isc], samples: 9", "generator: isc has 10 splits"),
        ("metrics: [prc], samples: 3", "generator: prc looks for 3 neighbours"),
    ],
)
def test_an_evaluation_that_must_fail_is_refused_before_the_folder_is_written(
    digits, tmp_path, classifier, settings, message
):
    before = set(tmp_path.iterdir())
    with pytest.raises(UserError, match=f"^evaluate: {message}"):
        train(digits(f"evaluate={{every: 5, features: {classifier}, {settings}}}"))
    assert set(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The folder of a classifier of the digits, whose features an evaluation takes."""
    base = {
        "run": {"name": "classifier", "steps": 1},
        "data": {"name": "digits", "batch_size": 32},
        "game": {
            "name": "classification",
            "classifier": {"model": {"name": "mlp", "width": 8}, "optimizer": RING["game"]["generator"]["optimizer"]},
        },
    }
    return train(config_of(base, tmp_path_factory.mktemp("classifier")))
