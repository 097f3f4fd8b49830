"""Out of memory: provoked for real on the CPU, by a part that asks for more than any machine has."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import pytest
import torch
from forked import Command, together
from tiny import RING, config_of, rows, same, state, write

from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.train import train
from gantrain.compute import memory
from gantrain.errors import UserError
from gantrain.runs import checkpoint

CLASSIFIER = """
import torch
from gantrain.models import ConvClassifier

class Greedy(ConvClassifier):
    def __init__(self, spec, training: bool = True, calls: int = 3):
        super().__init__(spec, width=2)
        self.greedy, self.calls, self.seen = training, calls, 0

    def forward(self, x):
        if self.training == self.greedy:
            self.seen += 1
            if self.seen > self.calls:
                torch.empty(2**50, dtype=torch.uint8)
        return super().forward(x)
"""
CONFIG = {
    "run": {"name": "greedy", "steps": 6},
    "data": {"name": "digits", "batch_size": 32},
    "game": {
        "name": "classification",
        "classifier": {"model": {"target": "greedy:Greedy"}, "optimizer": {"name": "sgd", "lr": 0.1}},
    },
    "checkpoint": {"every": 2, "keep": 9},
    "log": {"every": 1},
}


TRY = "try data.batch_size=16, or data.accumulation=2 for the same batch, or run.precision=bf16, or more processes"


@pytest.fixture
def greedy(tmp_path, monkeypatch):
    (tmp_path / "greedy.py").write_text(CLASSIFIER)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("greedy", None)


def test_training_ends_with_one_line_and_whole_files(greedy):
    command = Command(greedy, "train", write(greedy, CONFIG))
    assert command.wait() == 2
    where = (
        "gantrain: step 3: out of memory on the CPU: 1 PiB more were asked for, with 32 samples per process in fp32; "
    )
    assert command.errors == f"{where}{TRY}\n"
    folder = greedy / "greedy"
    assert [row["step"] for row in rows(folder)] == [1, 2, 3]
    assert checkpoint.newest(folder).name == "step_2" and not list(folder.rglob("*.tmp"))
    changed = write(greedy, CONFIG, "game.classifier.model.calls=99", "run.name=enough")
    assert Command(greedy, "train", changed).wait() == 0
    assert same(state(folder), state(greedy / "enough", 2))


def test_it_is_said_before_the_first_step_and_leaves_nothing(greedy):
    with pytest.raises(UserError, match=r"^before the first step: out of memory on the CPU: 1 PiB .* 32 samples"):
        train(config_of(CONFIG, greedy, "game.classifier.model={target: 'greedy:Greedy', calls: 0, training: false}"))
    assert [path.name for path in greedy.iterdir() if path.is_dir() and path.name != "__pycache__"] == []


def test_eval_says_it(greedy):
    # The first call is the check of the network's output.
    folder = train(
        config_of(CONFIG, greedy, "game.classifier.model={target: 'greedy:Greedy', calls: 1, training: false}")
    )
    with pytest.raises(
        UserError, match="^eval: out of memory on the CPU: 1 PiB .* with 64 images at once .*--batch-size 32"
    ):
        evaluate_run(str(folder), Request(against="digits"))


@pytest.mark.slow
def test_a_real_limit_of_memory(tmp_path):
    (message,) = together(trained_with_little_memory, str(tmp_path), world=1)
    assert re.fullmatch(
        r"step 0: out of memory.*: [\d.]+ MiB more were asked for, with 2000000 samples per process in fp32; "
        "try data.batch_size=1000000, or .*",
        message,
    ), message


def trained_with_little_memory(folder):
    """What is said where the batch exceeds the half gibibyte that is left of the address space."""
    torch.set_num_threads(1)  # each thread takes address space, and a machine with many cores has many
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
    try:
        train(config_of(RING, Path(folder), "data.samples=2000000", "data.batch_size=2000000", "run.steps=2"))
    except UserError as error:
        return str(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.12 "
                "GiB is free."
            ),
            "out of memory on the GPU: 2.50 GiB more were asked for",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling it"),
            "out of memory on the GPU",
        ),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 4]"),
            "out of memory: more was asked for than any machine has",
        ),
        (
            TypeError("empty(): argument 'size' failed to unpack the object with error \"Overflow when unpacking"),
            "out of memory: more was asked for than any machine has",
        ),
        (
            ValueError("array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."),
            "out of memory: more was asked for than any machine has",
        ),
        (MemoryError("Unable to allocate 7.28 TiB for an array"), "out of memory: 7.28 TiB more were asked for"),
    ],
)
def test_what_the_libraries_say(error, expected):
    assert memory.is_out_of_memory(error) and memory.out_of_memory_message(error) == expected


def test_other_errors_stay_what_they_are():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")
    assert not memory.is_out_of_memory(error)
    with pytest.raises(RuntimeError) as caught, memory.out_of_memory(lambda: "here", lambda: "try"):
        raise error
    assert caught.value is error


def test_the_advice_fits_the_run(ring):
    alone = memory.training_advice(4, 1, "bf16", processes=4)
    assert alone == "with 1 samples per process in bf16; try run.sharding=full, or more processes"
    divided = memory.training_advice(4, 1, "bf16", processes=4, sharding="full")
    assert divided == "with 1 samples per process in bf16; try more processes"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("game.generator.model.width=4611686018427387904", "game.generator.model"),
        ("data.samples=4611686018427387904", "data"),
    ],
)
def test_a_size_beyond_any_machine_is_named_with_its_part(tmp_path, override, key):
    with pytest.raises(UserError, match=f"^{key}: out of memory: more was asked for than any machine has, for the .*$"):
        train(config_of(RING, tmp_path / "runs", override))
    assert not (tmp_path / "runs").exists()
