"""Sweeps of real runs, stopped, killed and failing, and what compare makes of them."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import resource
import signal
import threading

import psutil
import pytest
from forked import Command, decoys, gantrain, run_command, until
from tiny import RING, config_of, rows, same, state, write

from gantrain.cli import main
from gantrain.commands.list_runs import list_runs
from gantrain.commands.sweep import grid, plan
from gantrain.commands.sweep import train as sweep
from gantrain.commands.train import train
from gantrain.config.loading import load, resolved
from gantrain.errors import Notice, UserError
from gantrain.plotting.images import load_png

GRID = ("--over", "outer=gda,{name: rapp, inner_steps: 2}", "--seeds", "2")
NAMES = {f"outer={method},seed={seed}" for method in ("gda", "rapp-inner_steps=2") for seed in (0, 1)}


def folders(place):
    return {path.name for path in place.iterdir() if path.is_dir()}


def outcomes(output):
    """The outcomes in the table that a sweep has printed, by the names of the runs."""
    rows = [line.split() for line in output.splitlines() if re.match(r" *\d+/\d+ ", line)]
    return {row[-1]: row[1] for row in rows}


def sheet(place):
    with (place / "sweep.csv").open() as stream:
        return {row["name"]: row for row in csv.DictReader(stream)}


def session(command):
    """The processes that a command has started, itself included."""
    found = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == command.process.pid and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def checkpoints(place):
    return [path for path in place.glob("*/step_*") if path.name.removeprefix("step_").isdecimal()]


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_as_if_never_killed_and_is_compared(tmp_path):
    config = write(tmp_path, RING, "run.steps=null", "log.every=3", "checkpoint.every=4", "checkpoint.keep=1")
    decoys(tmp_path)
    sweep = ("sweep", config, *GRID, "--workers", "2")
    command = Command(tmp_path, *sweep, "run.gradients=1000000")
    until(lambda: len({path.parent for path in checkpoints(tmp_path / "ring")}) == 2 or not command.running())
    command.kill(signal.SIGKILL)
    assert command.wait() == -signal.SIGKILL, command.errors
    # It takes its runs along.
    until(lambda: not session(command))
    # A step of RAPP takes two gradients, and each third is logged.
    end = 6 * (max(2 * int(path.name[5:]) for path in checkpoints(tmp_path / "ring")) // 6 + 1)
    sweep = (*sweep, f"run.gradients={end}")
    done = gantrain(tmp_path, *sweep)
    assert outcomes(done.output) == dict.fromkeys(NAMES, "finished")
    assert done.output.endswith("4 finished, of 4 runs; compare them with: gantrain compare ring\n")
    assert folders(tmp_path / "ring") == NAMES
    settings = ("run.steps=null", f"run.gradients={end}", "log.every=3", "checkpoint.every=4")
    for name, outer, seed in (("gda", "gda", 0), ("rapp-inner_steps=2", "{name: rapp, inner_steps: 2}", 1)):
        run = tmp_path / "ring" / f"outer={name},seed={seed}"
        named = (f"run.name={name}", f"run.seed={seed}", f"outer={outer}")
        alone = train(config_of(RING, tmp_path, *settings, *named))
        assert same(state(run), state(alone)) and rows(run) == rows(alone)

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ring").glob("*/**/*")}
    table = sheet(tmp_path / "ring")
    assert gantrain(tmp_path, *sweep).output.startswith("4 of 4 runs had ended before\n4 finished, of 4 runs;")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ring").glob("*/**/*")} == before
    assert sheet(tmp_path / "ring") == table and table.keys() == NAMES
    row = table["outer=rapp-inner_steps=2,seed=1"]
    assert (row["outer"], row["seed"]) == ("{'name': 'rapp', 'inner_steps': 2}", "1")
    assert (row["outcome"], row["step"], row["gradients"]) == ("finished", str(end // 2), str(end))
    last = rows(tmp_path / "ring" / row["name"])[-1]
    assert float(row["loss/generator"]) == last["loss/generator"]

    shown = gantrain(tmp_path, "compare", "ring", "--output", "out").output
    assert f"at {end} gradient evaluations" in shown and shown.endswith("out/comparison.png\n")
    with (tmp_path / "out" / "comparison.csv").open() as stream:
        table = {(row["metric"], row["group"]): row for row in csv.DictReader(stream)}
    assert {metric for metric, _ in table} == {"loss/discriminator", "loss/generator"}
    lasts = [rows(tmp_path / "ring" / f"outer=gda,seed={seed}")[-1]["loss/generator"] for seed in (0, 1)]
    row = table["loss/generator", "outer=gda"]
    assert row["seeds"] == "2" and row["gradients"] == f"{end}.0"
    assert float(row["last"]) == pytest.approx(sum(lasts) / 2)
    assert float(row["last_error"]) == pytest.approx(abs(lasts[0] - lasts[1]) / 2)
    assert f"{float(row['last']):.4g} ± {float(row['last_error']):.2g}" in shown
    with (tmp_path / "out" / "curves.csv").open() as stream:
        curve = [r for r in csv.DictReader(stream) if r["metric"] == "loss/generator" and "rapp" in r["group"]]
    assert [float(r["gradients"]) for r in curve] == [*range(6, end + 1, 6)]
    assert load_png(tmp_path / "out" / "comparison.png").float().std() > 10


def test_ctrl_c_stops_the_runs_at_a_checkpoint_and_starts_no_other(tmp_path):
    config = write(tmp_path, RING, "run.steps=1000000")
    command = Command(tmp_path, "sweep", config, "--seeds", "3", "--workers", "2")
    logs = [tmp_path / "ring" / f"seed={seed}" / "metrics.jsonl" for seed in (0, 1)]
    until(lambda: all(log.exists() and log.stat().st_size for log in logs) or not command.running())
    os.killpg(command.process.pid, signal.SIGINT)
    assert command.wait() == 130 and command.errors == ""
    assert command.output == "stopped; the same command goes on\n"
    assert folders(tmp_path / "ring") == {path.parent.name for path in checkpoints(tmp_path / "ring")} != set()
    assert "seed=2" not in folders(tmp_path / "ring")


@pytest.mark.slow
def test_a_run_that_diverges_stops_no_other_and_is_not_tried_again(tmp_path):
    config = write(tmp_path, RING, "game.loss=wasserstein", "run.steps=4")
    sgd = "--over=game.generator.optimizer={name: sgd, lr: 1.0e+30},{name: sgd, lr: 0.1}"
    sweep = ("sweep", config, sgd, "game.discriminator.optimizer={name: sgd, lr: 0.1}")
    bad, good = "optimizer=sgd-lr=1e+30,seed=0", "optimizer=sgd-lr=0.1,seed=0"
    assert outcomes(gantrain(tmp_path, *sweep).output) == {bad: "diverged", good: "finished"}
    ring = tmp_path / "ring"
    record = json.loads((ring / bad / "diverged.json").read_text())
    row = sheet(ring)[bad]
    assert (row["outcome"], row["step"], row["reason"]) == ("diverged", str(record["step"]), record["reason"])
    listed = {run.folder.name: run for run in list_runs([ring])}
    assert (listed[bad].state, listed[bad].step, listed[good].state) == ("diverged", record["step"], "finished")

    before = {path: path.stat().st_mtime_ns for path in ring.glob("*/**/*")}
    assert outcomes(gantrain(tmp_path, *sweep).output) == {}
    assert {path: path.stat().st_mtime_ns for path in ring.glob("*/**/*")} == before
    assert outcomes(gantrain(tmp_path, *sweep, "--retry-diverged").output) == {bad: "diverged"}
    assert json.loads((ring / bad / "diverged.json").read_text()) == record


# Settings that a run makes for its whole process, and runs that end badly, in the order in which a worker trains them.
SETTINGS = {
    "plain": [],
    "other": ["run.threads=2", "run.deterministic=true", "run.tf32=true", "run.precision=bf16"],
    "lost": ["game.loss=wasserstein", "game.generator.optimizer={name: sgd, lr: 1.0e+30}"],
    "wrong": ["data.storage=disk"],
    "last": ["run.threads=1", "outer={name: lookahead, inner_steps: 5}", "log.to=[]"],
}


def test_one_worker_trains_all_runs_to_the_bits_that_each_has_alone(tmp_path):
    config = str(tmp_path / write(tmp_path, RING, "run.steps=6"))
    planned = plan(tmp_path / "together", {name: (config, settings) for name, settings in SETTINGS.items()}, [3])
    planned += plan(tmp_path / "again", {"plain": (config, [])}, [3])
    ends = {}
    assert sweep(planned, 1, lambda line: None, main, ended=lambda run, end: ends.setdefault(run.folder, end)) == 1
    states = ["finished", "finished", "diverged", "failed", "finished", "finished"]
    assert [end.state for end in ends.values()] == states
    assert "data.storage: disk was asked for" in ends[planned[3].folder].reason
    for name in ("plain", "other", "last"):
        given = [*SETTINGS[name], "run.seed=3", f"run.folder={tmp_path}", f"run.name={name}"]
        alone = train(load(config, given))
        for run in planned:
            if run.name == f"{name},seed=3":
                assert same(state(run.folder), state(alone)) and rows(run.folder) == rows(alone), name
    assert sheet(tmp_path / "again").keys() == {"plain,seed=3"}


def test_a_worker_that_is_killed_loses_one_run(tmp_path):
    config = str(tmp_path / write(tmp_path, RING, "run.steps=4"))
    points = {name: (config, [f"run.steps={steps}"]) for name, steps in (("a", 4), ("b", 10**7), ("c", 4))}
    planned = plan(tmp_path / "ring", points, [0])
    victim = planned[1].folder

    def kill():
        until((victim / "metrics.jsonl").exists)
        os.kill(json.loads((victim / "lock").read_text())["process"], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    ends = {}
    assert sweep(planned, 1, lambda line: None, main, ended=lambda run, end: ends.setdefault(run.name, end)) == 1
    killer.join()
    assert [end.state for end in ends.values()] == ["finished", "failed", "finished"]
    assert ends["b,seed=0"].reason == "ended by signal 9"


def test_keys_that_change_together(tmp_path):
    config = str(tmp_path / write(tmp_path, RING))
    rates = "game.generator.optimizer.lr,game.discriminator.optimizer.lr"
    planned = grid(config, [], [f"{rates}=0.002,0.004", "ema.decay=0.5"], 1)
    assert [run.name for run in planned] == ["lr=0.002,decay=0.5,seed=0", "lr=0.004,decay=0.5,seed=0"]
    for run, rate in zip(planned, (0.002, 0.004), strict=True):
        assert run.config.game.generator.optimizer.lr == run.config.game.discriminator.optimizer.lr == rate
        assert dict(run.values) == {**dict.fromkeys(rates.split(","), rate), "ema.decay": 0.5}
    apart = ("game.generator.optimizer.lr=1", "game.discriminator.optimizer.lr=2", "run.steps,log.every=4")
    (run,) = grid(config, [], apart, 1)
    assert run.name == "generator.optimizer.lr=1,discriminator.optimizer.lr=2,steps+every=4,seed=0"


SWEEP = """
base: config.yaml
set: {run.name: table, run.seed: 5, log: {every: 3}}
over:
  method:
    gda: {outer: gda}
    rapp-2: {outer.name: rapp, outer.inner_steps: 2}
  data:
    ring: {}
    pictures: {base: other.yaml, data: {name: image_folder, path: pictures, size: 8}}
  game.generator.optimizer.lr,game.discriminator.optimizer.lr: [0.001, 0.002]
