"""A file of TensorBoard's events that is written at once, and not by a thread whose errors come later."""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

from gantrain.utils.io import append, explaining_write_errors

_numbers = itertools.count()


class Events:
    """A new file of events in a folder.

    Args:
        folder: the folder of the run, which exists.
        forgotten_from: the step from which on TensorBoard leaves out what earlier files have.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, folder: Path, forgotten_from: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = Path(folder) / name
        self._event = Event
        with explaining_write_errors(self.path):
            self._stream = self.path.open("xb", buffering=0)
        start = SessionLog(status=SessionLog.START)
        self._write([{"file_version": "brain.Event:2"}, {"session_log": start, "step": forgotten_from}])

    def add(self, *summaries: Any, step: int = 0) -> None:
        """Write summaries, as ``torch.utils.tensorboard.summary`` makes them.

        Raises:
            UserError: the file cannot be written. It is as it was.
        """
        self._write([{"summary": summary, "step": step} for summary in summaries])

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _write(self, events: list[dict[str, Any]]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        records = io.BytesIO()
        writer = RecordWriter(records)
        for entries in events:
            writer.write(self._event(wall_time=time.time(), **entries).SerializeToString())
        append(self._stream, records.getvalue(), self.path)
