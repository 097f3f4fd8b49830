"""Where the progress of a run is shown: terminals of several widths, dumb ones, notebooks, pipes."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path

import pytest
import rich.console

from gantrain.train import display
from gantrain.train.display import Frame
from gantrain.train.progress import Progress

ROOT = Path(__file__).parents[2]
PLAYERS = ("domain_classifier_network", "generator_of_photographs", "discriminator_of_patches")
VALUES = {f"loss/{name}": 0.912 + place for place, name in enumerate(PLAYERS)} | {
    "score/real": 0.3,
    "images_per_second": 12345.0,
}
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of so many columns, and what was written to it."""

    def __init__(self, columns: int):
        self.leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = open(follower, "w", encoding="utf-8")  # noqa: SIM115 - closed when all is written

    def written(self) -> str:
        self.stream.close()
        output = b""
        try:
            while chunk := os.read(self.leader, 65536):
                output += chunk
        except OSError:  # how Linux says that the other side has closed
            pass
        os.close(self.leader)
        return output.decode()


@pytest.fixture(autouse=True)
def _as_in_a_shell(monkeypatch):
    """The variables of a shell."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "JPY_PARENT_PID", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)


def show_a_run(stream) -> None:
    with Progress(steps=3_000_000, stream=stream) as bar:
        for step in (1, 2):
            bar.update(step, step / 2, VALUES)
            bar.note(f"step {step}: fid 12.34, kid [0.1]")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_longer_than_the_terminal_and_nothing_that_matters_is_cut(columns, monkeypatch):
    terminal = Terminal(columns)
    monkeypatch.setattr(rich.console, "_STD_STREAMS", (terminal.stream.fileno(),))  # it is the standard output
    show_a_run(terminal.stream)
    lines = re.split(r"[\r\n]+", ANSI.sub("", terminal.written()))
    notes = [line for line in lines if line.startswith("step ") and "fid" in line]
    assert notes == ["step 1: fid 12.34, kid [0.1]", "step 2: fid 12.34, kid [0.1]"]
    shown = [line for line in lines if line not in notes]
    assert max(map(len, shown)) <= columns
    text = " ".join(shown)
    assert "━" in text and "step 2/3000000" in text and "12345 images/s" in text
    for value in ("0.912", "1.91", "2.91"):
        assert value in text
    assert all(f"loss/{name}" in text for name in PLAYERS) or columns == 20
    if columns >= 80:
        assert any(re.match(r"━+ +step 2/3000000  12345 images/s", line) for line in lines)


def test_a_game_of_many_players_fills_no_terminal():
    frame = Frame(0.5, ["step 5"], [f"loss/firm_{i} 0.1" for i in range(100)])
    with rich.console.Console(width=80, file=io.StringIO()) as console, console.capture() as captured:
        console.print(display.Drawn(frame))
    *lines, last = captured.get().splitlines()
    assert len(lines) == 6 and last == "…"


@pytest.mark.parametrize("kind", ["dumb", "pipe"])
def test_a_dumb_terminal_and_a_pipe_get_plain_lines(kind, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    if kind == "dumb":
        monkeypatch.setenv("TERM", "dumb")
        terminal = Terminal(80)
        show_a_run(terminal.stream)
        text = terminal.written().replace("\r\n", "\n")
    else:
        stream = io.StringIO()
        show_a_run(stream)
        text = stream.getvalue()
    assert "\x1b" not in text and "\r" not in text
    assert text.splitlines()[1::2] == ["step 1: fid 12.34, kid [0.1]", "step 2: fid 12.34, kid [0.1]"]


def test_without_colour_the_bar_has_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal(80)
    show_a_run(terminal.stream)
    text = terminal.written()
    assert "━" in text and not re.search(r"\x1b\[[0-9;]*[34][0-9][0-9;]*m", text)


def test_lines_grow_sparse(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("gantrain.train.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    bar, counts = Progress(stream=stream), []
    for seconds in (60, 3600, 86400):
        while now[0] < seconds:
            now[0] += 1 if seconds == 60 else 10
            bar.update(1, now[0] / 1e6, {})
        counts.append(len(stream.getvalue().splitlines()))
    first_minute, first_hour, first_day = counts
    assert 50 <= first_minute <= 61 and first_hour < 350 and first_day < first_hour + 24 * 60


def screen(text: str) -> list[str]:
    """The lines that a cell shows, in which a carriage return goes back to the beginning of the line."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_a_command_in_a_cell_writes_over_one_line(monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setattr(display, "_SECONDS_BETWEEN_MESSAGES", 0.0)
    terminal = Terminal(80)
    show_a_run(terminal.stream)
    text = terminal.written()
    assert "\x1b" not in text
    first, second, last, end = screen(text)
    assert (first, second) == ("step 1: fid 12.34, kid [0.1]", "step 2: fid 12.34, kid [0.1]")
    assert last.startswith("step 2/3000000  loss/domain") and last.endswith("12345 images/s") and end == ""


CELL = """
import time
from gantrain.train.progress import Progress
with Progress(steps=500) as bar:
    for step in range(1, 501):
        bar.update(step, step / 500, {"loss/generator": step, "images_per_second": 9})
        if step % 250 == 0:
            bar.note(f"step {step}: fid <3>")
"""


def executed(folder: Path, *cells: str) -> list[list[dict]]:
    """The outputs of the cells of a real notebook."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    kernel = folder / "kernels" / "here"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("JUPYTER_PATH", str(folder))
        patched.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        where = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, kernel_name="here", timeout=600, resources=where).execute()
    return [cell.outputs for cell in notebook.cells]


def bar_and_text(outputs: list[dict]) -> tuple[dict, str]:
    """The bar of a cell, which is its one display, and what was written to its standard output."""
    (bar,) = (output["data"] for output in outputs if output["output_type"] == "display_data")
    return bar, "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def test_in_a_notebook_the_bar_is_one_output_and_notes_stay(tmp_path):
    (outputs,) = executed(tmp_path, CELL)
    bar, text = bar_and_text(outputs)
    assert text == "step 250: fid <3>\nstep 500: fid <3>\n"
    assert bar["text/plain"] == "step 500/500  loss/generator 500  9 images/s"
    assert 'value="1.0000"' in bar["text/html"] and "step 500/500  9 images/s\nloss/generator 500" in bar["text/html"]


@pytest.mark.slow
def test_a_run_in_a_notebook(tmp_path):
    (tmp_path / "gantrain_here.py").write_text("from gantrain.cli import main\nmain()\n")
    train = """
from gantrain.commands.train import train
from gantrain.config.loading import load
train(load("configs/quickstart.yaml", ["run.steps=200", "evaluate.every=100", "samples.every=100"]))
"""
    command = f"!{sys.executable} gantrain_here.py train configs/quickstart.yaml run.name=c run.steps=200 evaluate=null"
    inside, started = executed(tmp_path, train, command)
    assert not [output for output in inside if output.get("name") == "stderr"]
    bar, text = bar_and_text(inside)
    assert bar["text/plain"].startswith("step 200/200  loss/")
    assert text.count("frechet_distance") == 2 and "finished at step 200" in text and len(text.splitlines()) < 15
    lines = screen("".join(output["text"] for output in started))
    assert len(lines) < 15 and any(line.startswith("finished at step 200") for line in lines)