seeds: 2
"""


def write_sweep(folder, *changes):
    """A sweep file beside a config; each change is a text and what takes its place."""
    write(folder, RING)
    text = SWEEP
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "sweep.yaml").write_text(text)
    return str(folder / "sweep.yaml")


ONE_BASE = ("base: other.yaml, ", "")


def test_a_sweep_file_names_its_axes_and_says_what_their_alternatives_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    path = write_sweep(tmp_path, ONE_BASE)
    planned = grid(path, ["run.steps=3"], [])
    words = [("gda", "rapp-2"), ("ring", "pictures"), ("0.001", "0.002")]
    names = [f"method={m},data={d},lr={r}" for m, d, r in itertools.product(*words)]
    assert [run.name for run in planned] == [f"{name},seed={seed}" for seed in (5, 6) for name in names]
    assert {run.folder.parent.name for run in planned} == {"table"}
    last = planned[-1]
    rates = dict.fromkeys(("game.generator.optimizer.lr", "game.discriminator.optimizer.lr"), 0.002)
    assert dict(last.values) == {"method": "rapp-2", "data": "pictures", **rates}
    assert (last.config.outer.name, last.config.outer.inner_steps, last.config.log.every) == ("rapp", 2, 3)
    assert last.config.run.steps == 3 and last.config.run.seed == 6
    # A path in the file is relative to it, also for the process that trains the run.
    assert last.config.data.part.path == str(tmp_path / "pictures")
    for run in (planned[0], last):
        assert resolved(load(run.arguments[0], run.arguments[1:])) == resolved(run.config)


def test_the_process_of_a_run_is_told_each_key_once(tmp_path):
    """Though an axis goes over the command line, which goes over the sweep file: a command line says a key once."""
    path = write_sweep(tmp_path, ONE_BASE)
    given = ["outer.inner_steps=4", "run.seed=3", "data.batch_size=16"]
    (run,) = grid(
        path,
        given,
        [
            "method=rapp-2",
            "data=ring",
            "game.generator.optimizer.lr,game.discriminator.optimizer.lr=0.001",
            "data.batch_size=8",
        ],
        1,
    )
    keys = [argument.partition("=")[0] for argument in run.arguments[1:]]
    assert len(set(keys)) == len(keys)
    assert run.config.data.batch_size == 8 and run.config.outer.inner_steps == 4 and run.config.run.seed == 3
    assert resolved(load(run.arguments[0], run.arguments[1:])) == resolved(run.config)


def test_axes_have_names_of_their_own_and_spaces_between_keys_mean_nothing(tmp_path):
    path = write_sweep(tmp_path, ONE_BASE, ("data:\n", "lr:\n"), ("lr,game", "lr, game"))
    (run, *_) = grid(path, [], ["optimizer.lr=0.001"], 1)
    assert run.name == "method=gda,lr=ring,optimizer.lr=0.001,seed=5"


def test_an_override_that_makes_runs_the_same_is_refused(tmp_path):
    path = write_sweep(tmp_path, ONE_BASE)
    with pytest.raises(UserError, match="method=gda,.* and method=rapp-2,.* would train the same run"):
        grid(path, ["outer={name: rapp, inner_steps: 2}"], ["data=ring"], 1)


def test_a_part_of_a_sweep_file_is_taken_and_added_to_on_the_command_line(tmp_path):
    path = write_sweep(tmp_path, ONE_BASE)
    rates = "game.generator.optimizer.lr,game.discriminator.optimizer.lr"
    chosen = ["method=rapp-2", "data=ring", f"{rates}=0.002", "ema.decay=0.5,0.9"]
    planned = grid(path, ["outer.inner_steps=4"], chosen, 1)
    assert [run.name for run in planned] == [
        f"method=rapp-2,data=ring,lr=0.002,decay={decay},seed=5" for decay in ("0.5", "0.9")
    ]
    assert planned[0].config.outer.inner_steps == 4, "the command line goes before the file"
    (run,) = grid(path, [], ["method=gda", "data=ring", "lr=0.001", "game.generator.optimizer.lr=3"], 1)
    assert run.name == "method=gda,data=ring,lr=0.001,generator.optimizer.lr=3,seed=5"


def test_each_alternative_of_an_axis_may_have_a_config_of_its_own(tmp_path):
    path = write_sweep(tmp_path, ("base: config.yaml\n", ""), ("ring: {}", "ring: {base: config.yaml}"))
    (tmp_path / "other.yaml").write_text("base: config.yaml\nema: {decay: 0.25}\n")
    planned = grid(path, [], ["method=gda", "lr=0.001"], 1)
    assert [run.config.ema.decay for run in planned] == [0.9, 0.25]


@pytest.mark.slow
def test_a_sweep_file_is_trained(tmp_path):
    path = write_sweep(tmp_path, ONE_BASE)
    part = ("--over", "data=ring", "--over", "lr=0.001", "--seeds", "1", "run.steps=2")
    done = gantrain(tmp_path, "sweep", path, *part)
    names = {f"method={method},data=ring,lr=0.001,seed=5" for method in ("gda", "rapp-2")}
    assert outcomes(done.output) == dict.fromkeys(names, "finished")
    assert {row["method"] for row in sheet(tmp_path / "table").values()} == {"gda", "rapp-2"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 2", "seeds: 0", "seeds: expected a whole number from 1, got 0"),
        ("seeds: 2", "seed: 2", "seed: expected one of base, set, over, seeds; did you mean 'seeds'"),
        (
            "seeds: 2",
            "outer: gda",
            "outer: expected one of base, .*; write it below set, as in set: {outer:",
        ),
        ("gda: {outer: gda}", "gda: {outer: gdb}", "sweep.yaml: over.method.gda: outer: unknown outer loop 'gdb'"),
        ("gda: {outer: gda}", "gda: gda", "over.method.gda: expected keys and their values, .*, got 'gda'"),
        ("gda: {outer: gda}", "a/b: {outer: gda}", "over.method.a/b: 'a/b' becomes part of the names of folders"),
        (
            "gda: {outer: gda}",
            "gda: {run: {seed: 3}}",
            "over.method.gda: run.seed: a sweep sets it itself: use --seeds",
        ),
        ("0.001, 0.002", "0.002, 0.002", "two runs would be called lr=0.002; give each value once"),
        ("[0.001, 0.002]", "[]", "over.game.generator.optimizer.lr,.*: expected one value or more"),
        ("[0.001, 0.002]", "0.1", "over.game.generator.*: expected alternatives by name, or a list of values"),
        ("log: {every: 3}", "lgo: {every: 3}", "sweep.yaml: set: lgo: unknown key; .*did you mean 'log'"),
        ("set: {run.name: table, run.seed: 5, log: {every: 3}}", "set: 3", "set: expected keys and their values"),
        ("base: config.yaml", "base: confg.yaml", "sweep.yaml: base: there is nothing at confg.yaml .*'config.yaml'"),
        ("base: config.yaml", "", "sweep.yaml: base: nothing says which config the runs take"),
        ("ring: {}", "ring: {base: config.yaml}", "sweep.yaml: base: two say it; expected base here, or in all"),
        ("base: config.yaml", "base: 3", "sweep.yaml: base: expected the path of a config, got 3"),
        (
            "rapp-2: {outer.name: rapp, outer.inner_steps: 2}",
            "same: {outer: gda}",
            "method=gda,data=ring,lr=0.001 and m",
        ),
        (
            "ring: {}",
            "ring: {outer: optimistic}",
            "method=gda,data=ring,lr=0.001 and method=rapp-2,data=ring,lr=0.001 w",
        ),
        ("method:", "seed:", "over.seed: sweep.csv has a column of this name already; choose another name"),
        ("seeds: 2", "  emma.decay: [0.9]", "sweep.yaml: over.emma.decay: emma: unknown key; .*did you mean 'ema'"),
        ("seeds: 2", "  ema.decay,ema.decay: [0.9]", "over.ema.decay,ema.decay: ema.decay is given twice"),
        ("seeds: 2", "  game.generator.optimizer.lr: [1]", "game.generator.optimizer.lr is given twice"),
        ("seeds: 2", "  method2: {}", "over.method2: expected alternatives .*, got an empty mapping"),
    ],
)
def test_a_bad_sweep_file_is_one_line(tmp_path, old, new, message):
    path = write_sweep(tmp_path, ONE_BASE, (old, new))
    with pytest.raises(UserError, match=message) as error:
        grid(path, [], [])
    assert "\n" not in str(error.value)


def test_a_base_in_some_alternatives_alone_and_a_wrong_part_are_refused(tmp_path):
    path = write_sweep(tmp_path, ("base: config.yaml\n", ""), ("other.yaml", "config.yaml"))
    with pytest.raises(UserError, match="over.data.ring.base: is missing; other alternatives have it"):
        grid(path, [], [])
    path = write_sweep(tmp_path, ONE_BASE)
    with pytest.raises(
        UserError, match="--over method: expected some of gda, rapp-2, got 'rapp'; did you mean 'rapp-2'"
    ):
        grid(path, [], ["method=rapp"])
    with pytest.raises(UserError, match="--over method is given twice"):
        grid(path, [], ["method=gda", "method=gda"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--over", "outer=gda,rap"], "command line: outer: unknown outer loop 'rap'.* did you mean 'rapp'"),
        (
            ["--over", "game.generator.optimizer.lr=1,-1", "--over", "outer=gda,gda"],
            "two runs would be called outer=gda; give",
        ),
        (["--over", "outer"], "--over 'outer': expected KEY=VALUE,VALUE"),
        (["--over", "outer="], "--over outer: expected one value or more"),
        (["--over", "outer={name: gda"], "--over outer:1:.*"),
        (["--over", "run.seed=1,2"], "--over run.seed: a sweep sets it itself: use --seeds"),
        (["--over", "outer=gda", "--over", "outer=rapp"], "--over outer is given twice"),
        (["--over", "ema.decay,ema.decay=1"], "--over ema.decay is given twice"),
        (["--over", "ema.decay,=1"], "--over 'ema.decay,=1': expected KEY=VALUE,VALUE"),
        (["--over", "run.steps=[1]"], "run.steps: expected"),
    ],
)
def test_a_bad_grid_is_one_line_and_nothing_is_written(tmp_path, arguments, message):
    refused(tmp_path, write(tmp_path, RING), arguments, message)
    assert not (tmp_path / "ring").exists()


def test_a_run_in_the_way_is_refused_before_anything_starts(tmp_path):
    config = write(tmp_path, RING, "run.steps=2")
    gantrain(tmp_path, "train", config, "run.name=outer=gda,seed=0", "run.folder=ring", "outer=gda")
    refused(tmp_path, config, ["--over", "outer=rapp,gda", "ema.decay=0.5"], "ema.decay: the run in .* has 0.9, this")
    assert folders(tmp_path / "ring") == {"outer=gda,seed=0"}
    file, aside = [str(tmp_path / config)], [f"run.folder={tmp_path}/ring", "run.name=outer=gda,seed=0"]
    with pytest.warns(Notice, match="outer=gda,seed=0: is a run, so the sweep's runs lie in .*outer=gda,seed=0_sweep$"):
        planned = grid(*file, aside, ["outer=rapp"], 2)
    assert {run.folder.parent.name for run in planned} == {"outer=gda,seed=0_sweep"}
    with pytest.raises(UserError, match="is a run, and the sweep's runs would lie in it"):
        plan(tmp_path / "ring" / "outer=gda,seed=0", {"a": (*file, [])}, [0])


def refused(place, config, arguments, message):
    command = Command(place, "sweep", config, *arguments)
    assert command.wait() == 2 and command.output == ""
    (line,) = command.errors.splitlines()
    assert line.startswith("gantrain: ") and re.search(message, line), line


def test_more_runs_at_a_time_than_the_limit_of_open_files_admits_are_one_line(tmp_path):
    config = write(tmp_path, RING)
    sweep = Command(tmp_path, "sweep", "--seeds", "60", "--workers", "60", config, target=_few_files)
    assert sweep.wait() == 2
    (line,) = sweep.errors.splitlines()
    assert line.startswith("gantrain: --workers: 60 runs at a time need 200 more open files, and the system's limit is")
    assert not (tmp_path / "ring").exists()


def _few_files(folder, arguments, files, environment):
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    run_command(folder, arguments, files, environment)
