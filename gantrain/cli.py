"""The commands. They import torch only once the config is known to be good."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
import warnings
from typing import Any, Literal, NoReturn

import click

from gantrain import __version__
from gantrain.errors import Notice, UserError

# Seconds that a process other than the host's first waits before it reports an error: the first usually has the same
# one, and a launcher ends all processes as soon as one is gone.
_AFTER_THE_FIRST = 5


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gantrain", message="%(prog)s %(version)s")
def cli() -> None:
    """Train minimax games, and GANs above all, from a YAML file.

    \b
    gantrain train configs/quickstart.yaml
    gantrain sample checkpoints/quickstart
    gantrain solve configs/toy/forsaken.yaml
    gantrain COMMAND --help
    """


@cli.command(short_help="Train the game that a config describes.")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the run.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier run of the same name first.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Start N processes on this host.")
def train(config: str, overrides: tuple[str, ...], resume: bool, overwrite: bool, processes: int | None) -> None:
    """Train the game that the file CONFIG describes.

    The run lies in checkpoints/NAME, where NAME is the config's run.name: its resolved config, metrics (TensorBoard and
    metrics.jsonl), samples and checkpoints. Ctrl-C writes a checkpoint and stops; --resume goes on from there.

    KEY=VALUE changes a key of the file, and the value is read as YAML: run.steps=1e4, ema=null, a list's second entry
    as KEY.1=VALUE. "gantrain schema" prints the keys that there are.

    Under torchrun, --processes is the number of processes expected.

    Exit codes: 0 done, 2 something that you can put right, 130 stopped by Ctrl-C.

    \b
    gantrain train configs/quickstart.yaml
    gantrain train configs/quickstart.yaml run.name=wide game.generator.model.width=64
    gantrain train configs/quickstart.yaml outer.name=rapp outer.relaxation=0.9
    gantrain train --processes 2 configs/quickstart.yaml
    gantrain train configs/quickstart.yaml --resume run.steps=6000
    """
    from gantrain.config.loading import load
    from gantrain.distributed.environment import check_processes, distributed
    from gantrain.distributed.launch import before_joining, launch

    with before_joining():
        if resume and overwrite:
            raise UserError("--resume and --overwrite exclude each other; choose one")
        asked = [] if processes is None else [f"run.processes={processes}"]
        checked = load(config, [*overrides, *asked])
        if distributed():
            check_processes(processes, int(os.environ["WORLD_SIZE"]))
    if not distributed() and processes is not None and processes > 1:
        flags = ["--resume"] * resume + ["--overwrite"] * overwrite
        sys.exit(launch(["train", "--processes", str(processes), *flags, "--", config, *overrides], processes))
    from gantrain.commands import train

    train.train(checked, resume=resume, overwrite=overwrite, processes=processes)


@cli.command(short_help="Train a grid of configs with several seeds.")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--over", multiple=True, metavar="KEY=VALUES", help="A key and its values, between commas.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, help="How many seeds.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, help="Runs at once.")
def sweep(config: str, overrides: tuple[str, ...], over: tuple[str, ...], seeds: int, workers: int) -> None:
    """Train the game of the file CONFIG with all combinations of the values of --over, each with N seeds.

    The values of a key are a list in YAML without its brackets: commas within {} and [] do not count. --over may be
    given for several keys. KEY=VALUE holds for all runs. Seeds count up from run.seed.

    The runs lie in checkpoints/NAME, where NAME is the config's run.name, and are called by their values, such as
    outer=gda,seed=0. The same command goes on where it was stopped: finished runs are skipped, others resumed. All
    configs are checked before the first run starts; a run that fails then stops no other. "gantrain compare" shows
    what came out.

    Exit codes: 0 done, 1 a run failed, 2 something that you can put right, 130 stopped by Ctrl-C.

    \b
    gantrain sweep configs/digits/base.yaml --over outer=gda,extragradient --seeds 5 --workers 2
    gantrain sweep configs/digits/base.yaml --over "outer={name: rapp, inner_steps: 3},{name: rapp, inner_steps: 5}"
    gantrain sweep configs/digits/rapp.yaml --over outer.relaxation=0.5,0.9 --over outer.inner_steps=2,3,5
    """
    from gantrain.distributed.environment import distributed

    if distributed():
        raise UserError("sweep: starts its processes itself; use --workers, and run.processes for many in each run")
    from gantrain.commands.sweep import grid, train

    sys.exit(train(grid(config, overrides, over, seeds), workers, click.echo))


@cli.command(short_help="Compare runs at equal cost, over their seeds.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--metrics", metavar="LIST", help="Such as fid,isc; by default those evaluated, or else the losses.")
@click.option(
    "--at",
    type=click.Choice(["gradients", "kimg", "step"]),
    default="gradients",
    show_default=True,
    help="What is equal: gradient evaluations, thousands of samples, or training steps.",
)
@click.option("--output", metavar="FOLDER", help="Write comparison.png, comparison.csv and curves.csv there.")
def compare(runs: tuple[str, ...], metrics: str | None, at: str, output: str | None) -> None:
    """Compare runs: mean ± standard error over the seeds, at a cost that all of them have reached.

    RUN is the folder of a run, or a folder of runs such as a sweep's. Runs that differ only in the seed are taken
    together. The value of a run at a cost between two measurements is interpolated; "best" is the best up to there.

    \b
    gantrain compare checkpoints/digits
    gantrain compare checkpoints/digits --metrics fid,isc --output comparison
    gantrain compare checkpoints/digits_gda checkpoints/digits_rapp --metrics loss/generator --at step
    """
    from gantrain.commands.compare import compare_runs

    wanted = None if metrics is None else metrics.replace(",", " ").split()
    click.echo(compare_runs(runs, wanted, at, output))


@cli.command(short_help="Sample the generator of a run.")
@click.argument("run")
@click.option(
    "--number", type=click.IntRange(min=1), metavar="N", default=64, show_default=True, help="How many samples."
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of the latents."
)
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the checkpoint; the newest by default.")
@click.option(
    "--weights",
    type=click.Choice(["ema", "live"]),
    help="The averaged weights or the trained ones themselves; by default the averaged ones where the run keeps them.",
)
@click.option("--output", metavar="PATH", help="Where to write; into the run's samples by default.")
@click.option("--images", is_flag=True, help="A folder with one PNG a sample instead of one grid.")
def sample(
    run: str, number: int, seed: int, step: int | None, weights: str | None, output: str | None, images: bool
) -> None:
    """Sample the generator of the run in the folder RUN, and say where the samples are.

    \b
    gantrain sample checkpoints/quickstart
    gantrain sample checkpoints/quickstart --number 1000 --images --output digits
    gantrain sample checkpoints/quickstart --step 500 --weights live --seed 1
    """
    _require_run(run)
    from gantrain.commands.sample import sample_run

    click.echo(sample_run(run, number, seed, step, weights, output, images))


@cli.command(name="eval", short_help="Measure how good a run is.")
@click.argument("run", required=False)
@click.option("--images", metavar="PATH", help="A folder or archive of images instead of a run.")
@click.option("--against", metavar="DATA", help="Folder, archive or data set to compare with; by default the run's.")
@click.option("--metrics", metavar="LIST", help="Of fid,isc,kid,prc,ppl; by default the run's, or the first four.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="How many; by default the run's, or 10000.")
@click.option("--features", metavar="NAME", help="inception, or the folder of a classification; by default the run's.")
@click.option("--feature-weights", metavar="PATH", help="File of InceptionV3's weights.")
@click.option("--digest", metavar="HEX", help="SHA-256 that vouches for other weights than the published ones.")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the checkpoint; the newest by default.")
@click.option(
    "--weights", type=click.Choice(["ema", "live"]), help="Averaged or trained; averaged where there are any."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Of the samples.")
@click.option("--draws", type=click.IntRange(min=1), metavar="N", default=1, help="Sample anew N times, for errors.")
@click.option("--infinity", is_flag=True, help="Extrapolate fid to infinitely many samples as well.")
@click.option("--subset-size", type=click.IntRange(min=2), metavar="N", help="Images in a subset of kid; 1000.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", default=64, show_default=True)
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Start N processes on this host.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def evaluate(
    run: str | None, images: str | None, metrics: str | None, processes: int | None, as_json: bool, **options: Any
) -> None:
    """Measure how good RUN is: the metrics of its generator's samples, or its classifier's accuracy.

    RUN is the folder of a run or of one of its checkpoints, such as RUN/best. FID and its kin are torch-fidelity's,
    with InceptionV3; with the features of a classifier of your own (--features) they bear its name.

    \b
    gantrain eval checkpoints/quickstart
    gantrain eval checkpoints/quickstart/best --metrics fid,kid --draws 5 --json
    gantrain eval checkpoints/cifar10 --against "{name: cifar10, split: test}" --samples 50000
    gantrain eval --images samples/ --against photographs.zip --metrics fid
    """
    from gantrain.distributed.environment import check_processes, distributed
    from gantrain.distributed.launch import before_joining, launch

    with before_joining():
        if (run is None) == (images is None):
            raise UserError("eval: name a run, or images with --images; one of the two")
        if run is not None:
            _require_run(run)
        if distributed():
            check_processes(processes, int(os.environ["WORLD_SIZE"]))
    if not distributed() and processes is not None and processes > 1:
        sys.exit(launch(sys.argv[1:], processes))
    from gantrain.commands import evaluate

    wanted = None if metrics is None else tuple(metrics.replace(",", " ").split())
    request = evaluate.Request(metrics=wanted, **options)
    if images is not None:
        report = evaluate.evaluate_images(images, request)
    elif run is not None:
        report = evaluate.evaluate_run(run, request)
    if _first():
        click.echo(evaluate.as_json(report) if as_json else evaluate.table(report))


@cli.command(short_help="Say what shape a run's game has, and what that suggests.")
@click.argument("run")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the checkpoint; the newest by default.")
@click.option(
    "--to", type=click.IntRange(min=0), metavar="N", help="Step of a later checkpoint: the angle along the path to it."
)
@click.option("--batches", type=click.IntRange(min=1), metavar="N", help="Batches; by default the run's, or 3.")
@click.option("--eigenvalues", type=click.IntRange(min=1), metavar="N", help="Of each kind; the run's, or 4.")
@click.option("--radius", type=click.FloatRange(min=0, min_open=True), metavar="R", help="Of sharpness; 0.05.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of text.")
def diagnose(run: str, step: int | None, to: int | None, as_json: bool, **options: Any) -> None:
    """Measure the game of RUN at a checkpoint: spectrum, share of rotation, L and rho, sharpness of each player.

    RUN is the folder of a run or of one of its checkpoints, such as RUN/best. It ends in plain words: whether rotation
    or sharpness dominates, which outer loop the theory suggests, and what evidence would change that. A picture of the
    spectrum, the numbers and TensorBoard events are written into RUN/diagnosis/step_N.

    \b
    gantrain diagnose checkpoints/quickstart
    gantrain diagnose checkpoints/quickstart --step 2500 --to 3000
    gantrain diagnose checkpoints/quickstart/best --batches 8 --json
    """
    _require_run(run)
    from gantrain.commands.diagnose import diagnose_run

    click.echo(diagnose_run(run, step, to, as_json, **options))


@cli.command(short_help="Solve a toy game and draw its path.")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", metavar="FOLDER", help="Where to write; checkpoints/NAME by default, with the config's name.")
def solve(config: str, overrides: tuple[str, ...], output: str | None) -> None:
    """Solve the toy game that the file CONFIG describes, and say how near to its solution the path ends.

    Writes the path as trajectory.csv and trajectory.png, and the resolved config, over those of an earlier call.
    KEY=VALUE changes a key of the file, and the value is read as YAML; "gantrain schema --solve" prints the keys that
    there are.

    \b
    gantrain solve configs/toy/bilinear.yaml
    gantrain solve configs/toy/bilinear.yaml outer=gda --output checkpoints/bilinear_gda
    gantrain solve configs/toy/forsaken.yaml outer.inner_steps=20 steps=50
    """
    from gantrain.config.loading import load_solve

    checked = load_solve(config, overrides)
    from gantrain.commands.solve import solve_config

    click.echo(solve_config(checked, output))


@cli.command(name="map", short_help="Draw where outer loops converge.")
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output", metavar="FOLDER", help="Where to write; checkpoints/NAME by default, with the config's name.")
def map_(config: str, overrides: tuple[str, ...], output: str | None) -> None:
    """Draw for which games and settings the outer loops of the file CONFIG converge.

    The game is the quadratic one with Lipschitz constant L and cohypomonotonicity rho. Each loop's contraction per
    outer step is taken from its iteration matrix, and measured in a run; dashed is what the theorems guarantee. Writes
    map.png, map.csv and the resolved config. "gantrain schema --map" prints the keys that there are.

    \b
    gantrain map configs/theory/map.yaml
    gantrain map configs/theory/map.yaml outers.0.inner_steps=5 gamma=0.7 --output checkpoints/few_inner_steps
    gantrain map configs/theory/map_gamma.yaml rho=-0.1
    """
    from gantrain.config.loading import load_map

    checked = load_map(config, overrides)
    from gantrain.commands.map import map_config

    click.echo(map_config(checked, output))


@cli.command(short_help="Print every key that a config may have.")
@click.option("--solve", "command", flag_value="solve", help="Of the configs of gantrain solve.")
@click.option("--map", "command", flag_value="map", help="Of the configs of gantrain map.")
def schema(command: Literal["solve", "map"] | None) -> None:
    """Print the JSON schema of the configs of gantrain train: every key with its meaning, type and default.

    Editors with a YAML language server complete and check a config that begins with the comment
    "# yaml-language-server: $schema=gantrain.schema.json".

    \b
    gantrain schema > gantrain.schema.json
    """
    from gantrain.config.loading import json_schema

    click.echo(json.dumps(json_schema(command or "train"), indent=2))


def main() -> NoReturn:
    """Run a command and exit: 0 done, 2 something that the user can put right, 130 Ctrl-C, 1 a bug."""
    # A target: is looked for in the working directory as well.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    warnings.showwarning = _show_warning
    # That another process has ended is said in a line; torch would add where in its code it noticed.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        sys.exit(cli(standalone_mode=False))
    except UserError as error:
        _give_up(str(error))
    except OSError as error:
        # What the system refuses to do with a file is not a bug; without a file it may be one.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        _give_up(f"{error.filename or os.getcwd()}: {error.strerror}")
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        command = getattr(error, "ctx", None)
        hint = f" (see {command.command_path} --help)" if command else ""
        message = " ".join(error.format_message().split()).rstrip(".")
        print(f"gantrain: {message}{hint}", file=sys.stderr)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except (RuntimeError, MemoryError) as error:
        from gantrain.compute.memory import described, is_out_of_memory

        if not is_out_of_memory(error):
            raise
        _give_up(f"{described(error)}; close other programs, or take a smaller batch or network")


def _require_run(run: str) -> None:
    """Say that there is no run before torch is loaded."""
    from pathlib import Path

    from gantrain.runs.folder import CONFIG

    place = Path(run)
    if not any((p / CONFIG).is_file() for p in (place, *place.parents[:2])):
        raise UserError(f"{run}: no run here; expected a folder with {CONFIG}, as under checkpoints/")


def _give_up(message: str) -> NoReturn:
    # One line on each host, which has a terminal of its own.
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(_AFTER_THE_FIRST)
    for line in message.splitlines():
        print(f"gantrain: {line}", file=sys.stderr)
    sys.exit(2)


def _first() -> bool:
    """Whether this is the first process, which speaks for all."""
    return os.environ.get("RANK", "0") == "0"


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Notices as plain lines, of the first process alone; other warnings with their source, as usual."""
    if not issubclass(category, Notice):
        _show_with_source(message, category, *where, **more)
    elif _first():
        print(f"gantrain: {message}", file=sys.stderr)


_show_with_source = warnings.showwarning
