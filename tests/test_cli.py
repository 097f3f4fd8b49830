"""The commands as a user meets them: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from forked import SECONDS, Command, decoys, until

from gantrain.cli import cli

ROOT = Path(__file__).parent.parent
QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")
BILINEAR = str(ROOT / "configs" / "toy" / "bilinear.yaml")
MAP = str(ROOT / "configs" / "theory" / "map.yaml")
ENV = {key: value for key, value in os.environ.items() if key not in ("WORLD_SIZE", "RANK")}


@pytest.fixture
def gantrain(tmp_path):
    """Runs ``gantrain`` in a process of its own, in an empty folder; returns the exit code, stdout and stderr."""

    def run(*arguments):
        command = Command(tmp_path, *map(str, arguments))
        result = command.wait(), command.output, command.errors
        for file in command.files:
            file.unlink()
        return result

    return run


def one_line(result, *words):
    code, out, err = result
    assert code == 2 and out == ""
    assert err.startswith("gantrain: ") and err.count("\n") == 1 and err.endswith("\n")
    assert all(word in err for word in words)


# Every way in which a config can be wrong is in test_config.py and its neighbours; these are one of each kind.
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run.stpes=3"], ["command line: run.stpes: unknown key", "did you mean 'steps'?"]),
        (["outer.name=lookahead", "outer.base=rap"], ["outer.base: unknown outer loop 'rap'", "did you mean 'rapp'?"]),
        (["run.steps"], ["'run.steps': expected key=value"]),
        (["outer.target=nowhere:X"], ["outer.target: cannot import 'nowhere'"]),
        (["--resume", "--overwrite"], ["--resume and --overwrite exclude each other"]),
        (["--accept-data"], ["--accept-data goes with --resume; a run that begins takes any data"]),
        (["--processes", "3"], ["data.batch_size: expected a multiple of run.processes = 3"]),
        (["--processes", "2", "run.processes=4"], ["--processes 2: run.processes is given, too; leave one of the two"]),
        (["run.seed=0", "run.seed=1"], ["command line: run.seed: is given twice; leave one out"]),
        (["--overwite"], ["No such option '--overwite'", "train --help"]),
        (["data=null", "--data", "there"], ["--data: the config has no section data"]),
    ],
)
def test_a_bad_command_is_one_line_and_leaves_nothing_behind(gantrain, tmp_path, arguments, words):
    one_line(gantrain("train", QUICKSTART, *arguments), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_file_is_one_line_and_leaves_nothing_behind(gantrain, tmp_path):
    one_line(gantrain("train", "no.yaml"), f"no.yaml: there is nothing at no.yaml in {tmp_path}")
    one_line(gantrain("train", "a\nb.yaml"), "'a\\nb.yaml': expected a path without control characters")
    (tmp_path / "c.yaml").write_text("run:\n  steps: 1\n  steps: 2\n")
    one_line(gantrain("train", "c.yaml"), "c.yaml:3:3: duplicate key 'steps'")
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "cifar10-sngan", "--nearest", "3"], "--nearest: goes with --neighbours"),
        (["doctor", "--timeout", "inf"], "'--timeout': 'inf': expected a finite number"),
    ],
)
def test_an_option_that_means_nothing_is_one_line(gantrain, arguments, words):
    one_line(gantrain(*arguments), words)


def test_what_only_torch_can_know_is_one_line_too(gantrain, tmp_path):
    one_line(gantrain("solve", BILINEAR, "optimizer.lr=-1"), "optimizer.x: Invalid learning rate: -1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow  # test_wheel.py finds one with the command that is really installed
def test_a_target_is_found_in_the_working_directory(tmp_path):
    # An installed command has its own folder on the path instead.
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "gantrain"
    script.write_text("from gantrain.cli import main\nmain()\n")
    (tmp_path / "mine.py").write_text("from gantrain.outer import GDA\nclass Mine(GDA): pass\n")
    command = [sys.executable, str(script), "solve", BILINEAR, "outer={target: mine:Mine}", "steps=2"]
    env = ENV | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path, env=env)
    assert done.stderr == "" and done.stdout.startswith("Mine: 2 steps, 2 gradients a player, distance")


def test_a_working_directory_that_was_deleted_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.rmdir({str(gone)!r}); from gantrain.cli import main; main()"
    command = [sys.executable, "-c", program, "list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=gone, env=ENV)
    one_line((done.returncode, done.stdout, done.stderr), "the current directory has been deleted")


def test_the_working_directory_hides_no_other_module(gantrain, tmp_path):
    decoys(tmp_path)
    (tmp_path / "gantrain.py").unlink()  # Python itself would take it for the one that -m names
    (tmp_path / "yaml.py").write_text("raise SystemExit(3)")
    assert gantrain("schema")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "stream", "words"),
    [
        (["--version"], 0, 1, ["gantrain 0."]),
        (["--help"], 0, 1, ["train ", "sweep ", "compare ", "sample ", "solve ", "schema "]),
        ([], 2, 2, ["Usage:", "train "]),
        (["trian"], 2, 2, ["gantrain: No such command 'trian'", "--help"]),
        (["train"], 2, 2, ["gantrain: Missing argument 'CONFIG'", "train --help"]),
        (
            ["train", QUICKSTART, "--processes", "0"],
            2,
            2,
            ["'--processes': '0': expected a whole number"],
        ),
        (["sweep", QUICKSTART, "--seeds", "two"], 2, 2, ["'--seeds': 'two': expected a whole number of at least 1"]),
        (["eval", "x", "--timeout", "1.5"], 2, 2, ["'--timeout': '1.5': expected a whole number from 1 to 86400"]),
        (["diagnose", "x", "--radius", "wide"], 2, 2, ["'--radius': 'wide': expected a number (see"]),
        (["map", MAP, "rho=-0.1"], 2, 2, ["gantrain: rho: varies along the axis x"]),
        (["sample", "nowhere"], 2, 2, ["gantrain: nowhere: no run here"]),
    ],
)
def test_where_the_answer_goes(gantrain, arguments, code, stream, words):
    result = gantrain(*arguments)
    assert result[0] == code and result[3 - stream] == ""
    assert all(word in result[stream] for word in words)


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "sweep",
        "list",
        "compare",
        "eval",
        "sample",
        "export",
        "diagnose",
        "solve",
        "map",
        "new",
        "doctor",
        "schema",
    ],
)
def test_help_shows_commands_that_can_be_copied(command):
    result = CliRunner().invoke(cli, [command, "--help"])
    assert result.exit_code == 0
    examples = [line.split() for line in result.output.splitlines() if line.startswith(f"  gantrain {command} ")]
    assert examples
    for words in examples:
        for word in words:
            assert not word.startswith("configs/") or (ROOT / word).is_file()
        options = {option for p in cli.commands[command].params for option in p.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_the_overrides_in_the_help_are_accepted():
    from gantrain.config.loading import load, load_map, load_solve

    for command, loader in (("train", load), ("doctor", load), ("solve", load_solve), ("map", load_map)):
        for line in cli.commands[command].help.splitlines():
            words = line.split()
            if words[:2] == ["gantrain", command]:
                for config in (word for word in words if word.startswith("configs/")):
                    loader(ROOT / config, [word for word in words if "=" in word])


def test_the_sweeps_in_the_help_are_accepted(monkeypatch):
    from gantrain.commands.sweep import grid

    monkeypatch.chdir(ROOT)
    sizes = []
    for line in cli.commands["sweep"].help.splitlines():
        words = shlex.split(line) if line.strip().startswith("gantrain sweep") else []
        if words:
            given = cli.commands["sweep"].make_context("sweep", words[2:]).params
            planned = grid(given["config"], given["overrides"], given["over"], given["seeds"])
            sizes.append(len({run.folder for run in planned}))
    assert sizes == [10, 2, 6, 2, 8]


def test_schema_prints_json(gantrain):
    for flags, key in ([], "run"), (["--solve"], "steps"), (["--map"], "outers"):
        code, out, err = gantrain("schema", *flags)
        assert (code, err) == (0, "") and key in json.loads(out)["properties"]


WITHOUT_TORCH = [
    ["--help"],
    ["train", "--help"],
    ["schema"],
    ["list", str(ROOT / "checkpoints")],
    ["train", QUICKSTART, "run.stpes=3"],
    ["train", QUICKSTART, "--steps", "3"],
    ["sweep", QUICKSTART, "--over", "outer=gdda"],
    ["solve", BILINEAR, "outer=gdda"],
    ["map", MAP, "outers=[gdda]"],
    ["sample", "nowhere"],
    ["export", "nowhere", "--to", "onnx"],
]
# One after the other in one process, up to the first that imports torch.
EACH = f"""
import sys
from gantrain.cli import main
for arguments in {WITHOUT_TORCH!r}:
    sys.argv = ["gantrain", *arguments]
    try:
        main()
    except SystemExit:
        pass
    if "torch" in sys.modules:
        sys.exit(f"torch was imported for {{arguments}}")
"""


def test_torch_is_not_imported_before_it_is_needed():
    done = subprocess.run([sys.executable, "-c", EACH], capture_output=True, text=True, timeout=SECONDS, env=ENV)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("did you mean") >= 4


SHOWN = """
from pathlib import Path
from gantrain.outer import GDA

class Shown(GDA):
    def step(self, field):
        Path("begun").touch()
        return super().step(field)
"""


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path):
    (tmp_path / "shown.py").write_text(SHOWN)
    command = Command(tmp_path, "solve", BILINEAR, "steps=1e9", "outer={target: shown:Shown}")
    until(lambda: (tmp_path / "begun").exists() or not command.running())
    command.kill(signal.SIGINT)
    assert command.wait() == 130 and command.output == "" and command.errors.strip() == ""
    left = {path.name for path in tmp_path.iterdir()} - {file.name for file in command.files}
    assert left - {"__pycache__"} == {"begun", "shown.py"}
