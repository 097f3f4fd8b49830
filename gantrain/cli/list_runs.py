"""The command list."""

from __future__ import annotations

import click

from gantrain.cli.options import PATH, print_result


@click.command(name="list", short_help="List runs with their state, step, best metric and time.")
@click.argument("folders", type=PATH, nargs=-1, metavar="[FOLDER]...")
@click.option(
    "--sort",
    type=click.Choice(["name", "changed", "state"]),
    default="name",
    show_default=True,
    help="The order of the runs; with changed, the one that changed last is at the end.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_runs(folders: tuple[str, ...], sort: str, as_json: bool) -> None:
    """List the runs in each FOLDER and in the folders inside it, such as those of sweeps; by default in checkpoints.

    The state of a run is one of: running; running?, if another host's process holds its lock; finished; stopped, if
    gantrain train --resume goes on with it; not saved, if it has no checkpoint yet; being deleted; damaged, with the
    reason below the table. "best" is the value of the checkpoint in RUN/best, "last" the newest value of the same
    metric, "time" the time of training so far. No code that a config names is executed, and nothing is written.

    \b
    gantrain list
    gantrain list checkpoints/digits --sort changed
    gantrain list --json
    """
    from gantrain.commands import list_runs

    runs = list_runs.list_runs(folders or list_runs.usual_folders(), sort)
    if as_json:
        print_result(list_runs.as_json(runs))
    else:
        print_result(list_runs.table(runs) if runs else list_runs.no_runs(folders))
