"""Processes that are killed or stopped under a launcher: all others end, nothing is left, and the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from forked import SECONDS, Command, ended, gantrain, hold_port, together, until
from tiny import RING, config_of, rows, same, state, write

from gantrain.commands.train import train

# An outer loop that kills its own process at given steps of given attempts of the launcher, by attempt and rank.
MORTAL = """
import os
import signal

from gantrain.outer import GDA

DEATHS = {("0", "1"): 5, ("1", "0"): 9}


class Mortal(GDA):
    taken = 0

    def step(self, field):
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT"), os.environ.get("RANK")
        self.taken += 1
        if self.taken == DEATHS.get(attempt):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(field)
"""
OUTER = "outer={target: 'mortal:Mortal'}"
ONE_HOST = ("--nproc_per_node", "2", "--max-restarts", "2")


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def straight(folder: str) -> None:
    """The same run, in processes that nobody kills."""
    sys.path.insert(0, folder)
    config = config_of(RING, Path(folder), "run.name=straight", "checkpoint.every=2", OUTER, "checkpoint.keep=1")
    train(config)


@pytest.mark.slow
@pytest.mark.parametrize("rendezvous", [(), ("--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0")])
def test_torchrun_starts_a_run_anew_which_goes_on_from_its_newest_checkpoint(tmp_path, rendezvous):
    (tmp_path / "mortal.py").write_text(MORTAL)
    config = write(tmp_path, RING, "checkpoint.every=2", OUTER, "checkpoint.keep=1")
    gantrain(tmp_path, "train", config, "run.steps=1", "run.seed=7")  # an earlier run, which --overwrite deletes once
    done = torchrun(tmp_path, *ONE_HOST, *rendezvous, "-m", "gantrain", "train", config, "--overwrite")
    assert done.returncode == 0, done.stderr
    going_on = [line for line in done.stdout.splitlines() if line.startswith("going on from step")]
    assert going_on[0] in ("going on from step 2", "going on from step 4") and len(going_on) == 2
    assert "finished at step 20" in done.stdout
    together(straight, str(tmp_path))
    assert same(state(tmp_path / "ring"), state(tmp_path / "straight"))
    assert rows(tmp_path / "ring") == rows(tmp_path / "straight")


@pytest.mark.slow
def test_two_hosts_start_a_run_anew(tmp_path):
    """Each torchrun starts its own processes anew, and they meet in the store that the first one has kept."""
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        (folder / "mortal.py").write_text(MORTAL)
        write(folder, RING, "checkpoint.every=2", OUTER)
    held, port = hold_port()
    place = ("--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "localhost", "--master_port", str(port))
    arguments = (*place, "--max-restarts", "2", "-m", "gantrain", "train", "config.yaml")
    with ThreadPoolExecutor() as both:
        second = both.submit(torchrun, folders[1], "--node_rank", "1", *arguments)
        first = torchrun(folders[0], "--node_rank", "0", *arguments)
    held.close()
    assert first.returncode == 0, first.stderr
    assert second.result().returncode == 0, second.result().stderr
    assert len([line for line in first.stdout.splitlines() if line.startswith("going on from step")]) == 2
    assert "finished at step 20" in first.stdout and not (folders[1] / "ring").exists()


@pytest.mark.slow
def test_an_earlier_run_is_refused_in_each_attempt(tmp_path):
    config = write(tmp_path, RING, "run.steps=2")
    gantrain(tmp_path, "train", config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ring").rglob("*")}
    done = torchrun(tmp_path, *ONE_HOST, "-m", "gantrain", "train", config, "run.steps=4")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("gantrain: ")]
    assert said == [
        "gantrain: ring: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW"
    ] * len(said)
    assert len(said) == 3
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ring").rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_stopped_ends_all_others_and_itself(tmp_path, rank):
    # A busy machine may not let a process run for seconds.
    config = write(tmp_path, RING, "run.steps=1000000", "checkpoint.every=2", "run.timeout=20")
    command = Command(tmp_path, "train", "--processes", "2", config)
    run = tmp_path / "ring"
    until(lambda: list(run.glob("step_*[0-9]")) or not command.running())
    children = psutil.Process(command.process.pid).children(recursive=True)
    next(child for child in children if child.environ().get("RANK") == str(rank)).suspend()
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert f": process {rank}" in line and " did not answer for 20 s; go on with --resume" in line
    assert all(map(ended, children))
    newest = max(int(path.name.removeprefix("step_")) for path in run.glob("step_*[0-9]"))
    gantrain(tmp_path, "train", "--processes", "2", config, "--resume", f"run.steps={newest + 2}", "run.timeout=240")


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_writes_its_shards_leaves_a_run_that_goes_on(tmp_path):
    config = write(tmp_path, RING, "run.steps=12", "checkpoint.every=2", "run.sharding=full")
    command = Command(tmp_path, "train", "--processes", "2", config, "run.steps=1000000")
    run = tmp_path / "ring"

    def writes() -> bool:
        return any(run.glob("step_*.tmp/shards/*")) or not command.running()

    until(lambda: (run / "step_2").exists() or not command.running())
    children = psutil.Process(command.process.pid).children(recursive=True)
    until(writes)
    next(child for child in children if child.environ().get("RANK") == "1").kill()
    assert command.wait() == 128 + signal.SIGKILL
    assert command.errors.splitlines()[-1] == "gantrain: process 1 was ended by SIGKILL; go on with --resume"
    assert all(map(ended, children))
    newest = max(int(path.name.removeprefix("step_")) for path in run.glob("step_*[0-9]"))
    done = gantrain(tmp_path, "train", "--processes", "2", config, "--resume", f"run.steps={newest + 2}")
    assert f"going on from step {newest}\n" in done.output and not list(run.glob("*.tmp"))
