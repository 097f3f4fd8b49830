"""The command sample."""

from __future__ import annotations

import click

from gantrain.cli.options import PATH, data_option, print_result, require_run, step_option, trust_option, weights_option


@click.command(short_help="Sample the generator of a run.")
@click.argument("run", type=PATH)
@click.option(
    "--number", type=click.IntRange(min=1), metavar="N", default=64, show_default=True, help="Number of samples."
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of the latents."
)
@step_option
@weights_option
@click.option(
    "--classes",
    metavar="LIST",
    help="Classes that the samples take in turn: numbers from 0 on, or names; all by default.",
)
@click.option(
    "--output", type=PATH, metavar="PATH", help="File or folder to write; by default in the run's folder samples."
)
@click.option("--images", is_flag=True, help="Write a folder with one PNG file for each sample, instead of one grid.")
@click.option("--overwrite", is_flag=True, help="With --images: delete earlier samples in the folder first.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the generator computes; auto takes a GPU if there is one. Samples of GPU and CPU differ by rounding.",
)
@data_option
@trust_option
def sample(
    run: str,
    number: int,
    seed: int,
    step: int | None,
    weights: str | None,
    classes: str | None,
    output: str | None,
    images: bool,
    overwrite: bool,
    device: str,
    data: str | None,
    trust: bool,
) -> None:
    """Draw samples from the generator of the run in the folder RUN, and print where they are.

    \b
    gantrain sample checkpoints/quickstart
    gantrain sample checkpoints/quickstart --number 1000 --images --output digits
    gantrain sample checkpoints/quickstart --classes 3,5
    gantrain sample checkpoints/quickstart --step 500 --weights live --seed 1
    """
    require_run(run)
    from gantrain.commands.sample import sample_run

    chosen = None if classes is None else [name.strip() for name in classes.split(",") if name.strip()]
    print_result(sample_run(run, number, seed, step, weights, output, images, overwrite, trust, chosen, data, device))
