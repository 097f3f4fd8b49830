"""A slice of scripts/bench/fuzz.py: the same inputs each time, so that what once held goes on to hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from forked import SECONDS

ROOT = Path(__file__).parents[1]


def fuzzed(*arguments: str) -> str:
    pytest.importorskip("hypothesis")
    command = [sys.executable, str(ROOT / "scripts" / "bench" / "fuzz.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_odd_inputs_end_in_one_line_and_leave_nothing(tmp_path):
    table = tmp_path / "fuzz.md"
    shown = fuzzed("--inputs", "40", "--seed", "7", "--output", str(table))
    assert "0 failures" in table.read_text() and table.read_text() in shown + "\n"


MISBEHAVING = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import fuzz_children
from fuzz_children import Child, Entry, Trial

fuzz_children.HANG = 1.0

def judged(code, **more):
    entry = Entry("gantrain/__init__.py", b""), Entry("gantrain/cli.py", code.encode())
    child = Child(Trial("x", ["train"], entry), Path(sys.argv[2]))
    while (outcome := child.over()) is None:
        time.sleep(0.001)
    return ", ".join(outcome.problems)

sys.path.insert(0, ".")
for code in (
    "def main(): raise SystemExit(2)",
    "def main(): raise KeyError",
    "import os, signal\\ndef main(): os.kill(os.getpid(), signal.SIGSEGV)",
    "import sys\\ndef main():\\n  open('runs', 'w')\\n  sys.exit(print('gantrain: no', file=sys.stderr) or 2)",
    "import sys\\ndef main(): sys.exit(print('no', file=sys.stderr) or 2)",
    "import sys\\ndef main(): sys.exit(print('gantrain: no', file=sys.stderr) or 2)",
    "import time\\ndef main(): time.sleep(60)",
    "def main(): raise SystemExit(0)",
):
    print(judged(code))
"""


def test_the_fuzzer_sees_what_a_command_must_not_do(tmp_path):
    arguments = [sys.executable, "-c", MISBEHAVING, str(ROOT / "scripts" / "bench"), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert done.stderr == "" and done.stdout.splitlines() == [
        "silent",
        "exit code 1, traceback",
        "died from SIGSEGV",
        "half-made folders",
        "other lines",
        "",
        "hang",
        "",
    ]
