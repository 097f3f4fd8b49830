"""The doctor under the conditions that it is there to find; it never raises, and leaves nothing."""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from forked import SECONDS, Command, together
from tiny import DIGITS, RING, config_of, write

from gantrain.cli import cli
from gantrain.commands.doctor import run
from gantrain.commands.doctor.findings import Finding, examine
from gantrain.commands.train import train
from gantrain.config.loading import load

Found = tuple[int, list[dict[str, str]]]


def listed(folder: Path) -> set[str]:
    """What lies in the folder, without the output of commands."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.suffix not in (".out", ".err")}


def checked(code: int, output: str, errors: str) -> Found:
    """The exit code and the findings; nothing may be said beside them."""
    assert errors == ""
    found = json.loads(output)
    assert code == (2 if any(finding["verdict"] == "FAIL" for finding in found) else 0)
    assert all(finding["remedy"] for finding in found if finding["verdict"] == "FAIL")
    return code, found


@pytest.fixture
def doctor(tmp_path, monkeypatch):
    """The command in this process and the test's folder, in which it may leave nothing. No host answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # as the command sets it for its process
    monkeypatch.setattr(run, "answers", lambda host: False)

    def examined(*arguments: str, **environment: str) -> Found:
        before = listed(tmp_path)
        done = CliRunner(env=environment).invoke(cli, ["doctor", "--json", *arguments])
        assert listed(tmp_path) == before
        return checked(done.exit_code, done.stdout, done.stderr)

    return examined


def doctor_in_a_process(folder: Path, *arguments: str, **environment: str) -> Found:
    before = listed(folder)
    command = Command(folder, "doctor", "--json", *arguments, **environment)
    code = command.wait()
    assert listed(folder) == before
    return checked(code, command.output, command.errors)


def failures(found: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(finding["subject"], finding["text"]) for finding in found if finding["verdict"] == "FAIL"]


def texts(found: list[dict[str, str]], subject: str) -> str:
    return "\n".join(f"{f['verdict']} {f['text']} -> {f['remedy']}" for f in found if f["subject"] == subject)


def test_the_machine_alone_and_a_config_that_could_run(doctor, tmp_path):
    code, found = doctor()
    assert code == 0 and torch.__version__ in texts(found, "torch") and "ok torch" in texts(found, "packages")
    code, found = doctor_in_a_process(tmp_path, write(tmp_path, DIGITS, "data.batch_size=30"))
    assert code == 0
    assert "1797 x 1x8x8, 115 kB, in memory, 10 classes; a batch of 30 was read" in texts(found, "data")
    assert "generator" in texts(found, "networks") and "a training step runs on cpu" in texts(found, "step")
    assert "digits is free" in texts(found, "folder") and "a checkpoint has" in texts(found, "space")


def test_the_text_has_a_line_for_each_finding_and_says_the_sum(tmp_path):
    command = Command(tmp_path, "doctor", write(tmp_path, RING, "data.batch_size=501"))
    assert command.wait() == 2 and command.errors == ""
    *lines, last = command.output.splitlines()
    assert all(line.split()[0] in ("ok", "note", "FAIL") for line in lines) and "\x1b" not in command.output
    (wrong,) = (line for line in lines if line.startswith("FAIL"))
    assert "data.batch_size: 501 samples asked for" in wrong and " -> " in wrong
    assert last.startswith("could not run: 1 line with FAIL")


@pytest.mark.parametrize(
    ("overrides", "subject", "words"),
    [
        (["run.stpes=3"], "config", "run.stpes: unknown key"),
        (["data={name: image_folder, path: nowhere, size: 8}"], "data", "nowhere"),
        (["data={name: cifar10, root: nowhere}"], "data", "does not answer"),
        (["run.device=cuda"], "device", "no usable GPU"),
        (["run.name=taken"], "folder", "is a file"),
        (["run.name=other"], "folder", "is not a run"),
        (["run.folder=taken/deeper"], "folder", "cannot be written"),
        (["run.folder=/proc/nothing"], "folder", "cannot be written"),
        (["evaluate={every: 5}"], "evaluate", "github.com does not answer"),
        (["evaluate={every: 5, features: nowhere}"], "evaluate", "neither inception nor another published network"),
        (["game.generator.model={target: refusing:Raises}"], "game", "RuntimeError: no such luck"),
    ],
)
def test_what_keeps_a_config_from_running(doctor, tmp_path, overrides, subject, words):
    if torch.cuda.is_available() and "run.device=cuda" in overrides:
        pytest.skip("this machine has a GPU")
    (tmp_path / "taken").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "diary.txt").touch()
    (tmp_path / "refusing.py").write_text(
        "import torch\n"
        "class Raises(torch.nn.Module):\n"
        "    latent_dim = 4\n"
        "    def __init__(self, spec):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(1))\n"
        "    def forward(self, z, labels=None):\n"
        "        raise RuntimeError('no such luck')\n"
    )
    environment = {"TORCH_HOME": str(tmp_path / "hub"), "http_proxy": "", "https_proxy": ""}
    code, found = doctor(write(tmp_path, DIGITS), *overrides, **environment)
    assert code == 2
    assert any(about == subject and words in text for about, text in failures(found)), failures(found)


