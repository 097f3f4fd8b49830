"""The command schema."""

from __future__ import annotations

import json

import click

from gantrain.cli.options import print_result
from gantrain.errors import UserError


@click.command(short_help="Print every key that a config may have.")
@click.option("--solve", is_flag=True, help="Print the schema of the configs of gantrain solve.")
@click.option("--map", "maps", is_flag=True, help="Print the schema of the configs of gantrain map.")
def schema(solve: bool, maps: bool) -> None:
    """Print the JSON schema of the configs of gantrain train: every key with its meaning, type and default.

    Editors with a YAML language server complete and check a config that begins with the comment
    "# yaml-language-server: $schema=gantrain.schema.json".

    \b
    gantrain schema > gantrain.schema.json
    """
    from gantrain.config.loading import json_schema

    if solve and maps:
        raise UserError("--solve and --map exclude each other; choose one")
    print_result(json.dumps(json_schema("solve" if solve else "map" if maps else "train"), indent=2))
