"""What several commands share: options, and how results are printed."""

from __future__ import annotations

import errno
import math
from typing import Any

import click
from click.shell_completion import CompletionItem

from gantrain.distributed.environment import shown_ranks
from gantrain.errors import UserError
from gantrain.utils.output import output_error


class PathType(click.ParamType):
    """A path, in which ``~`` and variables are expanded where the shell has not done it, as in ``--output=~/x``."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from gantrain.config.types import CONTROL, expanded

        if CONTROL.search(value):
            self.fail(f"{value!r}: expected a path without control characters", param, ctx)
        try:
            return expanded(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class Whole(click.ParamType):
    """A whole number of at least a bound.

    Args:
        least: the smallest number.
        most: the largest number; None for no limit.
    """

    name = "number"

    def __init__(self, least: int, most: int | None = None):
        self.least = least
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self.least - 1
        if number < self.least or self.most is not None and number > self.most:
            bounds = f"of at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"
            self.fail(f"{value!r}: expected a whole number {bounds}", param, ctx)
        return number


class Finite(click.ParamType):
    """A number that is not NaN or infinite."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r}: expected a number", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r}: expected a finite number", param, ctx)
        return number


class Positive(Finite):
    """A number above 0, and at most a limit.

    Args:
        most: the limit.
    """

    def __init__(self, most: float = math.inf):
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not 0 < number <= self.most:
            limit = "" if math.isinf(self.most) else f" and at most {self.most:g}"
            self.fail(f"{value!r}: expected a number above 0{limit}", param, ctx)
        return number


PATH = PathType()
data_option = click.option(
    "--data", type=PATH, metavar="PATH", help="Where the training data lie now, if not where the config says."
)
step_option = click.option("--step", type=Whole(0), metavar="N", help="Step of the checkpoint; the newest by default.")
weights_option = click.option(
    "--weights",
    metavar="NAME",
    help="An average by its name (ema), live or anchor; by default the first average, or live if there is none.",
)
results_option = click.option(
    "--output",
    type=PATH,
    metavar="FOLDER",
    help="Where to write; checkpoints/NAME by default, with the config's name.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the generator computes; auto takes a GPU if there is one. Samples of GPU and CPU differ by rounding.",
)
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Execute the code outside gantrain that the config of a run names, though the run was not trained here.",
)


def require_run(run: str) -> None:
    """Refuse a path that is no run, before torch is imported. A bare name is searched as in gantrain.load."""
    from gantrain.config.shipped import find_run
    from gantrain.runs.folder import CONFIG, no_run

    place = find_run(run)
    if not any((p / CONFIG).is_file() for p in (place, *place.parents[:2])):
        raise no_run(run)


def print_result(result: object) -> None:
    """Print the result of a command. Whoever has closed the pipe wants no more of it.

    Raises:
        UserError: the result could not be written.
    """
    click.echo(result)
    error = output_error()
    if error is not None and error.errno != errno.EPIPE:
        raise UserError(f"standard output: cannot be written: {error.strerror}")


def is_first_process() -> bool:
    """Whether this is the first process of all, which alone writes to the terminal."""
    return shown_ranks()[0] == 0
