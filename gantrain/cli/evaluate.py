"""The command eval."""

from __future__ import annotations

import sys
from typing import Any

import click

from gantrain.cli.completion import complete_run
from gantrain.cli.options import (
    PATH,
    Whole,
    data_option,
    is_first_process,
    print_result,
    require_run,
    step_option,
    trust_option,
    weights_option,
)
from gantrain.config.metrics import METRICS
from gantrain.errors import UserError


@click.command(name="eval", short_help="Measure how good a run is.")
@click.argument("run", type=PATH, shell_complete=complete_run, required=False)
@click.option("--images", type=PATH, metavar="PATH", help="Measure this folder or archive of images, instead of a run.")
@click.option(
    "--against", type=PATH, metavar="DATA", help="Folder, archive or data set to compare with; by default the run's."
)
@click.option(
    "--metrics",
    metavar="LIST",
    help=f"Some of {','.join(METRICS)}; by default the run's, or the first four.",
)
@click.option("--samples", type=Whole(1), metavar="N", help="Number of samples; by default the run's, or 10000.")
@click.option(
    "--features",
    type=PATH,
    metavar="NAME",
    help="Features of all metrics: inception, vgg16, one of DINOv2 or CLIP, photos-classifier, or the folder of a "
    "classification run; by default the run's, or those by which each metric is defined.",
)
@click.option(
    "--feature-weights", type=PATH, metavar="PATH", help="File with the weights of InceptionV3, or of --features."
)
@click.option("--digest", metavar="HEX", help="SHA-256 of that file, if its weights are not the published ones.")
@step_option
@weights_option
@click.option("--seed", type=Whole(0), metavar="N", default=0, show_default=True, help="Seed of the samples.")
@click.option(
    "--draws",
    type=Whole(1),
    metavar="N",
    default=1,
    show_default=True,
    help="Draw the samples N times, to estimate the error of each value.",
)
@click.option("--infinity", is_flag=True, help="Also extrapolate fid to infinitely many samples.")
@click.option(
    "--subset-size",
    type=Whole(2),
    metavar="N",
    help="Number of images in a subset of kid; by default the run's, or 1000.",
)
@click.option(
    "--batch-size",
    type=Whole(1),
    metavar="N",
    default=64,
    show_default=True,
    help="Number of images that pass through the network at once.",
)
@click.option("--processes", type=Whole(1), metavar="N", help="Start N processes on this host.")
@click.option(
    "--timeout",
    type=Whole(1, 86400),
    metavar="SECONDS",
    help="Time for which several processes wait for each other; 240 by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@data_option
@trust_option
def evaluate(
    run: str | None, images: str | None, metrics: str | None, processes: int | None, as_json: bool, **options: Any
) -> None:
    """Measure how good RUN is: the metrics of its generator's samples, or its classifier's accuracy.

    RUN is the folder of a run or of one of its checkpoints, such as RUN/best. FID, IS, KID and the other metrics are
    those of torch-fidelity, with InceptionV3. With the features of a classifier, of your own or photos-classifier,
    which is shipped, the values are named after the classifier.

    \b
    gantrain eval checkpoints/quickstart
    gantrain eval checkpoints/quickstart/best --metrics fid,kid --draws 5 --json
    gantrain eval checkpoints/cifar10 --against "{name: cifar10, split: test}" --samples 50000
    gantrain eval --images samples/ --against photographs.zip --metrics fid
    """
    from gantrain.distributed.environment import check_processes, launched_place
    from gantrain.distributed.launch import before_joining, launch

    with before_joining():
        if (run is None) == (images is None):
            raise UserError("eval: name either a run, or images with --images")
        if run is not None:
            require_run(run)
        place = launched_place()
        if place is not None:
            check_processes(processes, place.world_size)
    if place is None and processes is not None and processes > 1:
        sys.exit(launch(sys.argv[1:], processes))
    from gantrain.commands import evaluate

    wanted = None if metrics is None else tuple(metrics.replace(",", " ").split())
    request = evaluate.Request(metrics=wanted, **options)
    if images is not None:
        report = evaluate.evaluate_images(images, request)
    elif run is not None:
        report = evaluate.evaluate_run(run, request)
    if is_first_process():
        print_result(evaluate.as_json(report) if as_json else evaluate.table(report))
