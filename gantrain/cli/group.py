"""The group to which all commands belong."""

from __future__ import annotations

import click

from gantrain import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gantrain", message="%(prog)s %(version)s")
def cli() -> None:
    """Train minimax games, above all GANs, from a YAML file.

    \b
    gantrain new mine --data photographs
    gantrain train configs/quickstart.yaml
    gantrain sample checkpoints/quickstart
    gantrain solve configs/toy/forsaken.yaml
    gantrain COMMAND --help
    """
