"""What the doctor finds: lines of ok, note and FAIL, from checks that neither raise nor hang."""

from __future__ import annotations

import io
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import FrameType
from typing import Literal, NoReturn

from gantrain.errors import Notice, UserError

Verdict = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        verdict: "ok"; "note" for what does not keep a run from training; "FAIL" for what does.
        subject: what was looked at, in a word or two.
        text: what was found.
        remedy: what to do about it; never empty with FAIL.
    """

    verdict: Verdict
    subject: str
    text: str
    remedy: str = ""


class TooLong(BaseException):
    """A check took too long. No Exception, so that no code that handles those takes it for one of its own."""


def examine(subject: str, check: Callable[[], Iterable[Finding]], seconds: float) -> list[Finding]:
    """What a check finds; its exceptions, notices and silence are findings as well.

    Args:
        subject: the subject of findings about the check itself.
        check: yields findings. What it prints is swallowed.
        seconds: after so long the check is ended.
    """
    found: list[Finding] = []
    with warnings.catch_warnings(record=True) as heard, redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", Notice)
        try:
            with _limit(seconds):
                for finding in check():
                    found.append(finding)
        except TooLong:
            found.append(
                Finding("FAIL", subject, f"no answer for {seconds:g} seconds", "free the machine, or raise --timeout")
            )
        except UserError as error:
            found += refusals(error, subject)
        except (Exception, SystemExit) as error:
            what = " ".join(str(error).split())[:300]
            found.append(Finding("FAIL", subject, f"{type(error).__name__}: {what}", _REMEDIES.get(subject, _BUG)))
    notices = dict.fromkeys(str(w.message) for w in heard if issubclass(w.category, Notice))
    return found + [Finding("note", subject, notice) for notice in notices]


def refusals(error: UserError, subject: str) -> list[Finding]:
    """The lines of an error, each under the section of the config that it names, or else under ``subject``."""
    found = []
    for line in str(error).splitlines():
        section = line.partition(":")[0].partition(".")[0]
        about = section if section in _REMEDIES else subject
        found.append(Finding("FAIL", about, line, _REMEDIES.get(about, _BUG)))
    return found


_BUG = "mend what the line names; if it names nothing of yours, report it as a bug of gantrain"
# What helps against a failure, by subject, beside what the line itself says.
_REMEDIES = {
    "config": "correct the key; gantrain schema prints all keys with their meaning",
    "run": "change the key or the file that the line names; gantrain schema prints all keys with their meaning",
    "data": "check the path, its permissions and its files; docs/data.md has the data sets and their keys",
    "game": "change the key; docs/methods.md has the parts, gantrain schema their keys",
    "evaluate": "change the key, or evaluate: null; docs/evaluation.md has the features and the metrics",
    "step": "change the part that the line names; the first step of gantrain train would fail alike",
    "environment": "unset the variables that the line names",
    "packages": "reinstall: pip install --force-reinstall gantrain",
}


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise :class:`TooLong` in the block after so many seconds; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: FrameType | None) -> NoReturn:
        raise TooLong

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
