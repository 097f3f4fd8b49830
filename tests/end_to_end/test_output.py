"""Output that cannot be written: a closed pipe, a full disk, a closed descriptor, an encoding that is too small."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import forked
import pytest
from cases import few
from forked import SECONDS
from tiny import RING, config_of, rows, same, state, write

from gantrain.commands.train import train


class Process:
    """``gantrain ARGUMENTS`` whose output goes to ``output`` and ``errors``: paths, or None for closed descriptors."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], output: str | None, errors: str | None, **env: str):
        where = (str(folder), arguments, {1: output, 2: errors}, env)
        self.process = forked._context.Process(target=_command, args=where)
        self.process.start()

    def wait(self) -> int | None:
        self.process.join(SECONDS)
        return self.process.exitcode


def _command(folder: str, arguments: tuple[str, ...], where: dict[int, str | None], env: dict[str, str]) -> None:
    for number, path in where.items():
        os.dup2(os.open(os.devnull if path is None else path, os.O_WRONLY), number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if where[number] is None:  # as the interpreter finds it when it starts
            os.close(number)
            setattr(sys, name, None)
            setattr(sys, f"__{name}__", None)
    if "PYTHONIOENCODING" in env:  # which the interpreter reads when it starts
        sys.stdout.reconfigure(encoding=env["PYTHONIOENCODING"], errors="strict")
    os.chdir(folder)
    sys.argv = ["gantrain", *arguments]
    from gantrain.cli import main

    main()


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The same run with output."""
    return train(config_of(RING, tmp_path_factory.mktemp("straight")))


@pytest.mark.parametrize("broken", few(["pipe", "/dev/full", "closed"], "pipe", "closed"))
def test_training_goes_on_to_its_end_without_output(tmp_path, straight, broken):
    config = write(tmp_path, RING)
    errors = tmp_path / "errors"
    errors.touch()
    if broken == "pipe":
        os.mkfifo(tmp_path / "pipe")
        process = Process(tmp_path, ("train", config), str(tmp_path / "pipe"), str(errors))
        reader = os.open(tmp_path / "pipe", os.O_RDONLY)
        assert os.read(reader, 20).startswith(b"data: 500 x 2")
        os.close(reader)
    else:
        process = Process(tmp_path, ("train", config), None if broken == "closed" else broken, str(errors))
    assert process.wait() == 0 and errors.read_text() == ""
    assert same(state(tmp_path / "ring"), state(straight)) and rows(tmp_path / "ring") == rows(straight)
    # No file of the run has taken the number of the closed output.
    assert len((tmp_path / "ring" / "metrics.jsonl").read_text().splitlines()) == 10


def test_errors_that_cannot_be_written_change_no_exit_code(tmp_path):
    config = write(tmp_path, RING)
    assert Process(tmp_path, ("train", config, "run.steps=0"), None, "/dev/full").wait() == 2
    assert Process(tmp_path, ("train", config, "run.steps=4"), None, None).wait() == 0


def test_an_encoding_that_lacks_characters_ends_nothing(tmp_path):
    config = write(tmp_path, RING, "run.name=läufe")
    output = tmp_path / "output"
    output.touch()
    process = Process(tmp_path, ("train", config), str(output), "/dev/null", PYTHONIOENCODING="ascii")
    assert process.wait() == 0
    assert output.read_bytes().splitlines()[-2] == rb"finished at step 20; the run is in l\xe4ufe"


def test_a_result_ends_quietly_in_a_closed_pipe_and_loudly_on_a_full_disk(tmp_path):
    errors = tmp_path / "errors"
    errors.touch()
    os.mkfifo(tmp_path / "pipe")
    process = Process(tmp_path, ("schema", "--map"), str(tmp_path / "pipe"), str(errors))
    reader = os.open(tmp_path / "pipe", os.O_RDONLY)
    assert os.read(reader, 1) == b"{"
    os.close(reader)
    assert process.wait() == 0 and errors.read_text() == ""
    assert Process(tmp_path, ("schema", "--map"), "/dev/full", str(errors)).wait() == 2
    assert errors.read_text() == "gantrain: standard output: cannot be written: No space left on device\n"
