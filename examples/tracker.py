"""A tracker of your own: the rows of the log as a table, a line for each value.

gantrain train configs/quickstart.yaml run.name=own_tracker log.to='[tensorboard, {target: "examples.tracker:Table"}]'
"""

import csv
from pathlib import Path

from accelerate.tracking import GeneralTracker


class Table(GeneralTracker):
    """Writes ``table.csv`` into the run's folder.

    Args:
        names: the beginnings of the names of the values that are written.
    """

    name = "table"
    requires_logging_directory = True

    def __init__(self, logging_dir: str, names: list[str] = ("loss/", "score/")):
        super().__init__()
        self.path, self.names = Path(logging_dir, "table.csv"), tuple(names)

    @property
    def tracker(self):
        return self.path

    def log(self, values, step=None, **kwargs):
        with self.path.open("a", newline="") as stream:
            csv.writer(stream).writerows([step, n, v] for n, v in values.items() if n.startswith(self.names))
