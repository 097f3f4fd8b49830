"""The command report."""

from __future__ import annotations

import click

from gantrain.cli.completion import complete_run
from gantrain.cli.options import PATH, data_option, device_option, print_result, trust_option


@click.command(short_help="Write a report about runs as one HTML file.")
@click.argument("runs", type=PATH, shell_complete=complete_run, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--output",
    type=PATH,
    metavar="FILE",
    help="The file to write; by default report.html in RUN, or in the current folder if there are several.",
)
@click.option(
    "--at",
    type=click.Choice(["gradients", "kimg", "step"]),
    help="What curves are drawn over; by default steps, and gradient evaluations if runs with other configs differ.",
)
@device_option
@data_option
@trust_option
def report(
    runs: tuple[str, ...], output: str | None, at: str | None, device: str, data: str | None, trust: bool
) -> None:
    """Write a report about runs: one HTML file that needs no network, to read, to print and to send.

    RUN is the folder of a run, or a folder of several runs, such as that of a sweep. Runs that differ only in the seed
    form one group, as in gantrain compare. The report says what was trained, how it went in plain words, and what it
    cost; it shows samples over the training, paths between samples, the nearest training samples, curves with bands
    over the seeds, values with intervals, and the config without its defaults.

    A run may be training, interrupted or diverged. What cannot be shown is left out, and a line says why. No code that
    a received run names is executed without --trust, and nothing is downloaded. An earlier report is replaced.

    \b
    gantrain report checkpoints/quickstart
    gantrain report checkpoints/digits --output digits.html
    gantrain report checkpoints/digits_gda checkpoints/digits_rapp --at kimg
    """
    from gantrain.commands.report.report import report_runs

    print_result(report_runs(runs, output, at, device, trust, data))
