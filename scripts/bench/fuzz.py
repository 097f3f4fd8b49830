"""Odd configs, environments, archives, checkpoints and metrics files, each met by the real command line.

    python scripts/bench/fuzz.py [--inputs 1000] [--seed 0] [--kinds configs,archives] [--workers 2] [--keep FOLDER]

Each input is a working directory and a command, which runs in a forked process of its own. It fails if there is a
traceback, an exit code other than 0 and 2, a line of an error without ``gantrain:``, a hang (more than 5 seconds of its
own, twice), a death by a signal, or anything new in the folder after exit code 2 before the training began. The inputs
are a function of the seed. With --keep, each failing input is kept as a folder with its command and what it wrote.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import fuzz_children
import fuzz_inputs
import hypothesis
from fuzz_children import Child, Outcome, Trial, warm
from hypothesis import HealthCheck, Phase, given, settings
from timing import machine

# A memory-backed folder makes the many small files quick.
PLACE = "/dev/shm" if os.path.isdir("/dev/shm") else None
# Inputs from one seed of Hypothesis, and how many more are drawn, for some have been tried before.
_ROUND, _MORE = 500, 20


class Fuzzer:
    """Runs inputs, some at a time, and counts what becomes of them.

    Args:
        where: the folder of the working directories.
        workers: how many commands run at a time.
        keep: the folder in which failing inputs are kept, or None.

    Attributes:
        outcomes: the number of inputs by kind and by exit code or problem.
        failures: a line for each failing input.
    """

    def __init__(self, where: Path, workers: int, keep: Path | None):
        self.where = where
        self.workers = workers
        self.keep = keep
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.slowest = 0.0
        self._running: list[Child] = []
        self._slow: list[Trial] = []

    def run(self, trial: Trial) -> None:
        """Start the input as soon as there is room."""
        while len(self._running) >= self.workers:
            self._collect()
        self._running.append(Child(trial, self.where))

    def finish(self) -> None:
        """Wait for all inputs; those that were slow run again, each alone."""
        while self._running:
            self._collect()
        for trial in self._slow:
            child = Child(trial, self.where)
            while (outcome := child.over()) is None:
                time.sleep(0.01)
            self._judge(child, outcome)
        self._slow = []

    def _collect(self) -> None:
        over = [(child, outcome) for child in self._running if (outcome := child.over()) is not None]
        for child, outcome in over:
            self._running.remove(child)
            if list(outcome.problems) == ["hang"] and child.trial not in self._slow:
                self._slow.append(child.trial)
                child.clear()
            else:
                self._judge(child, outcome)
        if not over:
            time.sleep(0.001)

    def _judge(self, child: Child, outcome: Outcome) -> None:
        trial = child.trial
        for result in outcome.problems or (f"exit code {outcome.code}",):
            self.outcomes[trial.kind, result] += 1
        if not outcome.problems:
            self.slowest = max(self.slowest, outcome.seconds)
        else:
            number = len(self.failures)
            command = shlex.join(["gantrain", *trial.arguments])
            what = ", ".join(outcome.problems) + (f" ({child.changed})" if child.changed else "")
            last = (outcome.errors.strip().splitlines() or [""])[-1][:200]
            self.failures.append(f"{trial.kind} {number}: {what}: {command[:300]}: {last}")
            print(self.failures[-1].encode("ascii", "backslashreplace").decode(), flush=True)
            if self.keep is not None:
                _keep(trial, outcome, self.keep / f"{trial.kind}_{number}", command)
        child.clear()


def _keep(trial: Trial, outcome: Outcome, folder: Path, command: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "work").mkdir(parents=True)
    trial.prepare(folder / "work")
    variables = [f"{name}={shlex.quote(value)}" for name, value in trial.environment.items()]
    text = " ".join([*variables, command]) + "\n"
    (folder / "command.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
    (folder / "outcome.txt").write_text(f"{', '.join(outcome.problems)}\n{outcome.errors}", encoding="utf-8")


def templates(where: Path) -> dict[str, Path]:
    """Whole runs of the tiny configs, trained by the command itself, which checkpoints and metrics are damaged in."""
    made = {}
    for name, config in fuzz_inputs.RUNS.items():
        entries = [fuzz_children.Entry("c.yaml", fuzz_inputs.dump(config))]
        child = Child(Trial("templates", ["train", "c.yaml"], entries), where)
        while (outcome := child.over()) is None:
            time.sleep(0.01)
        if outcome.code != 0:
            sys.exit(f"the run {name} cannot be trained: {outcome.errors}")
        made[name] = child.folder / "runs" / "r"
    return made


def fuzz(fuzzer: Fuzzer, kind: str, strategy: hypothesis.strategies.SearchStrategy, inputs: int, seed: int) -> float:
    """Run so many inputs of a kind; returns the seconds that they took."""
    began, left = time.monotonic(), inputs
    seen: set[int] = set()

    for round_ in itertools.count():
        # Hypothesis likes to vary what it has tried, often to the same; another seed begins anew.
        @hypothesis.seed(f"{kind} {seed} {round_}")
        @settings(
            max_examples=min(left, _ROUND) + _MORE,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def each(trial: Trial) -> None:
            nonlocal left
            text = hash(repr(trial))
            if left and text not in seen:
                seen.add(text)
                left -= 1
                fuzzer.run(trial)

        before = left
        each()
        if left in (0, before):
            break
    fuzzer.finish()
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000, help="number of inputs of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="configs,environments,archives,checkpoints,metrics")
    parser.add_argument("--workers", type=int, default=1, help="number of commands that run at a time")
    parser.add_argument("--keep", type=Path, help="folder for failing inputs")
    parser.add_argument("--output", type=Path, help="file for the counts, such as scripts/bench/results/fuzz.md")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of the clean-up below
    where = Path(tempfile.mkdtemp(dir=PLACE, prefix="gantrain-fuzz-"))
    try:
        configs = [where / f"{name}.yaml" for name in fuzz_inputs.RUNS]
        for path, config in zip(configs, fuzz_inputs.RUNS.values(), strict=True):
            path.write_bytes(fuzz_inputs.dump(config))
        warm(*configs)
        fuzzer = Fuzzer(where, arguments.workers, arguments.keep)
        known = fuzz_inputs.kinds(templates(where))
        chosen = arguments.kinds.split(",")
        if unknown := set(chosen) - known.keys():
            parser.error(f"--kinds: unknown {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
        seconds = {}
        for number, kind in enumerate(chosen):
            share = (arguments.inputs * (number + 1)) // len(chosen) - (arguments.inputs * number) // len(chosen)
            seconds[kind] = fuzz(fuzzer, kind, known[kind], share, arguments.seed)
            print(f"{kind}: {share} inputs, {share / seconds[kind]:.1f} a second", flush=True)
    finally:
        shutil.rmtree(where, ignore_errors=True)
    text = report(fuzzer, arguments)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if fuzzer.failures else 0)


def report(fuzzer: Fuzzer, arguments: argparse.Namespace) -> str:
    """The counts as a table in Markdown, below the command and the versions."""
    kinds = arguments.kinds.split(",")
    results = sorted({result for _, result in fuzzer.outcomes})
    command = (
        f"python scripts/bench/fuzz.py --inputs {arguments.inputs} --seed {arguments.seed} --kinds {arguments.kinds}"
    )
    lines = [
        f"`{command}`",
        "",
        f"{machine()}, Hypothesis {hypothesis.__version__}; {len(fuzzer.failures)} failures, the slowest good input "
        f"took {fuzzer.slowest:.1f} s",
        "",
        f"| result | {' | '.join(kinds)} |",
        f"|---|{'---:|' * len(kinds)}",
    ]
    for result in results:
        lines.append(f"| {result} | {' | '.join(str(fuzzer.outcomes[kind, result]) for kind in kinds)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
