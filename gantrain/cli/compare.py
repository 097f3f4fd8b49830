"""The command compare."""

from __future__ import annotations

from typing import Any

import click

from gantrain.cli.completion import complete_run
from gantrain.cli.options import PATH, Finite, print_result


class Confidence(Finite):
    """A number between 0 and 1."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not 0 < number < 1:
            self.fail(f"{value!r}: expected a number between 0 and 1, such as 0.95", param, ctx)
        return number


@click.command(short_help="Compare runs at equal cost, over their seeds.")
@click.argument("runs", type=PATH, shell_complete=complete_run, nargs=-1, required=True, metavar="RUN...")
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
@click.option("--over", metavar="KEY[,KEY...]", help="Compare methods over the values of a key, such as outer.period.")
@click.option("--baseline", metavar="GROUP", help="Show the differences to this group: its label, or a part of it.")
@click.option("--pairs", is_flag=True, help="Show the differences of each group to each other.")
@click.option(
    "--confidence",
    type=Confidence(),
    metavar="VALUE",
    help="The confidence of the intervals that --baseline, --pairs or --threshold shows; 0.95 by default.",
)
@click.option(
    "--correct",
    type=click.Choice(["none", "holm"]),
    default="none",
    show_default=True,
    help="Correct p values and intervals for the number of all differences that are shown.",
)
@click.option("--threshold", type=Finite(), metavar="VALUE", help="With --over: count the runs beyond this value.")
@click.option("--ceiling", type=Finite(), metavar="VALUE", help="What a diverged run counts as, and the worst value.")
@click.option("--output", type=PATH, metavar="FOLDER", help="Folder for pictures and CSV files.")
def compare(
    runs: tuple[str, ...],
    metrics: str | None,
    at: str,
    over: str | None,
    baseline: str | None,
    pairs: bool,
    confidence: float | None,
    correct: str,
    threshold: float | None,
    ceiling: float | None,
    output: str | None,
) -> None:
    """Compare runs: mean ± standard error over the seeds, at a cost that all runs have reached.

    RUN is the folder of a run, or a folder of several runs, such as that of a sweep. Runs that differ only in the seed
    form one group. The value of a run between two measurements is interpolated; "best" is the best value up to the
    cost. A star marks the group that is ahead of every other by more than twice the standard error of the difference.
    The losses of a game with several players rank no runs, for a loss is low where the opponents play badly. Runs that
    diverged are counted, and do not lower the cost.

    --baseline GROUP shows how much the others differ from a group, seed by seed: the mean difference, its interval and
    the p value of the paired t test.

    --over KEY joins the runs that differ only in the seed and in KEY, such as a learning rate, to one method, and shows
    each method's values over those of KEY, its best value, its area, and with --threshold how many runs are beyond it.
    Several keys, with commas between them, have the same value in each run.

    \b
    gantrain compare checkpoints/digits
    gantrain compare checkpoints/digits --metrics fid,isc --output comparison
    gantrain compare checkpoints/digits --baseline gda --correct holm
    gantrain compare checkpoints/rates --over game.generator.optimizer.lr --metrics fid --threshold 8 --ceiling 40
    gantrain compare checkpoints/digits_gda checkpoints/digits_rapp --metrics fid,loss/generator --at step
    """
    from gantrain.commands.compare import compare_runs

    wanted = None if metrics is None else metrics.replace(",", " ").split()
    keys = [] if over is None else over.replace(",", " ").split()
    if over is not None and not keys:
        raise click.BadParameter("expected a key, as in --over outer.period", param_hint="--over")
    print_result(
        compare_runs(
            runs,
            wanted,
            at,
            output,
            over=keys,
            baseline=baseline,
            pairs=pairs,
            confidence=confidence,
            correct="holm" if correct == "holm" else "none",
            threshold=threshold,
            ceiling=ceiling,
        )
    )
