"""The command map."""

from __future__ import annotations

import click

from gantrain.cli.assignments import ConfigCommand
from gantrain.cli.completion import complete_config, complete_setting
from gantrain.cli.options import PATH, print_result, results_option


@click.command(name="map", cls=ConfigCommand, schema="map", short_help="Draw where outer loops converge.")
@click.argument("config", type=PATH, shell_complete=complete_config)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting)
@results_option
def map_(config: str, overrides: tuple[str, ...], output: str | None) -> None:
    """Draw for which games and settings the outer loops of the file CONFIG converge.

    The game is the quadratic game with Lipschitz constant L and cohypomonotonicity rho. The contraction of each loop
    per outer step is computed from its iteration matrix, and also measured in a run. Dashed lines bound the region for
    which the theorems guarantee convergence. The command writes map.png, map.csv and the resolved config. "gantrain
    schema --map" prints all keys.

    \b
    gantrain map configs/theory/map.yaml
    gantrain map configs/theory/map.yaml outers.0.inner_steps=5 gamma=0.7 --output checkpoints/few_inner_steps
    gantrain map configs/theory/map_gamma.yaml x.low=-0.1 x.high=0.1
    """
    from gantrain.config.loading import load_map

    checked = load_map(config, overrides)
    from gantrain.commands.map import map_config, require_unfixed

    require_unfixed(checked, overrides)
    print_result(map_config(checked, output))
