"""The command export."""

from __future__ import annotations

from typing import Any

import click

from gantrain.cli.completion import complete_run
from gantrain.cli.options import PATH, data_option, print_result, require_run, step_option, trust_option, weights_option


@click.command(short_help="Export the network of a run for other programs.")
@click.argument("run", type=PATH, shell_complete=complete_run)
@click.option(
    "--to",
    type=click.Choice(["onnx", "torch", "safetensors"]),
    required=True,
    help="A graph of ONNX; a graph that torch loads without gantrain; or the weights, of which gantrain builds the "
    "network.",
)
@step_option
@weights_option
@click.option("--output", type=PATH, metavar="FILE", help="File to write; by default in the run's folder exported.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier file.")
@data_option
@trust_option
def export(run: str, to: str, **options: Any) -> None:
    """Write the generator or the classifier of the run in the folder RUN into one file, and print where it is.

    The file is run on random inputs, and written only if it gives what the network gives.

    \b
    gantrain export checkpoints/quickstart --to onnx
    gantrain export checkpoints/quickstart --to torch --output digits.pt2
    gantrain export checkpoints/quickstart --to safetensors --step 500 --weights live
    """
    require_run(run)
    from gantrain.commands.export import export as export_run

    print_result(export_run(run, to, **options))
