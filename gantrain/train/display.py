"""Where the progress of a run is shown: a terminal, a notebook, or a stream of lines such as a file or a pipe."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

# The errors of a stream that is closed, full, or lacks the characters; they are suppressed inside the context.
_UNWRITABLE = suppress(OSError, ValueError)
# The widest and the narrowest bar, in columns, and the columns between two words.
_WIDEST, _NARROWEST, _GAP = 24, 8, 2
# The most lines of values below the bar.
_MOST_LINES = 6
# The seconds between two frames of a bar; a notebook sends each to the browser, and keeps it in its file.
_SECONDS_BETWEEN_FRAMES = 0.1
_SECONDS_BETWEEN_MESSAGES = 0.5
# The seconds between two lines: at first, at most, and as a share of the time that the run takes already.
_FIRST_PAUSE, _LONGEST_PAUSE, _SHARE = 1.0, 60.0, 1 / 60
# The most seconds between two lines that are written over one another; a notebook's file keeps them all.
_LONGEST_SILENCE = 10.0


@dataclass(frozen=True)
class Frame:
    """What is shown of a step.

    Attributes:
        done: the share of the budget that is used up, from 0 to 1.
        head: the words about the step, the speed and the time left.
        values: the words about the losses.
    """

    done: float
    head: Sequence[str]
    values: Sequence[str] = ()


class Display(Protocol):
    """Shows the frames of a run, each in the place of the one before, and notes that stay."""

    def pause(self, elapsed: float) -> float:
        """The seconds from one frame to the next, once the run has taken ``elapsed`` seconds."""

    def show(self, frame: Frame) -> None:
        """Show a frame."""

    def note(self, text: str) -> None:
        """Write a line that stays."""

    def close(self) -> None:
        """Leave the last frame where it stands. A second call does nothing."""


def find_display(stream: TextIO, done: float = 0.0) -> Display:
    """The display for a stream.

    Args:
        stream: the stream to write to.
        done: the share of the budget that is used up at the start.
    """
    if type(stream).__module__.partition(".")[0] == "ipykernel":
        return Notebook(stream, done)
    if stream.closed or not stream.isatty():
        return Lines(stream)
    console = Console(file=stream, force_jupyter=False)
    if console.is_dumb_terminal:
        return Lines(stream)
    return OneLine(stream) if _started_by_a_notebook() else Terminal(console, done)


class Lines:
    """Writes a line for each frame, more and more seldom: at last one a minute, so that days fit into a log.

    Args:
        stream: the stream to write to.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def pause(self, elapsed: float) -> float:
        return min(max(_FIRST_PAUSE, elapsed * _SHARE), _LONGEST_PAUSE)

    def show(self, frame: Frame) -> None:
        self.note(_one_line(frame))

    def note(self, text: str) -> None:
        with _UNWRITABLE:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        pass


