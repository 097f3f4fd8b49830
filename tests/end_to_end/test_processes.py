"""Several processes compute what one computes, and are started and stopped as users do it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from forked import SECONDS, Command, decoys, ended, gantrain, hold_port, hosts, together, until
from tiny import DIGITS, RING, config_of, rows, same, state, write
from torch import nn

from gantrain.commands.train import make_trainer, train
from gantrain.data.spec import DataSpec
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.runs import checkpoint
from gantrain.runs.monitor import WALL_CLOCK, read_metrics
from gantrain.train import interrupt, trainer
from gantrain.train.interrupt import Interrupt
from gantrain.train.trainer import Trainer

LOOKAHEAD = "outer={name: lookahead, inner_steps: 3, base: extragradient}"
# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
NO_NORM = "game.generator.model.norm=none"
RUNS = {
    "gda_batch_norm": (DIGITS, "outer={name: gda, order: alternating}", *SGD, "game.conditional=true"),
    "gda_no_norm": (
        DIGITS,
        "outer={name: gda, critic_steps: 2}",
        NO_NORM,
        *SGD,
        "game.penalties=[{name: r1, every: 2}]",
    ),
    "r1_batch_norm": (
        DIGITS,
        "outer={name: gda}",
        *SGD,
        "game.discriminator.model=null",
        "game.discriminator.model={target: 'test_processes:Normalised'}",
        "game.penalties=[{name: r1}]",
    ),
    "lookahead_batch_norm": (DIGITS, LOOKAHEAD, *SGD),
    "lookahead_no_norm": (DIGITS, LOOKAHEAD, NO_NORM, *SGD),
    "adam": (RING, LOOKAHEAD, "log.initial_distance=true"),
    "stylegan2": (
        DIGITS,
        "outer={name: extragradient}",
        *(optimizer.replace("0.05", "0.001") for optimizer in SGD),
        "game.generator.model={name: stylegan2, width: 4, latent_dim: 4, mapping_layers: 2, style_mixing: 0.5}",
        "game.discriminator.model={name: stylegan2, width: 4}",
    ),
}
STEPS = 6
# Evaluations of the operator in these steps: alternating players are evaluated one after the other.
EVALUATIONS = dict.fromkeys(("gda_no_norm", "lookahead_no_norm", "adam"), 2 * STEPS)


class Normalised(nn.Sequential):
    """A discriminator of digits with batch norm, which a penalty differentiates twice."""

    def __init__(self, spec: DataSpec):
        layers = [nn.Conv2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(64, 8)]
        super().__init__(*layers, nn.BatchNorm1d(8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))


def train_all(folder: str) -> dict[str, tuple[int, list[torch.Tensor]]]:
    """Train each run; returns the collectives of its steps, and all of its parameters and buffers."""
    with process_group(cpu=True) as processes:
        return {name: train_one(Path(folder), name, processes) for name in RUNS}


def train_one(folder: Path, name: str, processes: Accelerator) -> tuple[int, list[torch.Tensor]]:
    base, *overrides = RUNS[name]
    config = config_of(base, folder, f"run.name={name}", f"run.steps={STEPS}", *overrides)
    calls, reduce = [], dist.all_reduce

    class Counted(Trainer):
        def train_step(self, observe: bool = False) -> None:
            dist.all_reduce = lambda *a, **k: (calls.append(a), reduce(*a, **k))[1]
            super().train_step(observe)
            dist.all_reduce = reduce

    made = train_with(processes, config, False, Counted)
    modules = [made.game.generator, made.game.discriminator, made.averages["ema"].module]
    return len(calls), [t.detach() for module in modules for t in module.state_dict().values()]


def train_with(processes: Accelerator, config: Any, resume: bool, kind: type[Trainer] = Trainer) -> Trainer:
    """What ``train`` does, within processes that have joined already."""
    made = make_trainer(config, processes.device, kind)
    made.fit(resume)
    return made


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return folder, together(train_all, str(folder))


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_trains(two, tmp_path, name):
    folder, answers = two
    base, *overrides = RUNS[name]
    one = train(config_of(base, tmp_path, f"run.name={name}", f"run.steps={STEPS}", *overrides))
    (step, expected), (other, found) = (checkpoint.load(run / f"step_{STEPS}") for run in (one, folder / name))
    assert step == other == STEPS
    for part in ("generator", "discriminator", "ema"):
        assert list(found[part]) == list(expected[part])
        for key, tensor in expected[part].items():
            torch.testing.assert_close(found[part][key], tensor, atol=1e-5, rtol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
    assert len(list((folder / name).glob("events.*"))) == 1
    logged, again = read_metrics(one), read_metrics(folder / name)
    assert [row["step"] for row in again] == [row["step"] for row in logged] and len(logged) == STEPS // 2
    for row, other_row in zip(logged, again, strict=True):
        assert other_row.keys() == row.keys()
        for key in row.keys() - WALL_CLOCK:
            assert other_row[key] == pytest.approx(row[key], rel=1e-4, abs=1e-5), key


@pytest.mark.parametrize("name", RUNS)
def test_the_processes_are_alike_to_the_last_bit(two, name):
    _, answers = two
    (_, first), (_, second) = (answer[name] for answer in answers)
    assert len(first) == len(second) > 10
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", EVALUATIONS)
def test_one_evaluation_of_the_operator_takes_one_collective(two, name):
    _, answers = two
    assert [answer[name][0] for answer in answers] == [EVALUATIONS[name]] * 2


def test_a_signal_stops_two_processes_which_go_on_as_if_nothing_had_been(tmp_path):
    config = write(tmp_path, DIGITS, LOOKAHEAD, "run.steps=1000000", "checkpoint.every=2")
    decoys(tmp_path)
    command = Command(tmp_path, "train", "--processes", "2", config)
    run = tmp_path / "digits"
    until(lambda: newest(run) >= 4 or not command.running())
    command.kill(signal.SIGTERM)
    assert command.wait() == 128 + signal.SIGTERM, command.errors
    assert command.errors == ""
    last = command.output.splitlines()[-1]
    step = re.fullmatch(rf"stopped at step (\d+); to go on: gantrain train {config} --resume --processes 2", last)[1]
    assert checkpoint.newest(run).name == f"step_{step}"
    together(train_on, str(tmp_path), int(step) + 4)
    assert same(state(run), state(tmp_path / "straight")) and rows(run) == rows(tmp_path / "straight")


def train_on(folder: str, steps: int) -> None:
    """Resume the run, then train the same without a stop."""
    with process_group(cpu=True) as processes:
        for name, resume in (("digits", True), ("straight", False)):
            config = config_of(DIGITS, Path(folder), LOOKAHEAD, f"run.name={name}", f"run.steps={steps}")
            train_with(processes, config, resume)


def test_a_signal_to_one_process_stops_both_at_one_step(tmp_path):
    (code, first), other = together(stopped, str(tmp_path))
    assert other == (code, first) and code == 128 + signal.SIGTERM and first in (5, 6)
    assert checkpoint.newest(tmp_path / "ring").name == f"step_{first}"


def stopped(folder: str) -> tuple[int, int]:
    """The exit code, and the step at which the run stopped, if the second process is told to in step 5."""
    steps = []

    class Told(Trainer):
        def train_step(self, observe: bool = False) -> None:
            super().train_step(observe)
            steps.append(self.step)
            if self.step == 5 and not self.main:
                signal.raise_signal(signal.SIGTERM)

    with process_group(cpu=True) as processes, pytest.raises(SystemExit) as stop:
        train_with(processes, config_of(RING, Path(folder)), False, Told)
    return stop.value.code, steps[-1]


@pytest.mark.slow
def test_torchrun_starts_processes_and_their_error_is_one_line(tmp_path):
    config = write(tmp_path, RING)
    torchrun = ["torch.distributed.run", "--nproc_per_node", "2", "-m", "gantrain"]
    done = python(tmp_path, *torchrun, "train", config)
    assert done.returncode == 0, done.stderr
    assert "finished at step 20" in done.stdout
    together(train_on_ring, str(tmp_path))
    assert same(state(tmp_path / "ring"), state(tmp_path / "again"))
    for again in (
        python(tmp_path, *torchrun, "train", config),
        python(tmp_path, "gantrain", "train", "--processes", "2", config),
    ):
        ours = [line for line in again.stderr.splitlines() if "gantrain:" in line or "rank1" in line]
        assert ours == [
            "gantrain: ring: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW"
        ]
    assert again.returncode == 2 and again.stderr.splitlines() == ours


def train_on_ring(folder: str) -> None:
    train(config_of(RING, Path(folder), "run.name=again"))


@pytest.mark.slow
def test_accelerate_that_starts_one_of_two_processes_is_found_out(tmp_path):
    config = write(tmp_path, RING)
    launcher = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "gantrain"]
    done = python(tmp_path, *launcher, "train", config)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("gantrain:"))
    assert "2 processes were asked for, but 1 runs" in line
    assert "returned non-zero exit status 2" in done.stderr
    assert not (tmp_path / "ring").exists()


def python(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_a_signal_that_arrives_while_the_processes_agree_is_not_lost(tmp_path):
    (code, first), other = together(told_while_agreeing, str(tmp_path))
    assert other == (code, first) and code == 128 + signal.SIGTERM and first in (7, 8)


def told_while_agreeing(folder: str) -> tuple[int, int]:
    """The exit code and the last step, if all processes are told to stop when they have just been asked at step 6."""
    steps = []
    exchange = Processes.all_reduce_max

    class Told(Trainer):
        def train_step(self, observe: bool = False) -> None:
            super().train_step(observe)
            steps.append(self.step)

    class TellingAtSix(Interrupt):
        def agreed(self, step: int, now: bool = False) -> bool:
            def told(*arguments) -> list[float]:
                found = exchange(*arguments)
                if step == 6:
                    signal.raise_signal(signal.SIGTERM)
                return found

            Processes.all_reduce_max = told
            try:
                return super().agreed(step, now)
            finally:
                Processes.all_reduce_max = exchange

    trainer.Interrupt = TellingAtSix
    with process_group(cpu=True) as processes, pytest.raises(SystemExit) as stop:
        train_with(processes, config_of(RING, Path(folder)), False, Told)
    return stop.value.code, steps[-1]


def test_a_signal_reaches_the_others_long_before_anything_is_logged(tmp_path):
    (code, first), other = together(told_between_logs, str(tmp_path))
    assert other == (code, first) and code == 128 + signal.SIGTERM and 40 <= first < 400
    assert checkpoint.newest(tmp_path / "ring").name == f"step_{first}"


def told_between_logs(folder: str) -> tuple[int, int]:
    """The exit code and the last step, if the second process is told to stop in step 40 and nothing is logged."""
    steps = []

    class Told(Trainer):
        def train_step(self, observe: bool = False) -> None:
            super().train_step(observe)
            steps.append(self.step)
            time.sleep(0.002)
            if self.step == 40 and not self.main:
                signal.raise_signal(signal.SIGTERM)

    interrupt.SECONDS = 0.1
    config = config_of(RING, Path(folder), "log.every=1000000", "run.steps=5000", "checkpoint.every=100000")
    with process_group(cpu=True) as processes, pytest.raises(SystemExit) as stop:
        train_with(processes, config, False, Told)
    return stop.value.code, steps[-1]


def test_a_process_that_is_killed_is_said_to_be_and_the_run_goes_on(tmp_path):
    (tmp_path / "own.py").write_text("from gantrain.games.losses import NonSaturating as Own\n")
    config = write(tmp_path, RING, "run.steps=1000000", "checkpoint.every=2", "game.loss={target: 'own:Own'}")
    command = Command(tmp_path, "train", "--processes", "2", config)
    run = tmp_path / "ring"
    until(lambda: newest(run) >= 4 or not command.running())
    for child in psutil.Process(command.process.pid).children(recursive=True):
        if child.environ().get("RANK") == "1":
            child.kill()
    assert command.wait() == 128 + signal.SIGKILL
    *others, last = command.errors.splitlines()
    assert last == "gantrain: process 1 was ended by SIGKILL; go on with --resume"
    # The other may have noticed before it was ended.
    assert all("process 1 on" in line and "has ended" in line for line in others) and len(others) <= 1, command.errors
    gantrain(tmp_path, "train", config, "--resume", f"run.steps={newest(run) + 2}")


def newest(run: Path) -> int:
    return max((int(path.name[5:]) for path in run.glob("step_*") if path.name[5:].isdigit()), default=0)


def test_the_processes_of_a_launcher_that_is_killed_end_by_themselves_with_a_checkpoint(tmp_path):
    config = write(tmp_path, RING, "run.steps=1000000", "checkpoint.every=1000000", "run.processes=2")
    command = Command(tmp_path, "train", "--processes", "2", config)
    run = tmp_path / "ring"
    # The log is opened, empty, before the run can stop with a checkpoint; its first row comes after a step.
    log = run / "metrics.jsonl"
    until(lambda: (log.exists() and log.read_text()) or not command.running())
    ranks = psutil.Process(command.process.pid).children(recursive=True)
    command.kill()
    until(lambda: all(map(ended, ranks)))
    assert checkpoint.newest(run) is not None


@pytest.mark.slow
def test_a_second_hangup_costs_no_checkpoint(tmp_path):
    config = write(tmp_path, RING, "run.steps=1000000", "checkpoint.every=1000000")
    command = Command(tmp_path, "train", "--processes", "2", config)
    run = tmp_path / "ring"
    log = run / "metrics.jsonl"
    until(lambda: (log.exists() and log.read_text()) or not command.running())
    launcher = psutil.Process(command.process.pid)
    launcher.send_signal(signal.SIGHUP)
    until(lambda: not _catches(launcher.pid, signal.SIGHUP))
    launcher.send_signal(signal.SIGHUP)
    assert command.wait() == 128 + signal.SIGHUP
    assert checkpoint.newest(run) is not None and list(run.glob("*.tmp")) == []


def _catches(process, number):
    """Whether a process has a handler for a signal."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)


