"""Whole runs on a GPU: the CPU's numbers up to rounding, the same bits each time, and no step that waits.

They are skipped where torch finds no GPU.
"""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.distributed as dist
from device_cases import CPU, FEATURES, FEW, MANY, RAPP, STEPS, far, pictures, sharp, trained
from forked import Command, gantrain
from tiny import DIGITS, RING, config_of, same, write
from torch import nn

from gantrain.commands.train import make_trainer
from gantrain.data.datasets.image_set import ImageSet
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

GPU = torch.device("cuda", 0)
# What the network itself draws comes from the device's own generator, and a GPU's is another than the CPU's.
DRAWING = {"wide_resnet classifier", "fastgan", "stylegan2"}
# Checkpoints do not hold the gradient of each micro-batch (docs/determinism.md).
NOT_RESUMED = {"local sampa"}
CASES = FEW | MANY


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in FEW else pytest.mark.slow) for n in CASES])
def test_runs_are_the_cpus_up_to_rounding_and_the_same_bits_again(tmp_path, name):
    case = CASES[name]
    straight = trained(tmp_path / "straight", GPU, case)
    if name in NOT_RESUMED:
        found = trained(tmp_path / "again", GPU, case)
    else:
        trained(tmp_path / "resumed", GPU, case, "run.steps=2")
        found = trained(tmp_path / "resumed", GPU, case, resume=True)
    assert same(found, straight)
    weights, logged = far(straight, trained(tmp_path / "cpu", CPU, case))
    print(f"FAR {name}: weights {weights:.1e}, logged {logged:.1e}")
    if name not in DRAWING:
        assert weights < 0.05 and logged < 0.05


@pytest.mark.parametrize("storage", ["{storage: disk, workers: 1}", "{storage: memory}", "{storage: device}"])
def test_images_in_files_reach_the_gpu(tmp_path, storage):
    data = f"data={{name: image_folder, path: {pictures(tmp_path / 'pictures')}, batch_size: 16}}"
    expected = trained(tmp_path / "disk", GPU, (DIGITS, data, "game.conditional=true"))
    found = trained(tmp_path / "here", GPU, (DIGITS, data, f"data={storage}", "game.conditional=true"))
    assert same(found, expected)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_waits_no_more_than_on_the_emulated_device(tmp_path, name):
    base, settings, waits, _ = STEPS[name]
    trainer = make_trainer(config_of(base, tmp_path, *settings), GPU)
    with trainer.computing():
        for _ in range(2):
            trainer.train_step()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                trainer.train_step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    synchronising = [f"{w.filename}:{w.lineno} {w.message}" for w in caught if "synchronizing" in str(w.message)]
    assert len(synchronising) == sum(waits.values()), synchronising


