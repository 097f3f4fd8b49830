"""The rows of a run's log on their way to trackers, such as Weights & Biases or MLflow.

A tracker cannot take back what it was given, and a run takes rows back: where it goes on from a checkpoint, it drops
the rows after the checkpoint. A row is therefore sent once a checkpoint holds it. How many rows each tracker has, the
run's folder says, so that a run that was killed goes on with the next row.
"""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gantrain.config.parts import Part, build, part_class, part_maker, part_name
from gantrain.config.sections import TENSORBOARD
from gantrain.config.user_code import UserCode, name_of
from gantrain.errors import Notice, UserError
from gantrain.utils.io import explaining_write_errors, open_regular, write_file
from gantrain.utils.nested import flatten

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

RECORD = "trackers.json"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Picture:
    """A picture, uint8 HWC, of a step."""

    tag: str
    step: int
    pixels: Any


@dataclass
class _Feed:
    """A tracker, and what it is still to be given.

    Attributes:
        key: the name of the tracker in messages.
        tracker: the tracker.
        sent: the number of rows that it has.
        started: whether the tracker was started.
        queue: what comes next, each with its number among all that trackers are given.
    """

    key: str
    tracker: GeneralTracker
    sent: int = 0
    started: bool = False
    queue: deque[tuple[int, Row | _Picture]] = field(default_factory=deque)

    def send(self, last: int) -> None:
        """Give the tracker everything up to a number."""
        with _explaining(self):
            while self.queue and self.queue[0][0] <= last:
                found = self.queue[0][1]
                if isinstance(found, _Picture):
                    self.tracker.log_images({found.tag: [found.pixels]}, step=found.step)
                else:
                    values = {k: math.nan if v is None else v for k, v in found.items() if k != "step"}
                    self.tracker.log(values, step=found["step"])
                    self.sent += 1
                self.queue.popleft()


