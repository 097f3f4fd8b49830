"""How many processes were asked for, and that others are refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from forked import SECONDS
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from gantrain.distributed.environment import (
    LAUNCHER,
    Place,
    check_processes,
    distributed,
    expected_processes,
    launched_place,
    shown_ranks,
)
from gantrain.distributed.launch import _lateness, launch
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "scripts" / "launch"


def config(processes=None):
    return SimpleNamespace(run=SimpleNamespace(processes=processes))


def set_place(monkeypatch, **variables):
    """Make these the only variables of a launcher in the environment."""
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


WHOLE = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}


def test_the_place_is_read_from_the_variables_of_the_launcher(monkeypatch):
    set_place(monkeypatch, **WHOLE)
    assert launched_place() == Place(1, 4, 0, 1, "10.0.0.1", 29500)
    set_place(monkeypatch, **WHOLE, LOCAL_RANK="1", LOCAL_WORLD_SIZE="2")
    assert launched_place() == Place(1, 4, 1, 2, "10.0.0.1", 29500)
    assert launched_place().variables == {name: os.environ[name] for name in LAUNCHER}


@pytest.mark.parametrize(
    "variables", [{}, {"WORLD_SIZE": ""}, {"RANK": " ", "LOCAL_RANK": ""}, {"MASTER_ADDR": "h", "MASTER_PORT": "abc"}]
)
def test_empty_variables_and_an_address_alone_are_no_launcher(monkeypatch, variables):
    set_place(monkeypatch, **variables)
    assert launched_place() is None and shown_ranks() == (0, 0)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"WORLD_SIZE": "1"},
            "^WORLD_SIZE=1 is set in the environment, but not RANK, MASTER_ADDR, MASTER_PORT; ",
        ),
        ({"WORLD_SIZE": "abc"}, "^WORLD_SIZE=abc is set"),
        ({"LOCAL_RANK": "0"}, "^LOCAL_RANK=0 is set in the environment, but not RANK, WORLD_SIZE, MASTER_"),
        ({"LOCAL_WORLD_SIZE": "2"}, "^LOCAL_WORLD_SIZE=2 is set"),
        (
            {"RANK": "0", "WORLD_SIZE": "2"},
            "^RANK=0 is set in the environment, but not MASTER_ADDR, MASTER_PORT; ",
        ),
        (WHOLE | {"MASTER_ADDR": ""}, "^RANK=1 is set in the environment, but not MASTER_ADDR; unset RANK and WORLD"),
        (WHOLE | {"WORLD_SIZE": "abc"}, "^WORLD_SIZE=abc: expected a whole number of at least 1 in the environment"),
        (WHOLE | {"WORLD_SIZE": "0"}, "^WORLD_SIZE=0: expected"),
        (WHOLE | {"RANK": "4"}, "^RANK=4: expected a whole number from 0 to 3 in the environment"),
        (WHOLE | {"RANK": "-1"}, "^RANK=-1: expected"),
        (WHOLE | {"RANK": "1.0"}, "^RANK=1.0: expected"),
        (WHOLE | {"MASTER_PORT": "abc"}, "^MASTER_PORT=abc: expected a whole number from 1 to 65535"),
        (WHOLE | {"MASTER_PORT": "0"}, "^MASTER_PORT=0: expected"),
        (WHOLE | {"MASTER_PORT": "65536"}, "^MASTER_PORT=65536: expected"),
        (WHOLE | {"LOCAL_RANK": "x"}, "^LOCAL_RANK=x: expected"),
        (WHOLE | {"LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"}, "^LOCAL_RANK=2: expected a whole number from 0 to 1"),
        (WHOLE | {"LOCAL_WORLD_SIZE": "2"}, "^LOCAL_WORLD_SIZE=2 is set in the environment, but not LOCAL_RANK"),
        (WHOLE | {"LOCAL_WORLD_SIZE": "5"}, "^LOCAL_WORLD_SIZE=5: expected a whole number from 1 to 4"),
    ],
)
def test_variables_that_are_no_place_are_refused(monkeypatch, variables, message):
    set_place(monkeypatch, **variables)
    with pytest.raises(UserError, match=message) as refused:
        launched_place()
    assert "\n" not in str(refused.value)
    assert shown_ranks() == (0, 0)


def test_the_cause_of_a_failure_is_told_from_its_consequences():
    failures = {"stopped": (-9, 30), "ended": (-15, 0), "error": (2, 0), "killed": (-9, 1)}
    assert sorted(failures, key=lambda name: _lateness(*failures[name])) == ["killed", "error", "ended", "stopped"]


def test_the_command_line_goes_before_the_config_and_that_before_the_launcher(monkeypatch):
    set_place(monkeypatch)
    assert not distributed()
    assert expected_processes(None, config()) is None
    set_place(monkeypatch, RANK="0", WORLD_SIZE="3", MASTER_ADDR="localhost", MASTER_PORT="29500")
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


FAKE_PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then echo "$GPUS"; else echo "$@"; fi
"""