def test_the_processes_of_a_launcher_that_is_killed_while_they_start_end_by_themselves(tmp_path):
    command = Command(tmp_path, "train", "--processes", "2", write(tmp_path, RING))
    launcher = psutil.Process(command.process.pid)
    until(lambda: len(launcher.children()) == 2)
    ranks = launcher.children()
    command.kill()
    # Long before they would give up waiting for each other.
    assert psutil.wait_procs(ranks, timeout=60)[1] == []


@pytest.mark.slow
def test_the_wait_for_a_process_that_is_stopped_ends(tmp_path):
    """Whichever it is: the first, which has the store that the processes share, or the second."""
    waiting = []
    for stopped in (0, 1):
        folders = [tmp_path / f"{stopped}{side}" for side in "ab"]
        for folder in folders:
            folder.mkdir()
            write(folder, RING, "run.steps=1000000", "run.timeout=2")
        commands = hosts(folders, "train", "config.yaml")
        log = folders[0] / "ring" / "metrics.jsonl"
        until(lambda log=log, first=commands[0]: log.exists() or not first.running())
        commands[stopped].kill(signal.SIGSTOP)
        waiting.append(commands[1 - stopped])
    for stopped, other in enumerate(waiting):
        assert other.wait() == 2
        (line,) = other.errors.splitlines()
        assert f": process {stopped}" in line and " did not answer for 2 s; go on with --resume, or wait longer" in line


