"""Whole runs on an emulated device: the CPU's results to the bit, and what they would cost on a GPU, in numbers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import language
import pytest
import torch
import torch.distributed as dist
from device_cases import CPU, FEW, MANY, RAPP, ROUNDED, STEPS, classifying, far, pictures, trained
from emulated_device import Counts, DeviceTensor, counted, emulated
from forked import together
from tiny import DIGITS, RING, config_of, rows, same, state

from gantrain.commands.train import make_trainer
from gantrain.config import registry
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.runs.checkpoint_writer import CheckpointWriter
from gantrain.train.progress import Progress


@pytest.mark.parametrize(
    "kind", sorted(set(registry.KINDS) - {"data", "toy", "callback", "tracker", "scheduler", "strategy"})
)
def test_every_part_is_in_a_case(kind):
    named = re.findall(r"[a-z_0-9]+", repr([*FEW.values(), *MANY.values()]))
    with_tests_of_their_own = {"huggingface", "huggingface_images"}
    assert set(registry.kind(kind).parts) <= {*named, *with_tests_of_their_own}


@pytest.mark.parametrize("name", [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in MANY)])
def test_runs_are_the_cpus_to_the_bit(tmp_path, name):
    case = (FEW | MANY)[name]
    expected = trained(tmp_path / "cpu", CPU, case)
    with emulated() as device:
        found = trained(tmp_path / "device", device, case)
    assert max(far(found, expected)) < 1e-5 if name in ROUNDED else same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["{storage: disk, workers: 1}", "{storage: memory}", "{storage: device}"])
def test_images_in_files_reach_the_device(tmp_path, storage):
    data = f"data={{name: image_folder, path: {pictures(tmp_path / 'pictures')}, batch_size: 16}}"
    case = (DIGITS, data, f"data={storage}", "game.conditional=true")
    expected = trained(tmp_path / "cpu", CPU, (DIGITS, data, "game.conditional=true"))
    with emulated() as device:
        assert same(trained(tmp_path / "device", device, case), expected)


@pytest.mark.slow
def test_texts_reach_the_device(tmp_path):
    pytest.importorskip("transformers")
    language.bert(tmp_path / "bert")
    texts = language.write(tmp_path / "train.tsv", language.opinions(40, seed=0))
    base = classifying("classification", {"name": "huggingface", "checkpoint": str(tmp_path / "bert")})
    base["data"] = {"name": "text", "train": str(texts), "tokenizer": str(tmp_path / "bert"), "batch_size": 8}
    expected = trained(tmp_path / "cpu", CPU, (base,))
    with emulated() as device:
        assert same(trained(tmp_path / "device", device, (base,)), expected)


def test_a_run_resumes_on_the_device_from_a_checkpoint_of_either(tmp_path):
    case = (DIGITS, "outer={name: lookahead, inner_steps: 4, base: optimistic}", "run.precision=bf16")
    expected = trained(tmp_path / "straight", CPU, case)
    trained(tmp_path / "cpu", CPU, case, "run.steps=2")
    with emulated() as device:
        trained(tmp_path / "device", device, case, "run.steps=2")
        assert same(trained(tmp_path / "device", device, case, resume=True), expected)
        assert same(trained(tmp_path / "cpu", device, case, resume=True), expected)


def shared(folder: str, *settings: str) -> Counts:
    """A run that this process shares with others, on the CPU and on a device, and what the device was asked for."""
    case = (DIGITS, "run.steps=3", *settings)
    with process_group(cpu=True), emulated() as device:
        trained(Path(folder) / "cpu", CPU, case)
        with counted() as counts:
            trained(Path(folder) / "device", device, case)
    return counts


@pytest.mark.parametrize(
    "settings",
    [
        ("outer=extragradient", "game.conditional=true"),
        pytest.param(("game.discriminator.sharpness={name: sampa}", "run.precision=fp16"), marks=pytest.mark.slow),
        pytest.param(("run.batch_norm=local", "data.accumulation=2", RAPP), marks=pytest.mark.slow),
        pytest.param(("game.penalties=[wgan_gp]", "run.precision=bf16"), marks=pytest.mark.slow),
    ],
)
def test_two_processes_share_a_run_on_devices(tmp_path, settings):
    for counts in together(shared, str(tmp_path), *settings):
        assert not any("loss_scaling.py:settle" in what for what in counts.waits)
    expected, found = (tmp_path / place / "run" for place in ("cpu", "device"))
    assert same(state(found), state(expected)) and rows(found) == rows(expected)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_waits_for_the_device_and_launches_no_more_than_it_must(tmp_path, name):
    base, settings, waits, launches = STEPS[name]
    with emulated() as device:
        trainer = make_trainer(config_of(base, tmp_path, *settings), device)
        for _ in range(2):
            trainer.train_step()
        with counted() as counts:
            trainer.train_step()
    assert counts.waits == waits
    assert counts.launches.total() <= launches


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("outer=extragradient",), marks=pytest.mark.slow),
        ("run.precision=bf16", "data.storage=memory"),
    ],
)
def test_a_run_waits_for_the_device_at_its_logs_alone(tmp_path, settings):
    waits = []
    with emulated() as device:
        for steps in (1, 2, 7):  # the first run fills caches; two steps make an epoch
            small = ("data.samples=64", "log.every=100", f"run.name=of-{steps}", f"run.steps={steps}")
            with counted() as counts:
                make_trainer(config_of(RING, tmp_path, *small, *settings), device).fit()
            waits.append(counts.waits)
    assert waits[1] == waits[2]


def test_a_row_of_the_log_waits_for_the_device_once(tmp_path):
    """For all numbers together, and the scores of which TensorBoard is given histograms."""
    with emulated() as device:
        trainer = make_trainer(config_of(RING, tmp_path, "run.steps=2"), device)
        trainer.train_step(observe=True)
        trainer.progress = Progress(enabled=False)
        with counted() as counts:
            trainer.log(1.0, 1, 1)
    assert counts.waits == {"tolist at train/observations.py:read_observations": 1}
    assert {name: len(scores) for name, scores in trainer.distributions.items()} == {"real": 32, "fake": 32}
    mean = sum(trainer.distributions["real"]) / 32
    assert mean == pytest.approx(trainer.unlogged["score/real"], rel=1e-5)


def test_nccl_divides_on_the_way_and_gloo_does_not(monkeypatch):
    reductions = []
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, op, **settings: reductions.append(op) or Mock())
    processes = Processes()
    processes.world_size = 2
    with emulated() as device:
        for backend, place, mean in (("cpu:gloo,cuda:nccl", device, 4.0), ("cpu:gloo,cuda:nccl", CPU, 2.0)):
            monkeypatch.setattr(dist, "get_backend", lambda backend=backend: backend)
            assert processes.begin_mean([torch.full((2,), 4.0).to(place)])()[0].tolist() == [mean, mean]
    assert reductions == [dist.ReduceOp.AVG, dist.ReduceOp.SUM]


def test_the_device_refuses_what_cuda_refuses_and_counts_what_it_takes():
    with emulated() as device, counted() as counts:
        x = torch.ones(3, device=device)
        for refused in (lambda: x + torch.ones(3), lambda: torch.stack([x, torch.ones(3)]), lambda: x.numpy()):
            with pytest.raises((RuntimeError, TypeError), match="device"):
                refused()
        assert not counts.waits
        y = torch.arange(3).pin_memory().to(device, non_blocking=True) + torch.tensor(1)
        y[2:] = x[2:].long()
        assert isinstance(y, DeviceTensor) and not counts.waits
        assert y.tolist() == [1, 2, 1] and x.sum().item() == 3 and x[torch.tensor([0])].shape == (1,)
        assert y[y == 1].shape == (2,) and x.cpu().device == CPU
    assert Counter(what.partition(" at ")[0] for what in counts.waits.elements()) == {
        "tolist": 1,
        "item": 1,
        "index on the CPU": 1,
        "mask as an index": 1,
        "copy to the CPU": 1,
    }
    assert not torch.accelerator.is_available()


def test_a_checkpoint_waits_for_the_device_a_fixed_number_of_times(tmp_path):
    """For the norms of the weights, for those of all numbers, and for the copy, whatever the number of tensors."""
    with emulated() as device:
        trainer = make_trainer(config_of(DIGITS, tmp_path), device)
        trainer.train_step()
        trainer.folder.mkdir()
        with trainer.monitored(), CheckpointWriter() as trainer.writer, counted() as counts:
            trainer.save()
            weights = trainer.learners[0].parameters[0]
            before = weights.inner.clone()
            weights.data.add_(1.0)  # the training goes on
            trainer.writer.wait()
    name = next(name for name, p in trainer.learners[0].player.module.named_parameters() if p is weights)
    assert same(state(tmp_path / "digits")[trainer.learners[0].name][name], before)
    assert counts.waits == {
        "tolist at train/trainer.py:_check_weights": 1,
        "copy to the CPU at train/nonfinite.py:_norms": 1,
        "synchronisation at runs/checkpoint_writer.py:_copy": 1,
    }
