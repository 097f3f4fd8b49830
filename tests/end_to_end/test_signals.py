"""Signals to real processes: what stops a run, what makes it write a checkpoint, and that nothing waits for long."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from forked import Command, gantrain, hosts, until
from tiny import RING, rows, same, state, write

from gantrain.runs import checkpoint
from gantrain.train.interrupt import Interrupt

# A game whose grids of samples take, batch by batch, until the file "done" exists.
GAME = """
import time
from pathlib import Path

import gantrain as gt
from gantrain.train.callbacks.base import Result
from gantrain.train.callbacks.samples import SampleGrid
from gantrain.utils.abandon import between_batches


class Game(gt.games.GAN):
    pass


def run(self, folder, monitor, step, network):
    while not Path("done").exists():
        between_batches()
        Path(f"begun-{step}").touch()
        time.sleep(0.01)
    total = float(sum(p.sum() for p in network.parameters()))
    monitor.scalars(step, {"slow": total})
    return Result(f"slow {total}", "slow", total)


SampleGrid.run = run
SampleGrid.all_processes = Path("together").exists()
"""


def slow(folder: Path) -> str:
    """A config of the game, which evaluates at every fourth of 12 steps."""
    (folder / "slow_game.py").write_text(GAME)
    game = {"target": "slow_game:Game"} | {k: v for k, v in RING["game"].items() if k != "name"}
    return write(folder, RING | {"game": game}, "run.steps=12", "samples.every=4")


def test_a_lost_connection_leaves_a_checkpoint(tmp_path):
    config = write(tmp_path, RING, "run.steps=1000000")
    command = started(tmp_path, config)
    # The shell and the system both send it when a terminal is closed.
    command.kill(signal.SIGHUP)
    command.kill(signal.SIGHUP)
    assert command.wait() == 128 + signal.SIGHUP and command.errors == ""
    step = newest(tmp_path / "ring")
    assert command.output.splitlines()[-1] == f"stopped at step {step}; to go on: gantrain train {config} --resume"
    ends_as_one_never_stopped(tmp_path, config, step + 5)


def test_a_signal_that_is_ignored_at_the_start_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert interrupt.agreed(1) is None
            signal.raise_signal(signal.SIGUSR1)
            assert interrupt.agreed(2) == "save" and interrupt.agreed(3) is None
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGINT)
            assert interrupt.agreed(4) == "stop" and interrupt.received == signal.SIGINT
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigusr1_writes_a_checkpoint_and_the_run_goes_on(tmp_path):
    config = write(tmp_path, RING, "run.steps=1000000")
    command = started(tmp_path, config)
    command.kill(signal.SIGUSR1)
    until(lambda: newest(tmp_path / "ring") or not command.running())
    first = newest(tmp_path / "ring")
    command.kill(signal.SIGUSR1)
    until(lambda: newest(tmp_path / "ring") > first or not command.running())
    command.kill(signal.SIGTERM)
    assert command.wait() == 128 + signal.SIGTERM and command.errors == ""
    assert f"step {first}: wrote a checkpoint because of a signal" in command.output.splitlines()
    ends_as_one_never_stopped(tmp_path, config, newest(tmp_path / "ring") + 5)


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """The run of the game that nothing stops."""
    folder = tmp_path_factory.mktemp("straight")
    (folder / "done").touch()
    gantrain(folder, "train", slow(folder))
    return folder / "ring"


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_signal_does_not_wait_for_the_end_of_an_evaluation(tmp_path, straight, number):
    config = slow(tmp_path)
    run = tmp_path / "ring"
    command = Command(tmp_path, "train", config)
    until(lambda: (tmp_path / "begun-4").exists() or not command.running())
    command.kill(number)
    if number == signal.SIGTERM:
        assert command.wait() == 128 + number, command.errors
    until(lambda: newest(run) == 4)
    assert state(run, 4)["undone"]["pending"] == ["SampleGrid"]
    assert [row["step"] for row in rows(run)] == [2, 4] and all("slow" not in row for row in rows(run))
    if number == signal.SIGUSR1:
        (tmp_path / "begun-4").unlink()
        until(lambda: (tmp_path / "begun-4").exists())
        command.kill()
        command.wait()
    (tmp_path / "done").touch()
    # The evaluation of step 4 is logged, and then the run dies before it has another checkpoint.
    assert Command(tmp_path, "train", config, "--resume", "run.steps=6", "checkpoint.every=1000").wait() == 0
    shutil.rmtree(run / "step_6")
    gantrain(tmp_path, "train", config, "--resume")
    assert same(state(run), state(straight)) and rows(run) == rows(straight)
    assert [row["step"] for row in rows(run) if "slow" in row] == [4, 8, 12]
    assert same(state(run / "best"), state(straight / "best"))


def test_a_signal_to_one_process_ends_the_evaluation_of_all(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        config = slow(folder)
        (folder / "together").touch()
    commands = hosts(folders, "train", config)
    until(lambda: all((f / "begun-4").exists() for f in folders) or not all(c.running() for c in commands))
    commands[1].kill(signal.SIGTERM)
    assert [c.wait() for c in commands] == [128 + signal.SIGTERM] * 2, commands[0].errors + commands[1].errors
    assert state(folders[0] / "ring", 4)["undone"]["pending"] == ["SampleGrid"]


def started(folder: Path, config: str) -> Command:
    """A run that has taken its first steps."""
    command = Command(folder, "train", config)
    until(lambda: "step" in command.output or not command.running())
    return command


def newest(run: Path) -> int:
    path = checkpoint.newest(run) if run.is_dir() else None
    return 0 if path is None else int(path.name[5:])


def ends_as_one_never_stopped(folder: Path, config: str, steps: int) -> None:
    gantrain(folder, "train", config, "--resume", f"run.steps={steps}")
    gantrain(folder, "train", config, "run.name=straight", f"run.steps={steps}")
    assert same(state(folder / "ring"), state(folder / "straight"))
    assert rows(folder / "ring") == rows(folder / "straight")
