"""The command sample."""

from __future__ import annotations

from typing import Any

import click

from gantrain.cli.completion import complete_run
from gantrain.cli.options import (
    PATH,
    Finite,
    Whole,
    data_option,
    device_option,
    print_result,
    require_run,
    step_option,
    trust_option,
    weights_option,
)
from gantrain.errors import UserError

# The number of training samples beside each sample.
NEAREST = 5


@click.command(short_help="Sample the generator of a run.")
@click.argument("run", type=PATH, shell_complete=complete_run)
@click.option("--number", type=Whole(1), metavar="N", help="Number of samples; by default 64, and 8 to interpolate.")
@click.option("--seed", type=Whole(0), metavar="N", default=0, show_default=True, help="Seed of the latents.")
@step_option
@weights_option
@click.option(
    "--classes",
    metavar="LIST",
    help="Classes that the samples take in turn: numbers from 0 on, or names; all by default.",
)
@click.option(
    "--truncation",
    type=Finite(),
    metavar="T",
    help="Make samples more typical and less various: redraw latent coordinates beyond T, such as 0.7; for stylegan2, "
    "and other generators that truncate by themselves, psi.",
)
@click.option(
    "--interpolate",
    type=Whole(2),
    metavar="N",
    help="Draw paths of N images, from each sample to the next and from the last to the first; a row for each path.",
)
@click.option(
    "--fixed-latent",
    is_flag=True,
    help="With --interpolate: give all samples the first one's latent, so that only the class changes.",
)
@click.option("--gif", type=PATH, metavar="FILE", help="With --interpolate: also write the paths as a GIF that loops.")
@click.option(
    "--neighbours", is_flag=True, help="Also draw the nearest training samples beside each sample, and list them."
)
@click.option(
    "--nearest",
    type=Whole(1),
    metavar="K",
    help="With --neighbours: the number of training samples beside each sample; 5 by default.",
)
@click.option(
    "--features",
    type=PATH,
    metavar="NAME",
    help="With --neighbours: inception, or the folder of a classification run; by default the run's evaluate.features.",
)
@click.option(
    "--output", type=PATH, metavar="PATH", help="File or folder to write; by default in the run's folder samples."
)
@click.option("--images", is_flag=True, help="Write a folder with one PNG file for each sample, instead of one grid.")
@click.option("--overwrite", is_flag=True, help="Replace earlier files; with --images, delete earlier samples first.")
@device_option
@data_option
@trust_option
def sample(run: str, classes: str | None, neighbours: bool, nearest: int | None, **options: Any) -> None:
    """Draw samples from the generator of the run in the folder RUN, and print where they are.

    \b
    gantrain sample checkpoints/quickstart
    gantrain sample checkpoints/quickstart --number 1000 --images --output digits
    gantrain sample checkpoints/quickstart --classes 3,5 --truncation 0.7
    gantrain sample checkpoints/quickstart --interpolate 8 --gif path.gif
    gantrain sample checkpoints/quickstart --number 16 --neighbours
    gantrain sample checkpoints/quickstart --step 500 --weights live --seed 1
    """
    require_run(run)
    from gantrain.commands.sample import sample_run

    if nearest is not None and not neighbours:
        raise UserError("--nearest: goes with --neighbours")
    chosen = None if classes is None else [name.strip() for name in classes.split(",") if name.strip()]
    paths = sample_run(run, classes=chosen, neighbours=nearest or NEAREST if neighbours else None, **options)
    print_result("\n".join(map(str, paths)))
