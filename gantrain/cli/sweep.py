"""The command sweep."""

from __future__ import annotations

import sys

import click

from gantrain.cli.assignments import ConfigCommand
from gantrain.cli.completion import complete_config, complete_setting
from gantrain.cli.entry import main
from gantrain.cli.options import PATH, Whole, trust_option
from gantrain.errors import UserError


@click.command(cls=ConfigCommand, short_help="Train a grid of configs with several seeds.")
@click.argument("config", type=PATH, shell_complete=complete_config)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting)
@click.option("--over", multiple=True, metavar="KEY=VALUES", help="A key, or keys that change together, and values.")
@click.option("--seeds", type=Whole(1), metavar="N", help="Number of seeds; by default that of the sweep file, or 1.")
@click.option("--workers", type=Whole(1), metavar="N", default=1, show_default=True, help="Number of runs at a time.")
@click.option("--retry-diverged", is_flag=True, help="Go on with the runs that diverged before, too.")
@trust_option
def sweep(
    config: str,
    overrides: tuple[str, ...],
    over: tuple[str, ...],
    seeds: int | None,
    workers: int,
    retry_diverged: bool,
    trust: bool,
) -> None:
    """Train the game of the file CONFIG with all combinations of the values of --over, each with N seeds.

    The values of a key are a YAML list without its brackets; commas within {} and [] do not separate values. You can
    give --over several times, for several keys; in KEY,KEY=VALUES all keys have the same value. KEY=VALUE holds for all
    runs. The seeds count up from run.seed.

    CONFIG may also be a sweep file, in whose key over the axes of the sweep have names; --over AXIS=NAME,NAME takes a
    part of one.

    The folders of the runs lie in checkpoints/NAME, where NAME is the config's run.name, or in checkpoints/NAME_sweep
    if checkpoints/NAME is a run. A run is named after its values, such as outer=gda,seed=0. Each worker trains one run
    after the other. A row is printed for each run that ends, and sweep.csv beside the runs has all rows.

    If you stop a sweep, the same command goes on with it: it skips finished runs and resumes the others. A run whose
    training diverged has ended, too; --retry-diverged goes on with it. All configs are checked before the first run
    starts. A run that fails does not stop the others. "gantrain compare" compares the runs.

    Exit codes: 0 all runs have finished or diverged, 1 a run failed, 2 an error that you can correct, 130 stopped by
    Ctrl-C.

    \b
    gantrain sweep configs/digits/base.yaml --over outer=gda,extragradient --seeds 5 --workers 2
    gantrain sweep configs/digits/base.yaml --over "outer={name: rapp, inner_steps: 3},{name: rapp, inner_steps: 5}"
    gantrain sweep configs/digits/rapp.yaml --over outer.relaxation=0.5,0.9 --over outer.inner_steps=2,3,5
    gantrain sweep configs/digits/base.yaml --over game.generator.optimizer.lr,game.discriminator.optimizer.lr=1e-3,2e-3
    gantrain sweep configs/sampa/sweep_cifar.yaml --over network=resnet56 --over method=sam,sampa-0.2 --seeds 1
    """
    from gantrain.distributed.environment import distributed

    if distributed():
        raise UserError("sweep: starts its processes itself; use --workers, and run.processes for many in each run")
    from gantrain.commands.sweep import grid, train
    from gantrain.train.interrupt import ignore_requests

    ignore_requests()

    sys.exit(
        train(grid(config, overrides, over, seeds), workers, click.echo, main, trust, retry_diverged=retry_diverged)
    )
