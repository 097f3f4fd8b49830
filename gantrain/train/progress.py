"""The progress of a run: a live bar on a terminal, or plain lines if the output goes elsewhere."""

from __future__ import annotations

import datetime
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 1.0
SECONDS_BETWEEN_FRAMES = 0.1
# After so many seconds without a line a step is shown although nothing is logged at it.
SILENCE = 10.0
RECENT = 20
# The errors of a stream that is closed, full, or lacks the characters; they are suppressed inside the context.
_UNWRITABLE = suppress(OSError, ValueError)


class Progress:
    """Shows the progress of a run towards the end of its budget.

    The display changes only when :meth:`update` or :meth:`note` is called; no thread is started. The time left is
    computed from the speed over the last updates. What cannot be written is left out: no output ends a run.

    Args:
        steps: the number of steps of the whole run, which is shown beside the current step; None if the budget is not
            one of steps.
        start: the share of the budget that is used up at the start; above 0 for a resumed run.
        enabled: whether anything is written; only the first process writes.
        stream: the stream to write to, by default standard output. A terminal gets a live bar.
    """

    def __init__(
        self, steps: int | None = None, start: float = 0.0, enabled: bool = True, stream: TextIO | None = None
    ):
        self.steps = steps
        self._stream = stream or sys.stdout
        self.enabled = enabled and self._stream is not None  # as it is for a program without a console
        self._recent = deque([(time.monotonic(), start)], maxlen=RECENT)
        self._shown = -float("inf")
        self._begun = time.monotonic()
        self._pending: str | None = None
        self._bar: Bar | None = None
        if not self.enabled or self._stream.closed or not self._stream.isatty():
            return
        console = Console(file=self._stream)
        if not console.is_dumb_terminal:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=console, auto_refresh=False)
            self._task = self._bar.add_task("starting", total=1.0)
            self._bar.update(self._task, completed=start)
            with _UNWRITABLE:
                self._bar.start()

    def update(self, step: int, done: float, values: Mapping[str, float]) -> None:
        """Show a step.

        Args:
            step: the number of training steps taken.
            done: the share of the budget that is used up; 1 or more at the end.
            values: the scalars of the step. The losses and the images or steps per second are
                shown.
        """
        if not self.enabled:
            return
        now = time.monotonic()
        self._recent.append((now, done))
        where, losses, pace = self._parts(step, done, values)
        self._pending = "  ".join([where, *losses, *pace])
        if self._bar is not None:
            # Each of the two lines fits into a terminal of 80 columns.
            description = "  ".join([where, *pace]) + "\n" + "  ".join(losses)
            self._bar.update(self._task, description=description, completed=min(done, 1.0))
        pause = SECONDS_BETWEEN_LINES if self._bar is None else SECONDS_BETWEEN_FRAMES
        if now - self._shown >= pause:
            self._show(now)

    def tick(self, step: int, done: float) -> None:
        """Show a step at which nothing is logged, if nothing was shown for a while.

        Args:
            step: the number of training steps taken.
            done: the share of the budget that is used up.
        """
        if self.enabled and time.monotonic() - max(self._shown, self._begun) >= SILENCE:
            self.update(step, done, {})

    def note(self, text: str) -> None:
        """Write a line that stays on the screen, below the lines before it."""
        if not self.enabled:
            return
        if self._pending is not None:
            self._show(time.monotonic())
        with _UNWRITABLE:
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=self._stream, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Show the last update, and stop the bar. A second call does nothing."""
        if self._pending is not None:
            self._show(time.monotonic())
        if self._bar is not None:
            with _UNWRITABLE:
                self._bar.stop()

    def _show(self, now: float) -> None:
        with _UNWRITABLE:
            if self._bar is not None:
                self._bar.refresh()
            else:
                print(self._pending, file=self._stream, flush=True)
        self._shown, self._pending = now, None

    def _parts(self, step: int, done: float, values: Mapping[str, float]) -> tuple[str, list[str], list[str]]:
        """The words for the step, for the losses, and for the speed and the time left."""
        where = f"step {step}" if self.steps is None else f"step {step}/{self.steps}"
        losses = [f"{name} {value:.3g}" for name, value in values.items() if name.startswith("loss/")]
        pace = []
        for things in ("images", "steps"):
            if f"{things}_per_second" in values:
                pace.append(f"{values[f'{things}_per_second']:.0f} {things}/s")
        if done < 1.0:
            pace.append(f"{self._left(done)} left")
        return where, losses, pace

    def _left(self, done: float) -> str:
        (then, before), (now, _) = self._recent[0], self._recent[-1]
        if done <= before or now <= then:
            return "-:--:--"
        seconds = (1.0 - done) * (now - then) / (done - before)
        return str(datetime.timedelta(seconds=round(seconds)))
