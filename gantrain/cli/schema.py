"""The command schema."""

from __future__ import annotations

import json
from typing import Literal

import click

from gantrain.cli.options import print_result


@click.command(short_help="Print every key that a config may have.")
@click.option("--solve", "command", flag_value="solve", help="Print the schema of the configs of gantrain solve.")
@click.option("--map", "command", flag_value="map", help="Print the schema of the configs of gantrain map.")
def schema(command: Literal["solve", "map"] | None) -> None:
    """Print the JSON schema of the configs of gantrain train: every key with its meaning, type and default.

    Editors with a YAML language server complete and check a config that begins with the comment
    "# yaml-language-server: $schema=gantrain.schema.json".

    \b
    gantrain schema > gantrain.schema.json
    """
    from gantrain.config.loading import json_schema

    print_result(json.dumps(json_schema(command or "train"), indent=2))
