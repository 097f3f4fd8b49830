"""Runs whose data are read by worker processes: the same to the bit, stopped by signals, and without leftovers."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from forked import Command, ended, gantrain, until, workers_of
from PIL import Image
from tiny import DIGITS, rows, same, state, write

DISK = ("data.storage=disk", "data.workers=2")


def pictures(folder, count=70):
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / "pictures" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)


def config(folder, *overrides):
    pictures(folder)
    data = "data={name: image_folder, path: pictures, batch_size: 32}"
    return write(folder, DIGITS, data, "game.conditional=true", "run.steps=9", *overrides)


def line(command):
    (found,) = (line for line in command.output.splitlines() if line.startswith("data: "))
    return found


@pytest.mark.parametrize(
    "method",
    [
        ("outer={name: gda, order: alternating}", "game.discriminator.sharpness={name: sampa, rho: 0.1}"),
        pytest.param(("outer={name: rapp, inner_steps: 3, samples: same}",), marks=pytest.mark.slow),
    ],
)
def test_the_run_is_the_same_wherever_the_data_are(method, tmp_path):
    file = config(tmp_path, *method)
    held = gantrain(tmp_path, "train", file, "run.name=held")
    gantrain(tmp_path, "train", file, "run.name=read", "run.steps=4", *DISK)
    read = gantrain(tmp_path, "train", file, "run.name=read", "--resume", "data.storage=disk", "data.workers=1")
    assert line(held) == "data: 70 x 3x8x8, 13.4 kB, in memory"
    assert line(read) == "data: 70 x 3x8x8, 13.4 kB, on disk, read ahead by 1 worker"
    assert same(state(tmp_path / "held"), state(tmp_path / "read"))
    assert rows(tmp_path / "held") == rows(tmp_path / "read")
    assert held.errors == read.errors == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_the_run_with_a_checkpoint_and_no_worker_is_left(number, tmp_path):
    command = Command(tmp_path, "train", config(tmp_path, "run.steps=1000000", *DISK))
    until(lambda: "step" in command.output or not command.running())
    workers = workers_of(command, 2)
    for process in workers:
        process.send_signal(number)
    command.kill(number)
    assert command.wait() == 128 + number
    assert command.errors == ""
    assert command.output.splitlines()[-1].startswith("stopped at step ")
    until(lambda: all(ended(worker) for worker in workers))
    assert state(tmp_path / "digits")["clock"]["step"] > 0


def test_workers_of_a_process_that_was_killed_end_by_themselves(tmp_path):
    command = Command(tmp_path, "train", config(tmp_path, "run.steps=1000000", *DISK))
    until(lambda: "step" in command.output or not command.running())
    workers = workers_of(command, 2)
    command.kill()
    assert command.wait() == -signal.SIGKILL
    until(lambda: all(ended(worker) for worker in workers))
    assert command.errors == ""


def test_a_broken_file_is_named_at_the_step_that_meets_it(tmp_path):
    file = config(tmp_path)
    (tmp_path / "pictures" / "a" / "40.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    late = ("data.batch_size=2", "run.steps=40")  # it is not in the first batch, which is read before the run begins
    for overrides, started in (((*DISK, *late), True), (("data.storage=memory",), False)):
        command = Command(tmp_path, "train", file, f"run.name=from_{'disk' if started else 'memory'}", *overrides)
        assert command.wait() == 2
        (only,) = command.errors.splitlines()
        assert only.startswith(f"gantrain: data.path: a/40.png in {tmp_path}/pictures cannot be read (")
        assert ("data: 70 x" in command.output) == started
    command = gantrain(tmp_path, "train", file, "run.name=skipped", "data.on_error=skip", *DISK)
    assert line(command) == "data: 69 x 3x8x8, 13.2 kB, on disk, read ahead by 2 workers"


def test_a_batch_that_is_larger_than_the_data_is_refused_before_anything_is_made(tmp_path):
    command = Command(tmp_path, "train", config(tmp_path), "data.batch_size=71")
    assert command.wait() == 2
    assert command.errors == (
        "gantrain: data.batch_size: 71 samples asked for, but the training part has 70; use at most 70\n"
    )
    assert not (tmp_path / "digits").exists()


@pytest.mark.slow
def test_two_processes_show_the_line_once_and_share_the_run(tmp_path):
    file = config(tmp_path)
    gantrain(tmp_path, "train", file, "run.name=alone", "data.storage=memory", "run.steps=3")
    both = gantrain(tmp_path, "train", file, "run.name=both", "--processes", "2", "run.steps=3", *DISK)
    assert line(both).endswith("on disk, read ahead by 2 workers")
    ours, theirs = (rows(tmp_path / name)[-1] for name in ("alone", "both"))
    assert ours["loss/discriminator"] == pytest.approx(theirs["loss/discriminator"], rel=1e-4)