def test_a_process_whose_partner_does_not_come_says_so(tmp_path):
    config = write(tmp_path, RING, "run.timeout=1")
    (held, port), (held_too, empty) = hold_port(), hold_port()
    with socket.socket() as silent:
        silent.bind(("localhost", 0))
        silent.listen()
        places = [("0", port), ("1", empty), ("1", silent.getsockname()[1])]
        first, second, unanswered = [
            Command(
                tmp_path, "train", config, RANK=rank, WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=str(where)
            )
            for rank, where in places
        ]
        assert [command.wait() for command in (first, second, unanswered)] == [2] * 3
    said = f"gantrain: 1 of 2 processes met at localhost:{port} within 1 s; process 1 did not come; start WORLD_SIZE=2"
    assert first.errors.startswith(said)
    assert f"MASTER_PORT={empty}: process 1 found no first process there within 1 s; start that with" in second.errors
    assert "found no first process there" in unanswered.errors
    assert all(len(command.errors.splitlines()) == 1 for command in (first, second, unanswered))
    assert not (tmp_path / "ring").exists()
    held.close()
    held_too.close()


def test_settings_of_accelerate_and_mpi_that_are_left_over_change_nothing(tmp_path):
    config = write(tmp_path, RING, "run.steps=2")
    left = {"ACCELERATE_MIXED_PRECISION": "bogus", "ACCELERATE_USE_FSDP": "true", "ACCELERATE_TORCH_DEVICE": "bogus"}
    left |= {"ACCELERATE_USE_CPU": "abc", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DYNAMO_BACKEND": "bogus"}
    left |= {"FORK_LAUNCHED": "abc", "PMI_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "3", "RANK": "", "WORLD_SIZE": ""}
    command = Command(tmp_path, "train", config, **left, OMP_NUM_THREADS="abc", SLURM_NTASKS="4", LOCAL_RANK="")
    assert command.wait() == 0, command.errors
    assert (tmp_path / "ring" / "step_2").exists()
    (line,) = (line for line in command.errors.splitlines() if "accelerate" in line)
    assert line == (
        "gantrain: settings of accelerate that change nothing: mixed precision bogus, compiler bogus, FSDP 1 (of FSDP "
        "2 run.sharding: full is the counterpart), DeepSpeed"
    )
