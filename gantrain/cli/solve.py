"""The command solve."""

from __future__ import annotations

import click

from gantrain.cli.assignments import ConfigCommand
from gantrain.cli.completion import complete_config, complete_setting
from gantrain.cli.options import PATH, print_result, results_option


@click.command(cls=ConfigCommand, schema="solve", short_help="Solve a toy game and draw its path.")
@click.argument("config", type=PATH, shell_complete=complete_config)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting)
@results_option
def solve(config: str, overrides: tuple[str, ...], output: str | None) -> None:
    """Solve the toy game that the file CONFIG describes, and print the distance between the end of the path and the
    solution.

    The command writes the path as trajectory.csv and trajectory.png, and the resolved config. It overwrites the files
    of an earlier call. KEY=VALUE changes a key of the file; the value is read as YAML. "gantrain schema --solve" prints
    all keys.

    \b
    gantrain solve configs/toy/bilinear.yaml
    gantrain solve configs/toy/bilinear.yaml outer=gda --output checkpoints/bilinear_gda
    gantrain solve configs/toy/forsaken.yaml outer.inner_steps=20 steps=50
    """
    from gantrain.config.loading import load_solve

    checked = load_solve(config, overrides)
    from gantrain.commands.solve import solve_config

    print_result(solve_config(checked, output))
