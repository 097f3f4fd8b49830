"""The progress of a run: how far it is, how fast, and when it will be over."""

from __future__ import annotations

import datetime
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from gantrain.train.display import Display, Frame, find_display

# After so many seconds without a line a step is shown although nothing is logged at it.
SILENCE = 10.0
RECENT = 20


class Progress:
    """Shows the progress of a run towards the end of its budget.

    What is shown changes only when :meth:`update` or :meth:`note` is called; no thread is started. The time left is
    computed from the speed over the last updates. What cannot be written is left out: no output ends a run.

    Args:
        steps: the number of steps of the whole run, which is shown beside the current step; None if the budget is not
            one of steps.
        start: the share of the budget that is used up at the start; above 0 for a resumed run.
        enabled: whether anything is written; only the first process writes.
        stream: the stream to write to, by default standard output; see :mod:`gantrain.train.display`.
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
        self._pending: Frame | None = None
        self._display: Display | None = find_display(self._stream, start) if self.enabled else None

    def update(self, step: int, done: float, values: Mapping[str, float]) -> None:
        """Show a step.

        Args:
            step: the number of training steps taken.
            done: the share of the budget that is used up; 1 or more at the end.
            values: the scalars of the step. The losses and the images or steps per second are
                shown.
        """
        if self._display is None:
            return
        now = time.monotonic()
        self._recent.append((now, done))
        self._pending = self._frame(step, done, values)
        if now - self._shown >= self._pause(now):
            self._show(now)

    def tick(self, step: int, done: float) -> None:
        """Show a step at which nothing is logged, if nothing was shown for a while.

        Args:
            step: the number of training steps taken.
            done: the share of the budget that is used up.
        """
        if self._display is None:
            return
        now = time.monotonic()
        if now - max(self._shown, self._begun) >= max(SILENCE, self._pause(now)):
            self.update(step, done, {})

    def note(self, text: str) -> None:
        """Write a line that stays on the screen, below the lines before it."""
        if self._display is not None:
            self._show_pending()
            self._display.note(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Show the last update, and leave it where it stands. A second call does nothing."""
        if self._display is not None:
            self._show_pending()
            self._display.close()

    def _pause(self, now: float) -> float:
        assert self._display is not None
        return self._display.pause(now - self._begun)

    def _show_pending(self) -> None:
        if self._pending is not None:
            self._show(time.monotonic())

    def _show(self, now: float) -> None:
        if self._display is not None and self._pending is not None:
            self._display.show(self._pending)
        self._shown, self._pending = now, None

    def _frame(self, step: int, done: float, values: Mapping[str, float]) -> Frame:
        """The words for the step, for the losses, and for the speed and the time left."""
        head = [f"step {step}" if self.steps is None else f"step {step}/{self.steps}"]
        for things in ("images", "steps"):
            if f"{things}_per_second" in values:
                head.append(f"{values[f'{things}_per_second']:.0f} {things}/s")
        if done < 1.0:
            head.append(f"{self._left(done)} left")
        losses = [f"{name} {value:.3g}" for name, value in values.items() if name.startswith("loss/")]
        return Frame(done, head, losses)

    def _left(self, done: float) -> str:
        (then, before), (now, _) = self._recent[0], self._recent[-1]
        if done <= before or now <= then:
            return "-:--:--"
        seconds = (1.0 - done) * (now - then) / (done - before)
        return str(datetime.timedelta(seconds=round(seconds)))
