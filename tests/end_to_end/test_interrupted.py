"""Real signals to real processes: what is resumed ends as if it had never been stopped."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from forked import Command, gantrain, until
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import DIGITS, RING, rows, same, state, write

from gantrain.runs import checkpoint
from gantrain.train.interrupt import Interrupt

# Between them: batch norm, spectral norm, a lazy penalty, a schedule, labels, an oracle with a state.
METHODS = {
    "gda": (
        DIGITS,
        "outer={name: gda, order: alternating}",
        "game.conditional=true",
        "game.penalties=[{name: r1, every: 5}]",
        "game.generator.scheduler={name: cosineannealinglr, T_max: 48}",
    ),
    "rapp": (RING, "outer={name: rapp, inner_steps: 3}", "game.discriminator.sharpness={name: sampa, rho: 0.1}"),
    "sharpness": (
        DIGITS,
        "outer={name: lookahead, inner_steps: 5, base: extragradient}",
        "game.discriminator.sharpness={name: sampa, rho: 0.1, climb: tanh, cosine: true}",
        "game.generator.sharpness={name: sam, rho: 0.05, climb: log, mu: 2.0}",
    ),
    "muon": (
        DIGITS,
        "game.generator.model={name: mlp, width: 16, latent_dim: 4}",
        "game.generator.optimizer={name: muon, lr: 0.02, rest: {name: adamw, lr: 2.0e-4, weight_decay_on: matrices}}",
        "game.discriminator.optimizer={name: muon, lr: 0.02, rest: {name: adamw, lr: 2.0e-4}}",
    ),
    # Cycles of 25 steps and checkpoints at every third: each checkpoint lies within a cycle.
    "lookahead": (DIGITS, "outer={name: lookahead, inner_steps: 25, base: extragradient}"),
}


@pytest.mark.parametrize("method", [pytest.param(m, marks=[pytest.mark.slow] * (m != "sharpness")) for m in METHODS])
def test_a_run_killed_again_and_again_ends_as_one_never_interrupted(tmp_path, method):
    base, *overrides = METHODS[method]
    config = write(tmp_path, base, "run.name=killed", "run.steps=1000000", "samples.every=6", *overrides)
    run, resumed_from = tmp_path / "killed", []
    # At least once it dies within a cycle of 25 steps.
    while len(resumed_from) < 2 or not any(step % 25 for step in resumed_from):
        command = Command(tmp_path, "train", config, "--resume", "checkpoint.every=3")
        limit = max(resumed_from, default=0) + random.randrange(3, 9)
        until(lambda command=command, limit=limit: newest(run) >= limit or not command.running())
        time.sleep(random.uniform(0, 0.03))
        command.kill()
        assert command.wait() == -signal.SIGKILL, command.output + command.errors
        resumed_from.append(newest(run))
    if method == "lookahead":
        assert state(run)["outer"]["taken"] == resumed_from[-1] % 25
    end = resumed_from[-1] + 6
    gantrain(tmp_path, "train", config, "--resume", "checkpoint.every=3", f"run.steps={end}")
    gantrain(tmp_path, "train", config, "run.name=straight", f"run.steps={end}")
    straight, killed = tmp_path / "straight", f"killed after {resumed_from}"
    assert checkpoint.newest(run).name == f"step_{end}"
    assert same(state(run), state(straight)), killed
    assert rows(run) == rows(straight) and len(rows(run)) == math.ceil(end / 2), killed
    assert scalars(run) == scalars(straight), killed
    pictures = {path.name: path.read_bytes() for path in (straight / "samples").iterdir()}
    assert {path.name: path.read_bytes() for path in (run / "samples").iterdir()} == pictures and pictures
    assert {path.name for path in run.glob("step_*")} == {f"step_{end - 3}", f"step_{end}"}


def newest(run: Path) -> int:
    return max((int(path.name[5:]) for path in run.glob("step_*") if path.name[5:].isdigit()), default=0)


def scalars(run: Path) -> dict[str, list]:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    tags = [name for name in events.Tags()["scalars"] if not name.endswith(("/time", "images_per_second"))]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path, number):
    config = write(tmp_path, RING, "run.steps=1000000")
    command = Command(tmp_path, "train", config)
    until(lambda: (tmp_path / "ring" / "metrics.jsonl").exists() or not command.running())
    until(lambda: "loss/" in command.output or not command.running())
    command.kill(number)
    assert command.wait() == 128 + number
    assert command.errors == ""
    step = newest(tmp_path / "ring")
    *_, shown, last = command.output.splitlines()
    assert last == f"stopped at step {step}; to go on: gantrain train {config} --resume"
    assert shown.startswith(f"step {step - step % 2}/1000000  loss/discriminator ") and shown.endswith(" left")
    steps = f"run.steps={step + 5}"
    gantrain(tmp_path, "train", config, "--resume", steps)
    gantrain(tmp_path, "train", config, "run.name=straight", steps)
    assert same(state(tmp_path / "ring"), state(tmp_path / "straight"))
    assert rows(tmp_path / "ring") == rows(tmp_path / "straight")


def test_a_damaged_checkpoint_is_passed_over_and_set_aside(tmp_path):
    config = write(tmp_path, RING, "checkpoint.every=10")
    command = gantrain(tmp_path, "train", config, "--resume")
    assert command.output.splitlines()[0] == "nothing to resume: ring has no checkpoint, so the run starts anew"
    misspelt = gantrain(tmp_path, "train", config, "--resume", "run.name=rign", "run.steps=1").output.splitlines()[0]
    assert misspelt == "nothing to resume: rign has no checkpoint, so the run starts anew; did you mean 'ring'?"
    (tmp_path / "ring" / "step_20" / "generator.safetensors").write_bytes(b"")
    command = gantrain(tmp_path, "train", config, "--resume")
    passed, kept = command.errors.splitlines()
    assert passed.startswith("gantrain: passing over a damaged checkpoint: ring/step_20/generator.safetensors: damaged")
    assert kept == "gantrain: ring/step_20: kept as step_20.damaged"
    assert command.output.splitlines()[0] == "going on from step 10"
    assert (tmp_path / "ring" / "step_20.damaged" / "discriminator.safetensors").exists()
    for step in (10, 20):
        (tmp_path / "ring" / f"step_{step}" / "state.json").unlink()
    logged = rows(tmp_path / "ring")
    command = Command(tmp_path, "train", config, "--resume")
    assert command.wait() == 2
    *_, line = command.errors.splitlines()
    assert line.startswith(
        "gantrain: ring: none of its checkpoints is whole (step_10, step_20), and they are left as they"
    )
    assert rows(tmp_path / "ring") == logged and (tmp_path / "ring" / "step_10" / "manifest.json").exists()
    assert not (tmp_path / "ring" / "lock").exists()


def test_divergence_is_one_line_and_exit_code_2(tmp_path):
    config = write(tmp_path, RING, "game.loss=wasserstein", "game.generator.optimizer={name: sgd, lr: 1.0e+6}")
    command = Command(tmp_path, "train", config, "game.discriminator.optimizer={name: sgd, lr: 1.0e+6}")
    assert command.wait() == 2
    (line,) = command.errors.splitlines()
    assert line.startswith("gantrain: step 2: loss/discriminator is ")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    config = write(tmp_path, RING)
    command = Command(tmp_path, "train", config, f"run.folder={config}")
    assert command.wait() == 2
    assert command.errors == "gantrain: config.yaml/ring: cannot be written: Not a directory\n"


def test_signals_have_their_usual_effect_before_after_and_the_second_time():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        assert interrupt.received == 0
        signal.raise_signal(signal.SIGINT)
        assert interrupt.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with pytest.raises(ZeroDivisionError), Interrupt():
        raise ZeroDivisionError
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_the_main_thread_signals_are_left_alone():
    found = []

    def work():
        with Interrupt() as interrupt:
            found.append(interrupt.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [0]


def test_a_run_that_goes_on_is_left_alone_by_all_others(tmp_path):
    config = write(tmp_path, RING, "run.steps=1000000", "checkpoint.every=50")
    run = tmp_path / "ring"
    commands = [Command(tmp_path, "train", config) for _ in range(2)]
    until(lambda: any(not command.running() for command in commands) and newest(run) > 0)
    (loser,) = (command for command in commands if not command.running())
    (winner,) = (command for command in commands if command is not loser)
    for other in (loser, *(Command(tmp_path, "train", config, *flag) for flag in ([], ["--resume"], ["--overwrite"]))):
        assert other.wait() == 2
        (line,) = other.errors.splitlines()
        assert line.startswith(f"gantrain: ring: process {winner.process.pid} on ") and "writes into this run" in line
    winner.kill(signal.SIGTERM)
    assert winner.wait() == 128 + signal.SIGTERM
    step = newest(run)
    assert [row["step"] for row in rows(run)] == list(range(2, step + 1, 2)) and not (run / "lock").exists()
    killed = Command(tmp_path, "train", config, "--resume")
    until(lambda: newest(run) > step or not killed.running())
    killed.kill()
    killed.wait()
    gantrain(tmp_path, "train", config, "--resume", f"run.steps={newest(run) + 4}")
    assert not (run / "lock").exists()
