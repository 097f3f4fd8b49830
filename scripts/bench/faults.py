"""Breaks runs on purpose, goes on with them, and compares each with a run that was never interrupted.

    python scripts/bench/faults.py [--trials 20] [--seed 0] [--kinds kill,write,...] [--output FILE]

Every trial runs real processes of ``gantrain train`` on a tiny GAN and does one of these:

    kill      SIGKILL at random times, again and again
    write     SIGKILL just before a random one of all the file operations in the run's folder
    ranks     two processes; SIGKILL, at a random time, to one of them or to their launcher
    stop      two processes; SIGSTOP, at a random time, to one of them
    restart   two processes of torchrun --max-restarts; SIGKILL to one of them, and again to one of the next two
    full      a disk that becomes full at a random size (a file system in memory; needs the right to mount one)
    damage    files of the run cut off, changed, emptied or deleted, and files of others put beside them
    signal    SIGINT, SIGTERM, SIGHUP, SIGUSR1 or a closed pipe at a random time
    lock      a second command on the folder of a run that lives, and several starts at once

A trial is good if the run ends with the same bits and the same metrics as the uninterrupted one, or if it is refused by
one line while all of its files are still there; which of the two is allowed depends on the trial. The script prints the
counts, and exits with 1 if a trial was bad.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from timing import machine

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from forked import Command, end_commands, ended, run_command, until
from tiny import RING, rows, same, state, write

STEPS = 40
# What every run of the script is given; a run of 40 steps writes eight checkpoints and four grids.
RUN = ("checkpoint.every=5", "samples.every=10", "outer={name: lookahead, inner_steps: 7, base: extragradient}")
# Seconds in which the processes of a launcher that was killed must have ended.
SECONDS_TO_END = 30
SAME, REFUSED = "same bits", "refused in one line"


class Bad(Exception):
    """A trial did not go as it must."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=20, help="trials of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    random.seed(options.seed)
    lines, bad = [], 0
    with tempfile.TemporaryDirectory() as temporary:
        straight = Path(temporary, "straight")
        straight.mkdir()
        _good(_train(straight))
        for kind in options.kinds.split(","):
            found: collections.Counter[str] = collections.Counter()
            began = time.monotonic()
            for number in range(options.trials):
                place = Path(temporary, f"{kind}_{number}")
                place.mkdir()
                try:
                    found[KINDS[kind](place, straight)] += 1
                except (Bad, AssertionError) as error:
                    bad += 1
                    found["BAD"] += 1
                    print(f"{kind} {number}: {error}", file=sys.stderr, flush=True)
                shutil.rmtree(place, ignore_errors=True)
            words = ", ".join(f"{count} {what}" for what, count in sorted(found.items()))
            lines.append(f"{kind:8s} {options.trials:5d} trials: {words}  ({time.monotonic() - began:.0f} s)")
            print(lines[-1], flush=True)
    if options.output is not None:
        head = f"python scripts/bench/faults.py --trials {options.trials} --seed {options.seed}"
        options.output.write_text("\n".join([head, machine(), "", *lines]) + "\n")
    sys.exit(bad > 0)


def kill(place: Path, straight: Path) -> str:
    """SIGKILL at random times."""
    for _ in range(random.randint(1, 3)):
        command = _train(place, "--resume", wait=False)
        limit = random.randrange(0, STEPS)
        until(lambda command=command, limit=limit: _newest(place / "ring") >= limit or not command.running())
        time.sleep(random.uniform(0, 0.05))
        _kill(command)
        command.wait()
    return _goes_on(place, straight)


