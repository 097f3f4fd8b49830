"""Completion in the shell: what is proposed, and that bash takes it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from forked import SECONDS

from gantrain.cli import cli

ROOT = Path(__file__).parents[1]
QUICKSTART = "configs/quickstart.yaml"


def proposed(*words: str) -> list[str]:
    """What is proposed for the last of these words."""
    *before, incomplete = words
    return [item.value for item in BashComplete(cli, {}, "gantrain", "_").get_completions(before, incomplete)]


def file_completion(*words: str) -> str:
    *before, incomplete = words
    (item,) = BashComplete(cli, {}, "gantrain", "_").get_completions(before, incomplete)
    return item.type


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with configs and runs."""
    monkeypatch.chdir(tmp_path)
    for file in (
        "mine.yaml",
        "deep/er/own.yml",
        "deep/notes.txt",
        ".hidden/not.yaml",
        "two words.yaml",
        "$(a).yaml",
        "b\udcff.yaml",
    ):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text(f"base: {ROOT / QUICKSTART}\n")
    for run in ("checkpoints/first", "checkpoints/sweep/first_0", "elsewhere/second"):
        Path(run).mkdir(parents=True)
        Path(run, "config.yaml").touch()
    return tmp_path


def test_commands_and_options():
    assert proposed("tr") == ["train"] and proposed("train", "--re") == ["--resume"]


def test_configs_of_the_directory_and_those_shipped(here):
    assert proposed("train", "mi") == ["mine.yaml"]
    assert proposed("train", "de") == ["deep/er/own.yml"]
    assert proposed("train", "deep/") == ["deep/er/own.yml"]
    assert proposed("train", f"{here}/mi") == [f"{here}/mine.yaml"]
    assert not {"two words.yaml", "$(a).yaml", "b\udcff.yaml"} & set(proposed("train", ""))
    assert QUICKSTART in proposed("train", "configs/") and QUICKSTART in proposed("doctor", "conf")
    assert "checkpoints/first/config.yaml" not in proposed("train", "")
    assert file_completion("train", "nothing") == "file"


def test_runs(here):
    assert proposed("sample", "checkpoints/f") == ["checkpoints/first"]
    assert proposed("sample", "fi") == ["first"]
    assert {"checkpoints/first", "checkpoints/sweep/first_0", "checkpoints/cifar10-sngan"} <= set(proposed("eval", ""))
    assert proposed("compare", "checkpoints/first", "else") == ["elsewhere/second"]
    assert proposed("report", "checkpoints/f") == ["checkpoints/first"]
    assert file_completion("export", "nothing") == "dir" and file_completion("sample", "first", "--gif", "a") == "file"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run.st"], ["run.steps="]),
        (["ga"], ["game."]),
        (["game.generator.model."], ["name=", "width=", "latent_dim=", "norm="]),
        (["run.device="], ["run.device=auto", "run.device=cpu", "run.device=cuda"]),
        (["run.device", "=", "c"], ["cpu", "cuda"]),  # as bash takes it apart
        (["run.device", ""], ["auto", "cpu", "cuda"]),
        (["run.seed", "=", "1", "run.compile="], ["run.compile=true", "run.compile=false"]),
        (["outer.name=ra"], ["outer.name=rapp", "outer.name=rampage"]),
        (["outer.name=rapp", "outer.rel"], ["outer.relaxation="]),
        (["outer.name", "=", "rapp", "outer.order", "=", ""], ["simultaneous", "alternating", "null"]),
        (["data.name=dig"], ["data.name=digits"]),
        (["game.discriminator.sharpness=samp"], ["game.discriminator.sharpness=sampa"]),
        (["game.penalties.0.name=le"], ["game.penalties.0.name=lecam"]),
        (["evaluate.metrics"], ["evaluate.metrics="]),
        (["nothing.of="], []),
        (["run.steps="], []),
    ],
    ids=lambda words: " ".join(words)[:40] or "none",
)
def test_keys_and_values(words, expected):
    found = proposed("train", str(ROOT / QUICKSTART), *words)
    assert found == expected or found == [words[-1] + end for end in expected]


def test_keys_of_a_config_that_is_wrong_and_of_other_commands(tmp_path):
    (tmp_path / "wrong.yaml").write_text("{")
    assert proposed("train", str(tmp_path / "wrong.yaml"), "run.dev") == ["run.device="]
    assert proposed("train", str(tmp_path / "wrong.yaml"), "run.device=") == []
    assert proposed("solve", str(ROOT / "configs/toy/forsaken.yaml"), "st")[0].startswith("st")


def test_bash_completes_at_the_tab_key(here):
    program = here / "bin" / "gantrain"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nif '_GANTRAIN_COMPLETE' in os.environ:\n"
        "    from gantrain.cli import main\n    main()\nprint('arguments', sys.argv[1:])\n"
    )
    program.chmod(0o755)
    leader, follower = pty.openpty()
    variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PS1": "$ ", "TERM": "dumb", "PYTHONPATH": str(ROOT)}
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        **dict.fromkeys(("stdin", "stdout", "stderr"), follower),
        env=os.environ | variables,
        start_new_session=True,
    )
    os.close(follower)
    typed = 'eval "$(_GANTRAIN_COMPLETE=bash_source gantrain)"\ngantrain train mi\trun.dev\tcp\trun.steps=7\nexit\n'
    said = b""
    try:
        os.write(leader, typed.encode())
        while chunk := os.read(leader, 65536):
            said += chunk
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(leader)
    bash.wait(timeout=SECONDS)
    assert b"arguments ['train', 'mine.yaml', 'run.device=cpu', 'run.steps=7']" in said, said.decode()
