"""The command compare."""

from __future__ import annotations

import click

from gantrain.cli.options import PATH, print_result


@click.command(short_help="Compare runs at equal cost, over their seeds.")
@click.argument("runs", type=PATH, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--metrics",
    metavar="LIST",
    help="Metrics to compare, such as fid,isc; by default those that were evaluated, or else the losses, unranked.",
)
@click.option(
    "--at",
    type=click.Choice(["gradients", "kimg", "step"]),
    default="gradients",
    show_default=True,
    help="The cost that is equal: gradient evaluations, thousands of samples, or training steps.",
)
@click.option("--output", type=PATH, metavar="FOLDER", help="Folder for comparison.png, comparison.csv and curves.csv.")
def compare(runs: tuple[str, ...], metrics: str | None, at: str, output: str | None) -> None:
    """Compare runs: mean ± standard error over the seeds, at a cost that all runs have reached.

    RUN is the folder of a run, or a folder of several runs, such as that of a sweep. Runs that differ only in the seed
    form one group. The value of a run between two measurements is interpolated; "best" is the best value up to the
    cost. A star marks the group that is ahead of every other by more than twice the standard error of the difference.
    The losses of a game with several players rank no runs, for a loss is low where the opponents play badly.

    \b
    gantrain compare checkpoints/digits
    gantrain compare checkpoints/digits --metrics fid,isc --output comparison
    gantrain compare checkpoints/digits_gda checkpoints/digits_rapp --metrics fid,loss/generator --at step
    """
    from gantrain.commands.comparison_report import compare_runs

    wanted = None if metrics is None else metrics.replace(",", " ").split()
    print_result(compare_runs(runs, wanted, at, output))