def write_(place: Path, straight: Path) -> str:
    """SIGKILL before each of the file operations, one after the other over the trials, in random order."""
    arguments = ("train", write(place, RING, *RUN, f"run.steps={STEPS}"))
    if not _operations:
        command = _dying(place, 10**9, *arguments)
        _good(command)
        _operations.extend(range(1, int((place / "operations.txt").read_text()) + 1))
        random.shuffle(_operations)
        shutil.rmtree(place / "ring")
    number = _operations.pop()
    command = _dying(place, number, *arguments)
    if command.wait() != -signal.SIGKILL:
        raise Bad(f"operation {number}: was not reached: {command.errors}")
    if (place / "ring").exists() and random.random() < 0.3:
        # It dies again on its way back.
        _dying(place, random.randint(1, 20), *arguments, "--resume").wait()
    return _goes_on(place, straight)


def ranks(place: Path, straight: Path) -> str:
    """SIGKILL to one of two processes, or to their launcher."""
    command = _train(place, "--processes", "2", wait=False)
    limit = random.randrange(5, STEPS)
    until(lambda: _newest(place / "ring") >= limit or not command.running())
    family = [psutil.Process(command.process.pid), *_children(command)]
    victim = random.choice(family)
    with suppress(psutil.NoSuchProcess):
        victim.kill()
    command.wait()
    end = time.monotonic() + SECONDS_TO_END
    while left := [process for process in family if not ended(process)]:
        if time.monotonic() > end:
            raise Bad(f"{victim} was killed, and {len(left)} processes still run after {SECONDS_TO_END} s: {left}")
        time.sleep(0.05)
    _good(_train(place, "--processes", "2", "--resume"))
    _compare_two(place)
    return SAME


def stop(place: Path, straight: Path) -> str:
    """SIGSTOP to one of two processes, which the other notices after five seconds."""
    command = _train(place, "--processes", "2", "run.timeout=5", wait=False)
    limit = random.randrange(5, STEPS)
    until(lambda: _newest(place / "ring") >= limit or not command.running())
    family = _children(command)
    victim = random.choice(family)
    with suppress(psutil.NoSuchProcess):
        victim.suspend()
    code = command.wait()
    _require(all(map(ended, family)), f"{victim} was stopped, and the launcher has left {family}")
    if code != 0:
        _require_line(command)
    _good(_train(place, "--processes", "2", "--resume"))
    _compare_two(place)
    return SAME


def restart(place: Path, straight: Path) -> str:
    """SIGKILL to one of two processes of torchrun, and again to one of those that it starts anew."""
    config = write(place, RING, *RUN, f"run.steps={STEPS}")
    command = Command(place, config, target=_torchrun)
    limits = sorted(random.sample(range(5, STEPS), 2))
    known: set[psutil.Process] = set()
    for limit in limits:
        until(lambda limit=limit: _newest(place / "ring") >= limit or not command.running())
        with suppress(psutil.NoSuchProcess):
            family = [each for each in _children(command) if each not in known]
            known |= set(family)
            random.choice(family or _children(command)).kill()
    _good(command)
    _compare_two(place)
    return SAME


def full(place: Path, straight: Path) -> str:
    """A full disk, then a larger one."""
    disk = place / "disk"
    disk.mkdir()
    _mount(disk, random.choice([8, 16, 32, 64, 128, 256, 512]) * 1024)
    try:
        command = _train(place, "run.folder=disk", wait=False)
        code = command.wait()
        what = SAME
        if code != 0:
            _require_line(command)
            what = f"{REFUSED}, then {SAME}"
        _mount(disk, 64 << 20, remount=True)
        if code != 0:
            _good(_train(place, "run.folder=disk", "--resume"))
        _compare(disk / "ring", straight / "ring")
        return what
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def damage(place: Path, straight: Path) -> str:
    """Files of the run are changed."""
    command = _train(place, wait=False)
    limit = random.randrange(10, STEPS)
    until(lambda: _newest(place / "ring") >= limit or not command.running())
    _kill(command)
    command.wait()
    run = place / "ring"
    harmless = random.random() < 0.3
    if harmless:
        for folder in random.sample(sorted(p for p in (run, *run.rglob("*")) if p.is_dir()), 2):
            name = random.choice([".DS_Store", "Thumbs.db", "._state.json", "desktop.ini", "step_000010.png~"])
            (folder / name).write_bytes(random.randbytes(50))
    else:
        files = sorted(p for p in run.rglob("*") if p.is_file() and p.name != "metrics.jsonl" and "step_" in str(p))
        file = random.choice([p for p in files if p.suffix in (".json", ".safetensors")] + [run / "config.yaml"])
        _spoil(file)
    before = _contents(run)
    command = _train(place, "--resume")
    if command.wait() != 0:
        _require(not harmless, f"files of others stopped the run: {command.errors}")
        _require_line(command)
        lost = before - _contents(run)
        _require(not lost, f"refused, but {len(lost)} files are gone")
        return REFUSED
    _compare(run, straight / "ring")
    return SAME


