"""How many processes were asked for, and that others are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from forked import SECONDS

from gantrain.distributed.environment import check_gpus, check_processes, distributed, expected_processes
from gantrain.errors import UserError


def config(processes=None):
    return SimpleNamespace(run=SimpleNamespace(processes=processes))


def test_the_command_line_goes_before_the_config_and_that_before_the_launcher(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert not distributed()
    assert expected_processes(None, config()) is None
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert distributed()
    assert expected_processes(None, config()) == 3
    assert expected_processes(None, config(2)) == 2
    assert expected_processes(1, config(2)) == 1


@pytest.mark.parametrize(
    ("expected", "actual", "message"),
    [
        (2, 1, "^2 processes were asked for, but 1 runs; start them with `gantrain train --processes 2 CONFIG` or "),
        (1, 2, "^1 process was asked for, but 2 run; "),
    ],
)
def test_another_number_is_refused(expected, actual, message):
    with pytest.raises(UserError, match=message):
        check_processes(expected, actual)


@pytest.mark.parametrize(("expected", "actual"), [(None, 1), (None, 4), (2, 2)])
def test_the_right_number_is_not(expected, actual):
    check_processes(expected, actual)


def test_each_process_needs_a_gpu_of_its_own():
    check_gpus(1, 2)
    with pytest.raises(UserError, match="^more processes than GPUs; start at most 2 on this host"):
        check_gpus(2, 2)


CHILD = (
    "import types; from gantrain.distributed.environment import expected_processes as e;"
    "print(e(None, types.SimpleNamespace(run=types.SimpleNamespace(processes=None))))"
)
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[-1]])"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["accelerate", "launch", "--cpu", "--num_processes", "2"], "2"),
        (["accelerate", "launch", "--num-processes=3"], "3"),
        (["accelerate", "launch", "--cpu"], "None"),
        (["accelerate", "launch", "--num_processes", "two"], "None"),
        (["other", "launch", "--num_processes", "2"], "None"),
    ],
)
def test_what_accelerate_was_asked_for_is_read_from_the_process_above(tmp_path, words, expected):
    script = tmp_path / words[0]
    script.write_text(PARENT)
    env = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    command = [sys.executable, str(script), *words[1:], CHILD]
    assert subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=env).stdout.strip() == expected
