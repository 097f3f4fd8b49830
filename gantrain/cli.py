"""The command line. Commands check the config first, and import torch only afterwards."""

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
from gantrain.distributed.environment import shown_ranks
from gantrain.errors import Notice, UserError, is_out_of_memory
from gantrain.utils.output import output_error, protect_output

# The seconds that a process other than the host's first waits before it ends with an error. A launcher ends all
# processes as soon as one has ended, and the first process usually has the same error to print.
_AFTER_THE_FIRST = 5


class PathType(click.ParamType):
    """A path, in which ``~`` and variables are expanded where the shell has not done it, as in ``--output=~/x``."""

    name = "path"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from gantrain.config.types import CONTROL, expanded

        if CONTROL.search(value):
            self.fail(f"{value!r}: expected a path without control characters", param, ctx)
        try:
            return expanded(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


_PATH = PathType()
_trust = click.option(
    "--trust",
    is_flag=True,
    help="Execute the code outside gantrain that the config of a run names, though the run was not trained here.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gantrain", message="%(prog)s %(version)s")
def cli() -> None:
    """Train minimax games, above all GANs, from a YAML file.

    \b
    gantrain train configs/quickstart.yaml
    gantrain sample checkpoints/quickstart
    gantrain solve configs/toy/forsaken.yaml
    gantrain COMMAND --help
    """


@cli.command(short_help="Train the game that a config describes.")
@click.argument("config", type=_PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the run.")
@click.option("--overwrite", is_flag=True, help="Delete an earlier run of the same name first.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Start N processes on this host.")
@click.option("--accept-data", is_flag=True, help="With --resume: go on although the data have changed.")
@_trust
def train(
    config: str,
    overrides: tuple[str, ...],
    resume: bool,
    overwrite: bool,
    processes: int | None,
    accept_data: bool,
    trust: bool,
) -> None:
    """Train the game that the file CONFIG describes.

    The folder of the run is checkpoints/NAME, where NAME is the config's run.name. It holds the resolved config, the
    metrics (for TensorBoard and as metrics.jsonl), samples and checkpoints. Ctrl-C, SIGTERM and SIGHUP write a
    checkpoint and stop the run; --resume goes on from there. SIGUSR1 writes a checkpoint, and the run goes on.

    KEY=VALUE changes a key of the file. The value is read as YAML, as in run.steps=1e4 or ema=null; KEY.1=VALUE changes
    the second entry of a list. "gantrain schema" prints all keys.

    Under torchrun, --processes is the number of processes that you expect.

    Exit codes: 0 the run is finished, 2 an error that you can correct, 130 stopped by Ctrl-C.

    \b
    gantrain train configs/quickstart.yaml
    gantrain train configs/quickstart.yaml run.name=wide game.generator.model.width=64
    gantrain train configs/quickstart.yaml outer.name=rapp outer.relaxation=0.9
    gantrain train --processes 2 configs/quickstart.yaml
    gantrain train configs/quickstart.yaml --resume run.steps=6000
    """
    from gantrain.config.loading import load
    from gantrain.distributed.environment import check_processes, launched_place
    from gantrain.distributed.launch import before_joining, launch
    from gantrain.train.interrupt import ignore_requests

    ignore_requests()
    with before_joining():
        if resume and overwrite:
            raise UserError("--resume and --overwrite exclude each other; choose one")
        if accept_data and not resume:
            raise UserError("--accept-data goes with --resume; a run that begins takes any data")
        asked = [] if processes is None else [f"run.processes={processes}"]
        checked = load(config, [*overrides, *asked])
        place = launched_place()
        if place is not None:
            check_processes(processes, place.world_size)
    if place is None and processes is not None and processes > 1:
        flags = {"--resume": resume, "--overwrite": overwrite, "--accept-data": accept_data, "--trust": trust}
        given = [flag for flag, wanted in flags.items() if wanted]
        sys.exit(launch(["train", "--processes", str(processes), *given, "--", config, *overrides], processes))
    from gantrain.commands import train

    train.train(checked, resume, overwrite, processes, accept_data, trust)


@cli.command(short_help="Train a grid of configs with several seeds.")
@click.argument("config", type=_PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--over", multiple=True, metavar="KEY=VALUES", help="A key and its values, with commas between them.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, help="Number of seeds.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", default=1, show_default=True, help="Number of runs at a time."
)
@_trust
def sweep(
    config: str, overrides: tuple[str, ...], over: tuple[str, ...], seeds: int, workers: int, trust: bool
) -> None:
    """Train the game of the file CONFIG with all combinations of the values of --over, each with N seeds.

    The values of a key are a YAML list without its brackets; commas within {} and [] do not separate values. You can
    give --over several times, for several keys. KEY=VALUE holds for all runs. The seeds count up from run.seed.

    The folders of the runs lie in checkpoints/NAME, where NAME is the config's run.name. A run is named after its
    values, such as outer=gda,seed=0. If you stop a sweep, the same command goes on with it: it skips finished runs and
    resumes the others. All configs are checked before the first run starts. A run that fails does not stop the others.
    "gantrain compare" compares the runs.

    Exit codes: 0 all runs are finished, 1 a run failed, 2 an error that you can correct, 130 stopped by Ctrl-C.

    \b
    gantrain sweep configs/digits/base.yaml --over outer=gda,extragradient --seeds 5 --workers 2
    gantrain sweep configs/digits/base.yaml --over "outer={name: rapp, inner_steps: 3},{name: rapp, inner_steps: 5}"
    gantrain sweep configs/digits/rapp.yaml --over outer.relaxation=0.5,0.9 --over outer.inner_steps=2,3,5
    """
    from gantrain.distributed.environment import distributed

    if distributed():
        raise UserError("sweep: starts its processes itself; use --workers, and run.processes for many in each run")
    from gantrain.commands.sweep import grid, train

    sys.exit(train(grid(config, overrides, over, seeds), workers, click.echo, main, trust))


@cli.command(short_help="Compare runs at equal cost, over their seeds.")
@click.argument("runs", type=_PATH, nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--metrics",
    metavar="LIST",
    help="Metrics to compare, such as fid,isc; by default those that were evaluated, or else the losses.",
)
@click.option(
    "--at",
    type=click.Choice(["gradients", "kimg", "step"]),
    default="gradients",
    show_default=True,
    help="The cost that is equal: gradient evaluations, thousands of samples, or training steps.",
)
@click.option(
    "--output", type=_PATH, metavar="FOLDER", help="Folder for comparison.png, comparison.csv and curves.csv."
)
def compare(runs: tuple[str, ...], metrics: str | None, at: str, output: str | None) -> None:
    """Compare runs: mean ± standard error over the seeds, at a cost that all runs have reached.

    RUN is the folder of a run, or a folder of several runs, such as that of a sweep. Runs that differ only in the seed
    form one group. The value of a run between two measurements is interpolated; "best" is the best value up to the
    cost.

    \b
    gantrain compare checkpoints/digits
    gantrain compare checkpoints/digits --metrics fid,isc --output comparison
    gantrain compare checkpoints/digits_gda checkpoints/digits_rapp --metrics loss/generator --at step
    """
    from gantrain.commands.compare import compare_runs

    wanted = None if metrics is None else metrics.replace(",", " ").split()
    _print(compare_runs(runs, wanted, at, output))


@cli.command(short_help="Sample the generator of a run.")
@click.argument("run", type=_PATH)
@click.option(
    "--number", type=click.IntRange(min=1), metavar="N", default=64, show_default=True, help="Number of samples."
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of the latents."
)
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the checkpoint; the newest by default.")
@click.option(
    "--weights",
    type=click.Choice(["ema", "live"]),
    help="The averaged weights or the trained weights; by default the averaged weights if the run keeps an average.",
)
@click.option(
    "--output", type=_PATH, metavar="PATH", help="File or folder to write; by default in the run's folder samples."
)
@click.option("--images", is_flag=True, help="Write a folder with one PNG file for each sample, instead of one grid.")
@click.option("--overwrite", is_flag=True, help="With --images: delete earlier samples in the folder first.")
@_trust
def sample(
    run: str,
    number: int,
    seed: int,
    step: int | None,
    weights: str | None,
    output: str | None,
    images: bool,
    overwrite: bool,
    trust: bool,
) -> None:
    """Draw samples from the generator of the run in the folder RUN, and print where they are.

    \b
    gantrain sample checkpoints/quickstart
    gantrain sample checkpoints/quickstart --number 1000 --images --output digits
    gantrain sample checkpoints/quickstart --step 500 --weights live --seed 1
    """
    _require_run(run)
    from gantrain.commands.sample import sample_run

    _print(sample_run(run, number, seed, step, weights, output, images, overwrite, trust))


@cli.command(name="eval", short_help="Measure how good a run is.")
@click.argument("run", type=_PATH, required=False)
@click.option(
    "--images", type=_PATH, metavar="PATH", help="Measure this folder or archive of images, instead of a run."
)
@click.option(
    "--against", type=_PATH, metavar="DATA", help="Folder, archive or data set to compare with; by default the run's."
)
@click.option("--metrics", metavar="LIST", help="Some of fid,isc,kid,prc,ppl; by default the run's, or the first four.")
@click.option(
    "--samples", type=click.IntRange(min=1), metavar="N", help="Number of samples; by default the run's, or 10000."
)
@click.option(
    "--features",
    type=_PATH,
    metavar="NAME",
    help="inception, or the folder of a classification run; by default the run's.",
)
@click.option("--feature-weights", type=_PATH, metavar="PATH", help="File with the weights of InceptionV3.")
@click.option("--digest", metavar="HEX", help="SHA-256 of that file, if its weights are not the published ones.")
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the checkpoint; the newest by default.")
@click.option(
    "--weights",
    type=click.Choice(["ema", "live"]),
    help="The averaged weights or the trained weights; by default the averaged weights if the run keeps an average.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Seed of the samples."
)
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Draw the samples N times, to estimate the error of each value.",
)
@click.option("--infinity", is_flag=True, help="Also extrapolate fid to infinitely many samples.")
@click.option(
    "--subset-size",
    type=click.IntRange(min=2),
    metavar="N",
    help="Number of images in a subset of kid; by default the run's, or 1000.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=64,
    show_default=True,
    help="Number of images that pass through the network at once.",
)
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help="Start N processes on this host.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 86400),
    metavar="SECONDS",
    help="Time for which several processes wait for each other; 240 by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@_trust
def evaluate(
    run: str | None, images: str | None, metrics: str | None, processes: int | None, as_json: bool, **options: Any
) -> None:
    """Measure how good RUN is: the metrics of its generator's samples, or its classifier's accuracy.

    RUN is the folder of a run or of one of its checkpoints, such as RUN/best. FID, IS, KID and the other metrics are
    those of torch-fidelity, with InceptionV3. With the features of your own classifier (--features) the values are
    named after the classifier.

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
            _require_run(run)
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
    if _first():
        _print(evaluate.as_json(report) if as_json else evaluate.table(report))


@cli.command(short_help="Measure a run's game, and suggest a method for it.")
@click.argument("run", type=_PATH)
@click.option("--step", type=click.IntRange(min=0), metavar="N", help="Step of the checkpoint; the newest by default.")
@click.option(
    "--to",
    type=click.IntRange(min=0),
    metavar="N",
    help="Step of a later checkpoint; measures the angle along the path to it.",
)
@click.option(
    "--batches", type=click.IntRange(min=1), metavar="N", help="Number of batches; by default the run's, or 3."
)
@click.option(
    "--eigenvalues",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of eigenvalues of each kind; by default the run's, or 4.",
)
@click.option(
    "--radius",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Radius in which sharpness is measured; by default the run's, or 0.05.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@_trust
def diagnose(run: str, step: int | None, to: int | None, as_json: bool, trust: bool, **options: Any) -> None:
    """Measure the game of RUN at a checkpoint: spectrum, share of rotation, L and rho, sharpness of each player.

    RUN is the folder of a run or of one of its checkpoints, such as RUN/best. The output ends in plain words: whether
    rotation or sharpness dominates, which outer loop the theory suggests, and which evidence would change that. The
    command writes a picture of the spectrum, the numbers and TensorBoard events into RUN/diagnosis/step_N.

    \b
    gantrain diagnose checkpoints/quickstart
    gantrain diagnose checkpoints/quickstart --step 2500 --to 3000
    gantrain diagnose checkpoints/quickstart/best --batches 8 --json
    """
    _require_run(run)
    from gantrain.commands.diagnose import diagnose_run

    _print(diagnose_run(run, step, to, as_json, trust, **options))


@cli.command(short_help="Solve a toy game and draw its path.")
@click.argument("config", type=_PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--output",
    type=_PATH,
    metavar="FOLDER",
    help="Where to write; checkpoints/NAME by default, with the config's name.",
)
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

    _print(solve_config(checked, output))


@cli.command(name="map", short_help="Draw where outer loops converge.")
@click.argument("config", type=_PATH)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--output",
    type=_PATH,
    metavar="FOLDER",
    help="Where to write; checkpoints/NAME by default, with the config's name.",
)
def map_(config: str, overrides: tuple[str, ...], output: str | None) -> None:
    """Draw for which games and settings the outer loops of the file CONFIG converge.

    The game is the quadratic game with Lipschitz constant L and cohypomonotonicity rho. The contraction of each loop
    per outer step is computed from its iteration matrix, and also measured in a run. Dashed lines bound the region for
    which the theorems guarantee convergence. The command writes map.png, map.csv and the resolved config. "gantrain
    schema --map" prints all keys.

    \b
    gantrain map configs/theory/map.yaml
    gantrain map configs/theory/map.yaml outers.0.inner_steps=5 gamma=0.7 --output checkpoints/few_inner_steps
    gantrain map configs/theory/map_gamma.yaml rho=-0.1
    """
    from gantrain.config.loading import load_map

    checked = load_map(config, overrides)
    from gantrain.commands.map import map_config

    _print(map_config(checked, output))


@cli.command(short_help="Say whether this machine and a config could train.")
@click.argument("config", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=120,
    show_default=True,
    help="How long one check may take.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def doctor(config: str | None, overrides: tuple[str, ...], timeout: float, as_json: bool) -> None:
    """Examine this machine and what is installed on it, and whether the run of the file CONFIG could train here.

    Each line says ok, note (a run trains all the same) or FAIL (it does not), what was found, and after "->" what to do
    about it. With CONFIG the run is built as gantrain train builds it, reads a batch and takes one step in memory.
    Nothing is downloaded, and nothing is written that stays. KEY=VALUE changes a key of the file.

    Exit codes: 0 the config could run, 2 it could not.

    \b
    gantrain doctor
    gantrain doctor configs/quickstart.yaml
    gantrain doctor configs/quickstart.yaml run.device=cuda run.precision=bf16 --json
    """
    from gantrain.commands.doctor import report

    sys.dont_write_bytecode = True  # not even the folder in which Python caches the modules of targets
    found = report.examine_all(config, overrides, timeout)
    _print(report.as_json(found) if as_json else report.text(found))
    sys.exit(2 if any(finding.verdict == "FAIL" for finding in found) else 0)


@cli.command(short_help="Print every key that a config may have.")
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

    _print(json.dumps(json_schema(command or "train"), indent=2))


def main() -> NoReturn:
    """Run a command and exit with code 0 for success, 2 for an error of the user, 130 for Ctrl-C, 1 for a bug."""
    protect_output()
    # The class of a target: may lie in the working directory.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    warnings.showwarning = _show_warning
    # An image that Pillow has doubts about is read, or its error names the file; these warnings name none.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    # gantrain reports in one line what happens to processes. torch would add traces of its own C++ code.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    try:
        sys.exit(cli(standalone_mode=False))
    except UserError as error:
        _give_up(str(error), error.shared)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN):
            _give_up(
                f"{error.strerror}: a limit of the system on open files or processes is reached; use fewer workers or "
                "processes, or raise the limit (ulimit -n, ulimit -u)"
            )
        # If the system refuses access to a file, that is no bug. An error without a file may be one. Whoever writes a
        # file names it; what remains is the terminal, or the file or pipe that stands for it.
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _give_up(f"{error.filename or 'the output'}: {error.strerror}")
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
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        from gantrain.compute.memory import out_of_memory_message

        _give_up(f"{out_of_memory_message(error)}; close other programs, or take a smaller batch or network")


def _require_run(run: str) -> None:
    """Refuse a path that is no run, before torch is imported."""
    from pathlib import Path

    from gantrain.runs.folder import CONFIG

    place = Path(run)
    if not any((p / CONFIG).is_file() for p in (place, *place.parents[:2])):
        raise UserError(f"{run}: no run here; expected a folder with {CONFIG}, as under checkpoints/")


def _give_up(message: str, shared: bool = False) -> NoReturn:
    """Print an error and end.

    Args:
        message: the error, of one line or more.
        shared: whether all processes end with it; then the first of each host prints it, which has its own terminal.
    """
    if shown_ranks()[1] != 0:
        time.sleep(_AFTER_THE_FIRST)
        if shared:
            sys.exit(2)
    for line in message.splitlines():
        print(f"gantrain: {line}", file=sys.stderr)
    sys.exit(2)


def _print(result: object) -> None:
    """Print the result of a command. Whoever has closed the pipe wants no more of it.

    Raises:
        UserError: the result could not be written.
    """
    click.echo(result)
    error = output_error()
    if error is not None and error.errno != errno.EPIPE:
        raise UserError(f"standard output: cannot be written: {error.strerror}")


def _first() -> bool:
    """Whether this is the first process of all, which alone writes to the terminal."""
    return shown_ranks()[0] == 0


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Show a notice as a plain line, in the first process only; show any other warning as usual, with its source."""
    if not issubclass(category, Notice):
        _show_with_source(message, category, *where, **more)
    elif _first():
        # The name of a file in it may have line breaks.
        print(f"gantrain: {' '.join(str(message).splitlines())}", file=sys.stderr)


_show_with_source = warnings.showwarning