class OneLine:
    """Writes each frame over the one before by a carriage return, which cells of notebooks understand.

    A cell that runs ``!gantrain train`` gives the command a terminal, and shows what is written to it; a cursor that
    goes up is not followed there, and a line of any length is no wider than one.

    Args:
        stream: the stream to write to.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._shown = ""

    def pause(self, elapsed: float) -> float:
        return min(max(_SECONDS_BETWEEN_MESSAGES, elapsed * _SHARE), _LONGEST_SILENCE)

    def show(self, frame: Frame) -> None:
        self._replace(_one_line(frame))

    def note(self, text: str) -> None:
        shown, (first, *others) = self._shown, text.split("\n")
        self._replace(first)
        self._write("".join(f"\n{line}" for line in (*others, shown)))
        self._shown = shown

    def close(self) -> None:
        if self._shown:
            self._write("\n")
        self._shown = ""

    def _replace(self, text: str) -> None:
        """Write a line over the one that is shown, which may be longer, at once: some pages show every return."""
        rest = " " * (cell_len(self._shown) - cell_len(text))
        self._write(f"\r{text}{rest}" if self._shown else text)
        self._shown = text

    def _write(self, text: str) -> None:
        with _UNWRITABLE:
            self._stream.write(text)
            self._stream.flush()


class Terminal:
    """Draws a bar at the bottom of a terminal, with the losses below it; notes move up.

    Args:
        console: the terminal.
        done: the share of the budget that is used up at the start.
    """

    def __init__(self, console: Console, done: float):
        self._console = console
        self._live = Live(Drawn(Frame(done, ["starting"])), console=console, auto_refresh=False)
        with _UNWRITABLE:
            self._live.start(refresh=True)

    def pause(self, elapsed: float) -> float:
        return _SECONDS_BETWEEN_FRAMES

    def show(self, frame: Frame) -> None:
        with _UNWRITABLE:
            self._live.update(Drawn(frame), refresh=True)

    def note(self, text: str) -> None:
        with _UNWRITABLE:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        with _UNWRITABLE:
            self._live.stop()


class Notebook:
    """Shows a bar in the output of a notebook's cell, above what the run writes; the bar is one output.

    Args:
        stream: the standard output of the notebook's kernel.
        done: the share of the budget that is used up at the start.
    """

    def __init__(self, stream: TextIO, done: float):
        from IPython.display import display

        self._stream = stream
        self._handle = display(self._content(Frame(done, ["starting"])), raw=True, display_id=True)

    def pause(self, elapsed: float) -> float:
        return _SECONDS_BETWEEN_MESSAGES

    def show(self, frame: Frame) -> None:
        with _UNWRITABLE:
            self._handle.update(self._content(frame), raw=True)

    def note(self, text: str) -> None:
        with _UNWRITABLE:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        pass

    @staticmethod
    def _content(frame: Frame) -> dict[str, str]:
        words = html.escape("\n".join("  ".join(part) for part in (frame.head, frame.values) if part))
        bar = f'<progress value="{min(frame.done, 1.0):.4f}" max="1" style="width: 100%; max-width: 40em"></progress>'
        return {
            "text/plain": _one_line(frame),
            "text/html": f'<div>{bar}<pre style="margin: 0; white-space: pre-wrap">{words}</pre></div>',
        }


@dataclass(frozen=True)
class Drawn:
    """Draws a frame as lines no wider than the console, which may change its width between two frames."""

    frame: Frame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        frame, width = self.frame, options.max_width
        room = width - _NARROWEST - 1
        beside = cell_len(frame.head[0]) <= room  # whether words stand in the line of the bar
        first, *others = flowed(frame.head, room if beside else width)
        size = min(_WIDEST, width - cell_len(first) - 1 if beside else width)
        bar = ProgressBar(total=1.0, completed=min(frame.done, 1.0), width=size)
        row = Table.grid(padding=(0, 1))
        row.add_row(bar, *([Text(first, no_wrap=True)] if beside else []))
        yield row
        others = others if beside else [first, *others]
        indent = size + 1
        if len(others) + len(list(flowed(frame.values, width - indent))) > 1:
            indent = 0
        lines = [*others, *flowed(frame.values, width - indent)]
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES - 1 :] = ["…"]
        for line in lines:
            yield Text(" " * indent + line, no_wrap=True, overflow="ellipsis")


def flowed(words: Sequence[str], width: int) -> list[str]:
    """The words in lines of at most ``width`` columns. Of a longer one its last part is kept, which is the number."""
    lines: list[str] = []
    for word in (_fitting(word, width) for word in words):
        if lines and cell_len(lines[-1]) + _GAP + cell_len(word) <= width:
            lines[-1] += " " * _GAP + word
        else:
            lines.append(word)
    return lines


def _fitting(word: str, width: int) -> str:
    if cell_len(word) <= width:
        return word
    name, _, number = word.rpartition(" ")
    return f"{set_cell_size(name, max(0, width - cell_len(number) - 2))}… {number}"


def _one_line(frame: Frame) -> str:
    """All words of a frame, those about the step first, and the speed and the time left last."""
    step, *pace = frame.head
    return (" " * _GAP).join([step, *frame.values, *pace])


def _started_by_a_notebook() -> bool:
    """Whether the kernel of a notebook has started this command, which then has these variables."""
    return "JPY_PARENT_PID" in os.environ or "inline" in os.environ.get("MPLBACKEND", "")
