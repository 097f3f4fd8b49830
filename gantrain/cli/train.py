"""The command train."""

from __future__ import annotations

import shlex
import sys
import warnings

import click

from gantrain.cli.assignments import ConfigCommand
from gantrain.cli.completion import complete_config, complete_setting
from gantrain.cli.options import PATH, Whole, data_option, print_result, trust_option
from gantrain.errors import Notice, UserError


@click.command(cls=ConfigCommand, short_help="Train the game that a config describes.")
@click.argument("config", type=PATH, shell_complete=complete_config)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=complete_setting)
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the run.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier run of the same name first.")
@click.option("--processes", type=Whole(1), metavar="N", help="Start N processes on this host.")
@click.option("--accept-data", is_flag=True, help="With --resume: go on although the data have changed.")
@click.option("--dry-run", is_flag=True, help="Measure what the run costs on this machine, and leave nothing behind.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print JSON instead of text.")
@data_option
@trust_option
def train(
    config: str,
    overrides: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    processes: int | None,
    accept_data: bool,
    dry_run: bool,
    as_json: bool,
    data: str | None,
    trust: bool,
) -> None:
    """Train the game that the file CONFIG describes.

    The folder of the run is checkpoints/NAME, where NAME is the config's run.name. It holds the resolved config, the
    metrics (for TensorBoard and as metrics.jsonl), samples and checkpoints. Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint and stop the run; --resume goes on from there. SIGUSR1 writes a checkpoint, and the run goes on.

    KEY=VALUE changes a key of the file. The value is read as YAML, as in run.steps=1e4 or ema=null; KEY.1=VALUE changes
    the second entry of a list. "gantrain schema" prints all keys.

    With --dry-run the run is built and takes steps, callbacks and a checkpoint for some seconds in a temporary folder.
    The command then shows the players and their parameters, the memory, the time and the gradient evaluations of a
    step, the time of the whole run and where everything will be written. Nothing is downloaded, and nothing stays.

    Under torchrun, --processes is the number of processes that you expect.

    Exit codes: 0 the run is finished, 2 an error that you can correct, 130 stopped by Ctrl-C.

    \b
    gantrain train configs/quickstart.yaml
    gantrain train configs/quickstart.yaml run.name=wide game.generator.model.width=64
    gantrain train configs/quickstart.yaml outer.name=rapp outer.relaxation=0.9
    gantrain train --processes 2 configs/quickstart.yaml
    gantrain train configs/quickstart.yaml --resume run.steps=6000
    gantrain train configs/quickstart.yaml --dry-run
    gantrain train configs/photos.yaml --resume --data /new/place/photographs
    """
    from gantrain.config.launch_settings import settings_for, spelt
    from gantrain.config.loading import load, sources
    from gantrain.config.merge import says
    from gantrain.distributed.environment import check_processes, launched_place
    from gantrain.distributed.launch import before_joining, launch, started_by_gantrain
    from gantrain.train.interrupt import ignore_requests

    ignore_requests()
    with before_joining():
        if resume and overwrite:
            raise UserError("--resume and --overwrite exclude each other; choose one")
        if accept_data and not resume:
            raise UserError("--accept-data goes with --resume; a run that begins takes any data")
        if as_json and not dry_run:
            raise UserError("--json goes with --dry-run; a run that trains prints its progress")
        if processes is not None and says(overrides, "run.processes"):
            raise UserError(f"--processes {processes}: run.processes is given, too; leave one of the two out")
        asked = [] if processes is None else [f"run.processes={processes}"]
        checked = load(config, [*overrides, *asked], data=data)
        settings = settings_for(checked)
        if settings:
            checked = load(config, [*settings, *overrides, *asked], data=data)
        place = launched_place()
        if place is not None:
            check_processes(processes, place.world_size)
    flags = {"--resume": resume, "--overwrite": overwrite, "--accept-data": accept_data, "--trust": trust}
    flags |= {"--dry-run": dry_run, "--json": as_json}
    given = [flag for flag, wanted in flags.items() if wanted] + ([] if data is None else ["--data", data])
    given += [] if processes is None else ["--processes", str(processes)]
    if place is None and processes is not None and processes > 1:
        sys.exit(launch(["train", *given, "--", config, *overrides], processes))
    handed_on = list(map(spelt, settings))
    if handed_on:
        warnings.warn(f"taken from accelerate: {', '.join(handed_on)}", Notice, stacklevel=2)
    if dry_run:
        from gantrain.commands.dry_run import lines, run

        report = run.dry_run(checked, resume, processes, trust)
        if report is not None:
            print_result(lines.as_json(report) if as_json else lines.text(report))
        return
    from gantrain.commands import train
    from gantrain.runs.about import Source

    command = shlex.join(["gantrain", "train", config, *handed_on, *overrides, *given])
    source = Source(command, *sources(config, [*settings, *overrides]))
    started_here = place is None or started_by_gantrain()
    options = [*([] if processes is None else ["--processes", str(processes)]), *(["--trust"] if trust else [])]
    options += [] if data is None else ["--data", data]
    program = click.get_current_context().command_path.split()
    again = [*program, config, "--resume", *options, *handed_on, *overrides] if started_here else None
    train.train(checked, resume, overwrite, processes, accept_data, trust, again, source)