def signal_(place: Path, straight: Path) -> str:
    """A signal, or a closed pipe."""
    number = random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, None])
    config = write(place, RING, *RUN, f"run.steps={STEPS}")
    if number is None:
        command = Command(place, "train", config, target=_piped)
        _require(command.wait() == 0, "a closed pipe ended the run")
        _compare(place / "ring", straight / "ring")
        return f"{SAME} (pipe)"
    command = Command(place, "train", config)
    limit = random.randrange(0, STEPS)
    until(lambda: (place / "ring" / "metrics.jsonl").exists() or not command.running())
    until(lambda: _newest(place / "ring") >= limit or not command.running())
    _kill(command, number)
    code = command.wait()
    stops = number != signal.SIGUSR1
    _require(code in ((0, 128 + number) if stops else (0,)), f"{number.name}: exit code {code}: {command.errors}")
    what = _goes_on(place, straight)
    return f"{what} ({number.name})"


def lock(place: Path, straight: Path) -> str:
    """A second command beside a run that lives."""
    if random.random() < 0.4:
        config = write(place, RING, *RUN, f"run.steps={STEPS}")
        commands = [Command(place, "train", config) for _ in range(3)]
        codes = sorted(command.wait() for command in commands)
        _require(codes == [0, 2, 2], f"of three simultaneous starts, these exit codes: {codes}")
        for command in commands:
            if command.wait() == 2:
                _require_line(command)
        _compare(place / "ring", straight / "ring")
        return "one of three starts won"
    live = _train(place, f"run.steps={10**6}", wait=False)
    until(lambda: _newest(place / "ring") >= 10 or not live.running())
    flag = random.choice(["--resume", "--overwrite"])
    other = _train(place, flag)
    _require(other.wait() == 2, f"{flag} beside a run that lives: exit code {other.wait()}")
    _require_line(other)
    _require(str(live.process.pid) in other.errors, f"the holder is not named: {other.errors}")
    _kill(live)
    live.wait()
    newest = _newest(place / "ring")
    _good(_train(place, "--resume", f"run.steps={newest + 5}"))
    fresh = place / "fresh"
    fresh.mkdir()
    _good(_train(fresh, f"run.steps={newest + 5}"))
    _compare(place / "ring", fresh / "ring")
    return f"refused beside a run that lives, {SAME} after it was killed"


KINDS: dict[str, Callable[[Path, Path], str]] = {
    "kill": kill,
    "write": write_,
    "ranks": ranks,
    "stop": stop,
    "restart": restart,
    "full": full,
    "damage": damage,
    "signal": signal_,
    "lock": lock,
}
# The numbers of the file operations that are still to be tried.
_operations: list[int] = []
# What runs of two processes end with, which differs from one process by rounding.
_whole: dict[str, Any] = {}
_WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree")


def _train(place: Path, *arguments: str, wait: bool = True) -> Command:
    flags = [argument for argument in arguments if argument.startswith("--") or argument.isdecimal()]
    overrides = [argument for argument in arguments if argument not in flags]
    config = write(place, RING, *RUN, f"run.steps={STEPS}")
    command = Command(place, "train", *flags, config, *overrides)
    if wait:
        command.wait()
    return command


def _kill(command: Command, number: int = signal.SIGKILL) -> None:
    with suppress(ProcessLookupError):  # it has ended by itself
        command.kill(number)