class Trackers:
    """Sends the rows of a run to trackers, each row once, in order, and as soon as a checkpoint holds it.

    Args:
        to: the entries of ``log.to``: the validated parts, or trackers of Accelerate's kind that are built already.
        folder: the folder of the run.
        enabled: whether anything is sent; False on all processes but the first.

    Attributes:
        wanted: whether the run has a tracker, in whichever process.
        safe: the number up to which nothing is taken back any more. A thread that writes a checkpoint may set it to
            what :attr:`count` was when the checkpoint was taken.
        count: the number of rows and pictures so far.

    Raises:
        UserError: a tracker cannot be built, or its package is not installed.
    """

    def __init__(self, to: Sequence[Any], folder: Path, enabled: bool = True):
        self.folder = folder
        self.wanted = any(entry != TENSORBOARD for entry in to)
        self.count = self.safe = 0
        self._feeds: dict[str, _Feed] = {}
        for number, entry in enumerate(to if enabled else ()):
            if entry != TENSORBOARD:
                tracker = _built(entry, f"log.to.{number}", folder)
                name = part_name(entry) if isinstance(entry, Part) else name_of(tracker)
                self._feeds[name] = _Feed(f"log.to.{number}", tracker)

    @property
    def names(self) -> list[str]:
        """The names of the trackers."""
        return list(self._feeds)

    def start(self, config: Mapping[str, Any]) -> None:
        """Start the trackers; each that knows how goes on with the run that it began with.

        Args:
            config: the resolved config, whose leaves are the hyper-parameters.

        Raises:
            UserError: a tracker does not start.
        """
        if self._feeds:
            from accelerate import PartialState

            PartialState()  # without it, Accelerate's trackers refuse to write into Accelerate's log
        record = self._record()
        for name, feed in self._feeds.items():
            known = record.get(name, {})
            earlier = known.get("run_id") if hasattr(feed.tracker, "run_id") else None
            with _explaining(feed, "mend it and go on with --resume, or leave it out of log.to"):
                if earlier is not None:
                    feed.tracker.run_id = earlier
                feed.tracker.start()
                feed.started = True
                if earlier is None:
                    feed.tracker.store_init_configuration(settings(config))
            feed.sent = known.get("sent", 0)
            self._keep_record()

    def take_up(self, rows: Sequence[Row]) -> None:
        """Go on after these rows, which are in the log and stay there. Whatever else was to be sent is forgotten."""
        self.count = self.safe = len(rows)
        for feed in self._feeds.values():
            feed.sent = min(feed.sent, len(rows))
            feed.queue = deque(enumerate(rows[feed.sent :], start=feed.sent + 1))

    def row(self, row: Row) -> None:
        """Have a row sent, as ``metrics.jsonl`` has it."""
        self._add(row, self._feeds.values())

    def image(self, tag: str, step: int, image: Tensor) -> None:
        """Have a picture, uint8 CHW, sent to the trackers that take pictures."""
        taking = [feed for feed in self._feeds.values() if hasattr(feed.tracker, "log_images")]
        if taking:
            self._add(_Picture(tag, step, image.permute(1, 2, 0).numpy(force=True)), taking)

    def send(self) -> None:
        """Send what is safe.

        Raises:
            Exception: that of the first tracker that failed. The others have been sent everything, and the failed one
                will be sent the rest by the next call.
        """
        failed: Exception | None = None
        before = [feed.sent for feed in self._feeds.values()]
        for feed in self._feeds.values():
            try:
                feed.send(self.safe)
            except Exception as error:
                failed = failed or error
        if before != [feed.sent for feed in self._feeds.values()]:
            self._keep_record()
        if failed is not None:
            raise failed

    def finish(self) -> None:
        """Close the trackers. One that fails is named in a notice, since nothing is lost but its end."""
        for feed in self._feeds.values():
            try:
                with _explaining(feed):
                    if feed.started:
                        feed.started = False
                        feed.tracker.finish()
            except UserError as error:
                warnings.warn(str(error), Notice, stacklevel=2)

    def _add(self, event: Row | _Picture, feeds: Iterable[_Feed]) -> None:
        self.count += 1
        for feed in feeds:
            feed.queue.append((self.count, event))

    def _record(self) -> dict[str, dict[str, Any]]:
        """What an earlier process has written down of its trackers; nothing where that is lost."""
        try:
            with open_regular(self.folder / RECORD) as stream:
                record = json.loads(stream.read())
            return {name: each for name, each in record.items() if type(each["sent"]) is int and each["sent"] >= 0}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}

    def _keep_record(self) -> None:
        record = self._record()  # of trackers that are left out for now, too
        for name, feed in self._feeds.items():
            run_id = getattr(feed.tracker, "run_id", None)
            if feed.started:
                record[name] = {"sent": feed.sent, "run_id": run_id if isinstance(run_id, str) else None}
        if record:
            with explaining_write_errors(self.folder):
                write_file(self.folder / RECORD, json.dumps(record, indent=1) + "\n")


@contextmanager
def _explaining(feed: _Feed, advice: str = "") -> Iterator[None]:
    """Makes one line of an error of a tracker: with the place in the code of the user's own, if it is that."""
    try:
        with UserCode(feed.key, feed.tracker, advice):
            yield
    except UserError:
        raise
    except Exception as error:
        # Each package has errors of its own.
        text = " ".join(str(error).split())
        line = f"{feed.key}: {name_of(feed.tracker)} raised {type(error).__name__}: {text:.300}"
        raise UserError(line + (f"; {advice}" if advice else "")) from error


def settings(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """The leaves of a config as numbers, booleans and text; lists and null are spelt as in JSON."""
    return {
        key: leaf if isinstance(leaf, bool | int | float | str) else json.dumps(leaf, default=str)
        for key, leaf in flatten(config).items()
    }


def _built(entry: Any, key: str, folder: Path) -> GeneralTracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

    if isinstance(entry, Part):
        maker = part_maker(entry)
        for package, known in LOGGER_TYPE_TO_CLASS.items():
            if issubclass(part_class(entry), known) and package not in map(str, get_available_trackers()):
                raise UserError(f"{key}: the package {package} is not installed; run pip install {package}")
        supplied = {"run_name": folder.name, "logging_dir": str(folder)}
        takes = inspect.signature(maker).parameters
        entry = build("tracker", entry, given={k: v for k, v in supplied.items() if k in takes}, key=key)
    if not isinstance(entry, GeneralTracker):
        raise UserError(f"{key}: expected a tracker, an instance of accelerate.tracking.GeneralTracker")
    return entry