def test_a_run_that_exists_is_a_note_that_says_whether_it_could_go_on(doctor, tmp_path):
    config = write(tmp_path, RING, "run.steps=2")
    train(load(config))
    code, found = doctor(config)
    assert code == 0 and "note" in texts(found, "folder") and "of step 2 -> --resume" in texts(found, "folder")
    code, found = doctor(config, "run.seed=4")
    assert code == 0 and "--resume would refuse: run.seed" in texts(found, "folder")


@pytest.mark.parametrize(
    ("environment", "verdict"),
    [
        ({"WORLD_SIZE": "2"}, "FAIL"),
        ({"WORLD_SIZE": "abc", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}, "FAIL"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}, "note"),
    ],
)
def test_variables_that_a_launcher_left(doctor, environment, verdict):
    _, found = doctor(**environment)
    assert texts(found, "environment").startswith(verdict) and "unset" in texts(found, "environment")


def test_no_compiler(doctor, tmp_path):
    _, found = doctor(PATH=str(tmp_path), CXX="")
    assert "note no C++ compiler" in texts(found, "compiler")


@pytest.mark.slow  # test_compile.py has the refusal of a run without a compiler
def test_no_compiler_for_a_config_that_needs_one(tmp_path):
    config = write(tmp_path, RING, "run.compile=true")
    code, found = doctor_in_a_process(tmp_path, config, PATH=str(tmp_path), CXX="")
    assert "note no C++ compiler" in texts(found, "compiler")
    assert code == 2 and "run.compile: the networks cannot be compiled" in failures(found)[0][1]


def limited(config: str) -> list[Finding]:
    """What is found in this process, none of whose files may become long."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return examine("step", lambda: run.first_step(load(config)), SECONDS)


def test_too_little_space_for_the_checkpoints(tmp_path):
    write(tmp_path, RING, "game.generator.model.width=64")
    ((*good, wrong),) = together(limited, str(tmp_path / "config.yaml"), world=1)
    assert [finding.verdict for finding in good] == ["ok"] * len(good)
    assert (wrong.verdict, wrong.subject) == ("FAIL", "space") and "ulimit -f" in wrong.remedy


def test_torchvision_that_was_built_for_another_torch(doctor, tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "torchvision.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "fake")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    code, found = doctor(write(tmp_path, RING))
    ((subject, text),) = failures(found)
    assert code == 2 and subject == "torchvision" and "does not match torch" in text and "torchvision::nms" in text
    assert "pip install" in texts(found, "torchvision")


SLOW = """
import signal, time
from gantrain.outer import GDA

class Slow(GDA):
    def step(self, field):
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # the time that is left
        while True:
            time.sleep(0.01)
"""


def test_a_first_step_that_takes_long_is_a_note_and_no_failure(ring, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slowly.py").write_text(SLOW)
    config = ring("outer={target: slowly:Slow}")
    *good, last = examine("step", lambda: run.first_step(config), SECONDS)
    assert [finding.verdict for finding in good] == ["ok"] * len(good)
    assert last.verdict == "note" and "has not ended in time" in last.text


def test_a_check_that_fails_says_so_in_a_line():
    def silent():
        yield Finding("ok", "disk", "found")
        os.read(os.pipe()[0], 1)

    def raising():
        print("not shown")
        raise KeyError("one\ntwo")

    assert examine("disk", silent, 1)[1:] == [
        Finding("FAIL", "disk", "no answer for 1 seconds", "free the machine, or raise --timeout")
    ]
    (finding,) = examine("disk", raising, SECONDS)
    assert finding.verdict == "FAIL" and finding.text == "KeyError: 'one\\ntwo'" and finding.remedy


def test_more_processes_than_gpus_is_a_note_since_other_hosts_or_slurm_may_have_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = config_of(RING, tmp_path)

    def found(processes: int) -> list[Finding]:
        asked = config.run.model_copy(update={"device": "auto", "processes": processes})
        return list(run.device(config.model_copy(update={"run": asked})))

    (finding,) = found(4)
    assert finding.verdict == "note" and "on other hosts" in finding.remedy
    assert finding.text == "4 processes on a GPU each, fp32: this host shows 2 GPUs"
    assert [finding.verdict for finding in found(2)] == ["ok"]
