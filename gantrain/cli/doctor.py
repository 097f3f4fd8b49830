"""The command doctor."""

from __future__ import annotations

import sys

import click

from gantrain.cli.assignments import ConfigCommand
from gantrain.cli.completion import complete_config, complete_setting
from gantrain.cli.options import Positive, print_result


@click.command(cls=ConfigCommand, short_help="Say whether this machine and a config could train.")
@click.argument("config", required=False, shell_complete=complete_config)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting)
@click.option(
    "--timeout",
    type=Positive(most=86_400),
    metavar="SECONDS",
    default=120,
    show_default=True,
    help="How long one check may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def doctor(config: str | None, overrides: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Examine this machine and what is installed on it, and whether the run of the file CONFIG could train here.

    Each line says ok, note (a run trains all the same) or FAIL (it does not), what was found, and after "->" what to do
    about it. With CONFIG the run is built as gantrain train builds it, reads a batch and takes one step in memory.
    Nothing is downloaded, and nothing is written that stays. KEY=VALUE changes a key of the file.

    Exit codes: 0 the config could run, 2 it could not.

    \b
    gantrain doctor
    gantrain doctor configs/quickstart.yaml
    gantrain doctor configs/quickstart.yaml run.device=cuda run.precision=bf16 --json
    """
    from gantrain.commands.doctor import report

    sys.dont_write_bytecode = True  # not even the folder in which Python caches the modules of targets
    found = report.examine_all(config, overrides, timeout)
    print_result(report.as_json(found) if as_json else report.text(found))
    sys.exit(2 if any(finding.verdict == "FAIL" for finding in found) else 0)
