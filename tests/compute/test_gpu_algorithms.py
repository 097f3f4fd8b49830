"""The algorithms that a GPU is asked for, on a machine without one: what torch is told and what it refuses."""

from __future__ import annotations

import math
import os
import warnings

import pytest
import torch
from tiny import DIGITS, config_of, rows, same, state

from gantrain.commands.train import train
from gantrain.compute.compile import reference_arithmetic
from gantrain.compute.device import exact_arithmetic, find_device, gpu_algorithms
from gantrain.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def told() -> tuple[bool, ...]:
    """Whether torch is to be deterministic, to let other operations through, and how cuDNN chooses its algorithms."""
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def write_in_any_order() -> None:
    """An operation that torch refuses on every device."""
    torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))


def test_a_gpu_is_told_and_a_cpu_is_not(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = told()
    with gpu_algorithms(CPU, deterministic=True):
        assert told() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        write_in_any_order()
    with gpu_algorithms(GPU, deterministic=True):
        assert told() == (True, False, True, False, False)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert told() == before
    with gpu_algorithms(GPU, deterministic=False):
        assert told() == (False, False, False, True, False)
        write_in_any_order()
    assert told() == before


def test_a_workspace_that_the_user_has_chosen_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with gpu_algorithms(GPU, deterministic=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize(
    ("message", "operation"),
    [
        ("put_ does not have a deterministic implementation, but you set", "put_"),
        ("this operation is not deterministic because it uses CuBLAS and you have", "products under this CUBLAS_"),
    ],
)
def test_an_operation_without_a_deterministic_algorithm_is_one_line_with_the_key(message, operation):
    before = told()
    line = f"^run.deterministic: torch has no algorithm for {operation}.* to false$"
    with pytest.raises(UserError, match=line), gpu_algorithms(GPU, deterministic=True):
        raise RuntimeError(message)
    with pytest.raises(RuntimeError, match="^another$"), gpu_algorithms(GPU, deterministic=True):
        raise RuntimeError("another")
    assert told() == before


@pytest.mark.parametrize("looking", [reference_arithmetic, lambda: exact_arithmetic(GPU)], ids=["run", "command"])
def test_evaluations_may_use_every_operation_in_silence(looking):
    before = told()
    with gpu_algorithms(GPU, deterministic=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        with looking():
            assert told()[:2] == (True, True)
            write_in_any_order()
        assert told()[:2] == (True, False)
    assert told() == before


class InAnyOrder(torch.nn.Module):
    """A generator with an operation whose order a GPU chooses."""

    latent_dim = 4

    def __init__(self, spec):
        super().__init__()
        self.linear = torch.nn.Linear(4, math.prod(spec.shape))
        self.shape = spec.shape

    def forward(self, z):
        x = self.linear(z)
        write_in_any_order()
        return x.view(-1, *self.shape)


def test_a_run_on_a_gpu_refuses_it_before_the_first_step_unless_told_otherwise(tmp_path, monkeypatch):
    seen = []

    def as_on_a_gpu(device: torch.device, deterministic: bool):
        seen.append(deterministic)
        return gpu_algorithms(GPU, deterministic)

    expected = train(config_of(DIGITS, tmp_path, "run.steps=2", "run.name=cpu"))
    monkeypatch.setattr("gantrain.compute.compile.gpu_algorithms", as_on_a_gpu)
    run = train(config_of(DIGITS, tmp_path, "run.steps=2", "run.name=gpu"))
    assert same(state(run), state(expected)) and rows(run) == rows(expected)
    own = f"game.generator.model={{target: '{__name__}:InAnyOrder'}}"
    with pytest.raises(UserError, match="^run.deterministic: torch has no algorithm for put_ "):
        train(config_of(DIGITS, tmp_path, own, "run.name=own"))
    assert not (tmp_path / "own").exists()
    train(config_of(DIGITS, tmp_path, own, "run.name=own", "run.deterministic=false", "run.steps=1"))
    assert seen == [True, True, False]


def test_the_device_is_the_one_that_was_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto", "--device") == find_device("cpu", "--device") == CPU
    with pytest.raises(UserError, match="^--device: cuda was asked for, but this machine has no usable GPU; use auto"):
        find_device("cuda", "--device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto", "--device") == find_device("cuda", "--device") == GPU
    assert find_device("cpu", "--device") == CPU