def _good(command: Command) -> None:
    code = command.wait()
    _require(code == 0, f"exit code {code}: {command.errors or command.output}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise Bad(what)


def _require_line(command: Command) -> None:
    code, lines = command.wait(), command.errors.strip().splitlines()
    good = code == 2 and bool(lines) and all(line.startswith("gantrain: ") for line in lines)
    _require(good, f"exit code {code}, expected 2 and lines for the user:\n{command.errors}")


def _goes_on(place: Path, straight: Path) -> str:
    _good(_train(place, "--resume"))
    _compare(place / "ring", straight / "ring")
    return SAME


def _compare_two(place: Path) -> None:
    """Compare a run of two processes with another one that nothing has disturbed."""
    if not _whole.get("two"):
        whole = Path(place, "whole")
        whole.mkdir()
        _good(_train(whole, "--processes", "2"))
        _whole["two"] = state(whole / "ring"), rows(whole / "ring")
    expected, logged = _whole["two"]
    _require(same(state(place / "ring"), expected), "the run of two processes ended with other bits")
    _require(rows(place / "ring") == logged, "the run of two processes has other metrics")


def _torchrun(folder: str, arguments: tuple[str, ...], files: list[str], env: dict) -> None:
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY), descriptor)
    os.chdir(folder)
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | env
    options = ["--nproc_per_node", "2", "--max-restarts", "3"]
    program = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "gantrain", "train", *arguments]
    os.execv(sys.executable, program)


def _compare(run: Path, straight: Path) -> None:
    _require(_newest(run) == _newest(straight), f"ended at step {_newest(run)}")
    _require(same(state(run), state(straight)), "ended with other bits")
    _require(rows(run) == rows(straight), "ended with other metrics")
    left = [p.name for p in run.rglob("*.tmp")]
    _require(not left, f"left behind: {left}")


def _newest(run: Path) -> int:
    return max((int(path.name[5:]) for path in run.glob("step_*") if path.name[5:].isdigit()), default=0)


def _children(command: Command) -> list[psutil.Process]:
    found: list[psutil.Process] = []

    def started() -> bool:
        found[:] = psutil.Process(command.process.pid).children(recursive=True)
        return len(found) >= 2

    until(started)
    return found


def _contents(folder: Path) -> collections.Counter[str]:
    """The digests of the checkpoints' files, wherever in the folder they lie."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix in (".safetensors", ".json")]
    return collections.Counter(hashlib.sha256(p.read_bytes()).hexdigest() for p in files)


def _spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    how = random.choice(["cut", "change", "empty", "delete"])
    if how == "delete":
        file.unlink()
        return
    if how == "empty":
        content.clear()
    elif how == "cut":
        del content[random.randrange(len(content)) :]
    else:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def _mount(folder: Path, size: int, remount: bool = False) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{'remount,' if remount else ''}size={size}", "tmpfs", str(folder)], check=True
    )


def _dying(folder: Path, count: int, *arguments: str) -> Command:
    """A command that kills itself before its file operation number ``count`` in the folder of the run."""
    return Command(folder, *arguments, target=partial(_die, count, str(folder / "operations.txt")))


def _die(count: int, report: str, folder: str, arguments: tuple[str, ...], files: list[str], env: dict) -> None:
    run, seen = str(Path(folder, "ring")), 0

    def watch(event: str, values: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event in _WRITES or event == "open" and values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and isinstance(values[0], str | os.PathLike) and str(Path(folder, values[0])).startswith(run):
            seen += 1
            if seen == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    try:
        run_command(folder, arguments, files, env)
    finally:
        Path(report).write_text(str(seen))


def _piped(folder: str, arguments: tuple[str, ...], files: list[str], environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    # Python ignores SIGPIPE, as in a shell's pipeline.
    run_command(folder, arguments, [writer, files[1]], environment)


if __name__ == "__main__":
    try:
        main()
    finally:
        end_commands()