@pytest.mark.parametrize(
    ("gpus", "processes", "words"),
    [
        ("0", "", "-m gantrain train --processes 2 config.yaml"),
        ("0", "3", "-m gantrain train --processes 3 config.yaml"),
        ("1", "", "-m gantrain train config.yaml"),
        ("1", "3", "-m gantrain train --processes 3 config.yaml"),
        ("4", "", "--num_processes 4 --mixed_precision no --dynamo_backend no -m gantrain train config.yaml"),
        ("4", "2", "--num_processes 2 --mixed_precision no --dynamo_backend no -m gantrain train config.yaml"),
    ],
)
def test_the_scripts_start_as_many_processes_as_torch_finds_gpus(tmp_path, gpus, processes, words):
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    environment = os.environ | {"PYTHON": str(python), "GPUS": gpus, "PROCESSES": processes, "FIRST": "10.0.0.1"}

    def started(*words: str) -> str:
        command = [str(SCRIPTS / words[0]), *words[1:], "config.yaml"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
        return done.stdout.strip()

    assert started("one_host.sh").endswith(words)
    each = processes or max(gpus, "1")
    assert f"--nproc_per_node {each} -m gantrain train config.yaml" in started("two_hosts.sh", "1")


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
    env = {key: value for key, value in os.environ.items() if key not in LAUNCHER}
    command = [sys.executable, str(script), *words[1:], CHILD]
    assert subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=env).stdout.strip() == expected


def test_more_processes_than_the_limit_of_open_files_admits_are_refused(monkeypatch):
    used = psutil.Process().num_fds()
    monkeypatch.setattr("resource.getrlimit", lambda _: (used + 30, used + 60))
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    with pytest.raises(UserError, match="^--processes: 48 processes need 184 more open files.*; use --processes 6"):
        launch(["train"], 48)


def test_processes_that_cannot_meet_are_one_line(monkeypatch):
    def fail(*_):
        raise RendezvousConnectionError("The connection has failed. See inner exception.") from OSError("refused\n")

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", lambda *_: fail)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GANTRAIN_LAUNCHER", "")
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("logging.disable", lambda _: None)
    with pytest.raises(UserError, match="^--processes: 2 processes cannot meet on this host: refused$"):
        launch(["train"], 2)


@pytest.mark.parametrize("ended", [False, True], ids=["stopped", "ended"])
def test_a_launcher_that_was_stopped_or_has_ended_keeps_no_process_waiting(monkeypatch, ended):
    asked, over = [], threading.Event()

    def check(notices):
        asked.append(notices)
        if ended:
            raise RuntimeError("Broken pipe")
        assert over.wait(SECONDS)

    monkeypatch.setattr("gantrain.distributed.processes._PATIENCE", 0.05)
    store = SimpleNamespace(check=check, set=lambda *_: check("set"))
    monkeypatch.setattr("torch.distributed.distributed_c10d._get_default_store", lambda: store)
    processes = Processes()
    processes.world_size = 2
    assert processes.posted("stop") is False and processes.posted("stop") is False
    processes.post("stop")
    over.set()
    assert asked == [["stop"]]
