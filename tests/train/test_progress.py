from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from forked import SECONDS

from gantrain.train import progress
from gantrain.train.progress import Progress

VALUES = {"loss/discriminator": 0.9123, "loss/generator": 1.2, "score/real": 0.3, "images_per_second": 5213.4}


class Clock:
    """Time that passes only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_plain_lines_say_where_the_run_stands(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    bar = Progress(steps=3000, stream=stream)
    clock.now += 10
    bar.update(200, 0.2, VALUES)
    bar.close()
    assert stream.getvalue() == (
        "step 200/3000  loss/discriminator 0.912  loss/generator 1.2  5213 images/s  0:00:40 left\n"
    )


def test_the_time_left_follows_the_recent_speed(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    bar = Progress(stream=stream, start=0.1)
    done = 0.1
    for seconds in [1000.0] + [2.0] * 30:  # a slow start is soon forgotten
        clock.now += seconds
        done += 0.01
        bar.update(1, done, {})
    bar.close()
    left = [line.split("  ")[1] for line in stream.getvalue().splitlines()]
    assert left[0] == "1 day, 0:43:20 left"
    assert left[-1] == "0:01:58 left"  # 59 more of 2 seconds


def test_lines_come_at_most_once_a_second_and_the_last_always(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    bar = Progress(stream=stream)
    for step in range(1, 1001):
        clock.now += 0.01
        bar.update(step, step / 1000, {})
    bar.close()
    lines = stream.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert lines[-1] == "step 1000"
    bar.close()
    assert stream.getvalue().splitlines() == lines


def test_a_step_is_shown_without_scalars_only_after_a_silence(monkeypatch):
    clock, stream = Clock(monkeypatch), io.StringIO()
    bar = Progress(steps=100, stream=stream)
    for seconds in (9, 1, 5, 6):
        clock.now += seconds
        bar.tick(int(clock.now - 1000), (clock.now - 1000) / 100)
    assert stream.getvalue() == "step 10/100  0:01:30 left\nstep 21/100  0:01:19 left\n"


def test_a_line_held_back_appears_at_the_close(monkeypatch):
    Clock(monkeypatch)
    stream = io.StringIO()
    bar = Progress(stream=stream)
    bar.update(1, 0.1, {})
    bar.update(2, 0.2, {})
    assert stream.getvalue().startswith("step 1 ") and "step 2" not in stream.getvalue()
    bar.close()
    assert stream.getvalue().endswith("\nstep 2  -:--:-- left\n")


def test_a_note_stands_below_the_line_that_was_held_back(monkeypatch):
    Clock(monkeypatch)
    stream = io.StringIO()
    bar = Progress(stream=stream)
    bar.update(1, 0.1, {})
    bar.update(2, 0.2, {})
    bar.note("stopped at step 2")
    bar.close()
    assert stream.getvalue().endswith("\nstep 2  -:--:-- left\nstopped at step 2\n")


def test_disabled_it_is_silent():
    stream = io.StringIO()
    bar = Progress(enabled=False, stream=stream)
    bar.update(1, 1.0, VALUES)
    bar.note("text")
    bar.close()
    assert stream.getvalue() == ""


def test_on_a_terminal_a_bar_is_drawn_over_itself():
    # A tenth of a millisecond passes between two looks at the clock, so that every frame but the first waits.
    source = """
import itertools
import types
from gantrain.train import progress
from gantrain.train.progress import Progress
ticks = itertools.count()
progress.time = types.SimpleNamespace(monotonic=lambda: next(ticks) * 1e-4)
bar = Progress(steps=10)
for step in range(1, 11):
    bar.update(step, step / 10, {"loss/discriminator": 1.234, "loss/generator": step / 7, "images_per_second": 12345})
    if step == 5:
        bar.note("half [bold] way")
bar.close()
bar.note("finished")
"""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen([sys.executable, "-c", source], stdout=follower, env=environment)
    os.close(follower)
    output = b""
    try:
        while chunk := os.read(leader, 65536):
            output += chunk
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(leader)
    assert process.wait(timeout=SECONDS) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    assert b"\x1b[" in output and "━" in text
    assert "half [bold] way" in text
    assert re.search(
        r"step 1/10  12345 images/s  0:00:00 left *\r\n +loss/discriminator 1.23  loss/generator 0.143", text
    )
    assert text.rstrip().endswith("finished") and "…" not in text