FAST = {
    "channels last": ("run.channels_last=true",),
    "tf32": ("run.tf32=true",),
    "fastest algorithms": ("run.deterministic=false",),
    "bf16": ("run.precision=bf16",),
    "fp16": ("run.precision=fp16",),
    "compiled": ("run.compile=true",),
    "everything": (
        *("run.compile=true", "run.channels_last=true", "run.tf32=true", "run.precision=bf16"),
        "run.deterministic=false",
    ),
}
METHODS = {
    "gda": ("outer={name: gda, order: alternating}",),
    "rapp": (RAPP,),
    "sampa": sharp("name: sampa, rho: 0.05"),
    "r1": ("outer=extragradient", "game.penalties=[{name: r1, every: 2}]"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fast", FAST)
def test_what_makes_it_faster_changes_it_by_rounding(tmp_path, fast, method):
    case = (DIGITS, *METHODS[method])
    expected = trained(tmp_path / "plain", GPU, case)
    weights, logged = far(trained(tmp_path / "fast", GPU, (*case, *FAST[fast])), expected)
    print(f"FAR {fast} {method}: weights {weights:.1e}, logged {logged:.1e}")
    assert weights < 0.05 and logged < 0.1


@pytest.mark.slow
def test_compiled_runs_resume_to_the_bit(tmp_path):
    case = (DIGITS, "run.compile=true", RAPP)
    straight = trained(tmp_path / "straight", GPU, case)
    trained(tmp_path / "resumed", GPU, case, "run.steps=2")
    assert same(trained(tmp_path / "resumed", GPU, case, resume=True), straight)


@pytest.mark.slow
def test_dropout_draws_the_same_numbers_in_cuda_graphs(tmp_path):
    case = CASES["wide_resnet classifier"]
    expected = trained(tmp_path / "plain", GPU, case)
    assert max(far(trained(tmp_path / "graphs", GPU, case, "run.compile=true"), expected)) < 0.01


class Pooled(nn.Module):
    """A discriminator with a layer of which the derivative has no deterministic algorithm on a GPU."""

    def __init__(self, spec):
        super().__init__()
        self.out = nn.Linear(9, 1)

    def forward(self, x, y=None):
        return self.out(nn.functional.adaptive_avg_pool2d(x, 3).flatten(1)).squeeze(1)


def test_a_layer_without_a_deterministic_algorithm_is_refused_by_name(tmp_path):
    case = (DIGITS, "game.discriminator.model=null", f"game.discriminator.model={{target: '{__name__}:Pooled'}}")
    with pytest.raises(UserError, match="^run.deterministic: torch has no algorithm for adaptive_avg_pool2d_backward"):
        trained(tmp_path / "strict", GPU, case)
    trained(tmp_path / "lenient", GPU, case, "run.deterministic=false")


class Many(ImageSet):
    """Ten thousand images without content."""

    def __init__(self):
        super().__init__(torch.zeros(10_000, 3, 64, 64, dtype=torch.uint8), None, 0)


def test_memory_that_runs_out_is_one_line(tmp_path):
    case = (DIGITS, f"data={{target: '{__name__}:Many', batch_size: 10000}}")
    wide = [f"game.{p}.model={{name: conv, width: 256}}" for p in ("generator", "discriminator")]
    with pytest.raises(UserError, match="batch_size") as caught:
        trained(tmp_path / "run", GPU, (*case, *wide))
    assert "\n" not in str(caught.value)
    torch.cuda.empty_cache()


def test_a_run_goes_from_the_gpu_to_the_cpu_and_back(tmp_path):
    case = (DIGITS, "outer={name: lookahead, inner_steps: 4, base: optimistic}")
    expected = trained(tmp_path / "straight", GPU, case)
    for first, second in ((CPU, GPU), (GPU, CPU)):
        folder = tmp_path / f"{first.type}-{second.type}"
        trained(folder, first, case, "run.steps=2")
        weights, logged = far(trained(folder, second, case, resume=True), expected)
        assert weights < 0.01 and logged < 0.01


def test_a_group_of_one_process_speaks_nccl(monkeypatch):
    for key, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(key, str(value))
    monkeypatch.setenv("MASTER_PORT", "29517")
    with process_group(cpu=False) as accelerator:
        assert accelerator.device.type == "cuda"
        if dist.is_initialized():
            numbers = torch.arange(3.0, device=GPU)
            dist.all_reduce(numbers, op=dist.ReduceOp.AVG)
            assert numbers.tolist() == [0.0, 1.0, 2.0]
        assert Processes.launched().world_size == 1
    assert not dist.is_initialized()


@pytest.mark.slow
def test_commands_take_the_gpu(tmp_path):
    evaluate = f"evaluate={{every: 3, samples: 100, metrics: [fid, kid], subset_size: 50, features: {FEATURES}}}"
    write(tmp_path, DIGITS, "run.steps=6", evaluate)
    config = ("config.yaml", "run.device=auto")
    assert torch.cuda.get_device_name() in gantrain(tmp_path, "train", *config, "--dry-run").output
    gantrain(tmp_path, "train", *config)
    for command in (("sample", "digits", "--number", "9"), ("diagnose", "digits"), ("eval", "digits")):
        gantrain(tmp_path, *command)
    assert torch.cuda.get_device_name() in gantrain(tmp_path, "doctor", *config).output
    gantrain(tmp_path, "sweep", *config, "--over", "outer=gda,rapp", "--seeds", "2", "--workers", "2")
    assert len(list((tmp_path / "digits_sweep").glob("*/step_6"))) == 4


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="several GPUs")
def test_two_processes_on_one_gpu_are_refused_in_one_line(tmp_path):
    write(tmp_path, RING)
    command = Command(tmp_path, "train", "--processes", "2", "config.yaml", "run.device=cuda")
    assert command.wait() == 2 and not (tmp_path / "ring").exists()
    print(command.errors)
