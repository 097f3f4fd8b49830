"""The command new."""

from __future__ import annotations

from typing import Literal, get_args

import click

from gantrain.cli.options import PATH, print_result

Template = Literal["quickstart", "few-photos", "photos", "classifier", "own-game"]


@click.command(short_help="Write a config for your images and this machine.")
@click.argument("name", type=PATH)
@click.option("--data", type=PATH, metavar="PATH", help="A folder or archive of images, or the name of a data set.")
@click.option("--from", "template", type=click.Choice(get_args(Template)), help="What to begin with.")
def new(
    name: str,
    data: str | None,
    template: Template | None,
) -> None:
    """Write NAME.yaml, the config of a run called NAME, with a comment at every line that you may want to change.

    The data are looked at (number, sizes, colours, classes, what cannot be read) and so is this machine; sizes of
    images and networks, the batch, penalties and augmentations are chosen for both. Nothing is downloaded, and no file
    is overwritten. NAME may have folders before it, as in experiments/mine.

    --data names a folder or archive of images, or a data set such as cifar10. Without it, the run trains on handwritten
    digits, which come with gantrain.

    \b
    --from quickstart   digits in about a minute; what is taken without --data
    --from few-photos   a GAN for few images, with DiffAugment
    --from photos       a GAN for many images
    --from classifier   a classifier of the folders' classes
    --from own-game     a game of your own, in NAME.py, of two networks

    \b
    gantrain new mine --data photographs
    gantrain new kinds --data photographs --from classifier
    gantrain new idea --from own-game
    """
    from gantrain.commands.new import create

    print_result(create.create(name, data, template))
