"""The command diagnose."""

from __future__ import annotations

from typing import Any

import click

from gantrain.cli.completion import complete_run
from gantrain.cli.options import (
    PATH,
    Positive,
    Whole,
    data_option,
    is_first_process,
    print_result,
    require_run,
    step_option,
    trust_option,
)


@click.command(short_help="Measure a run's game, and suggest a method for it.")
@click.argument("run", type=PATH, shell_complete=complete_run)
@step_option
@click.option(
    "--to",
    type=Whole(0),
    metavar="N",
    help="Step of a later checkpoint; measures the angle along the path to it.",
)
@click.option("--batches", type=Whole(1), metavar="N", help="Number of batches; by default the run's, or 3.")
@click.option(
    "--eigenvalues",
    type=Whole(1),
    metavar="N",
    help="Number of eigenvalues of each kind; by default the run's, or 4.",
)
@click.option(
    "--radius",
    type=Positive(),
    metavar="R",
    help="Radius in which sharpness is measured; by default the run's, or 0.05.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@data_option
@trust_option
def diagnose(
    run: str, step: int | None, to: int | None, as_json: bool, data: str | None, trust: bool, **options: Any
) -> None:
    """Measure the game of RUN at a checkpoint: spectrum, share of rotation, L and rho, sharpness of each player.

    RUN is the folder of a run or of one of its checkpoints, such as RUN/best. The output begins with three sentences in
    plain words: what the players do, what to try, and how far to trust that. Below are the numbers, and what the theory
    says: whether rotation or sharpness dominates, which outer loop it suggests, and which evidence would change that.
    The command writes a picture of the spectrum, the numbers and TensorBoard events into RUN/diagnosis/step_N.

    \b
    gantrain diagnose checkpoints/quickstart
    gantrain diagnose checkpoints/quickstart --step 2500 --to 3000
    gantrain diagnose checkpoints/quickstart/best --batches 8 --json
    """
    require_run(run)
    from gantrain.commands.diagnose import diagnose_run

    found = diagnose_run(run, step, to, as_json, trust, data, **options)
    if is_first_process():
        print_result(found)
