"""The device on which a command computes, and whether a GPU gives the same bits each time."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gantrain.compute.precision import single_precision
from gantrain.errors import UserError, nondeterministic_operation


def find_device(asked: str, key: str) -> torch.device:
    """The device that a setting names.

    Args:
        asked: "cpu", "cuda", or "auto" for a GPU if there is one.
        key: the setting, for messages.

    Raises:
        UserError: a GPU is asked for, and torch finds none.
    """
    found = torch.cuda.is_available()
    if asked == "cuda" and not found:
        raise UserError(f"{key}: cuda was asked for, but this machine has no usable GPU; use auto or cpu")
    return torch.device("cuda" if found and asked != "cpu" else "cpu")


def prepare_cublas() -> None:
    """Give cuBLAS a workspace of fixed size, without which torch refuses to multiply in the same way each time.

    It must be called before the first product on a GPU. A size that the user has chosen stays.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def gpu_algorithms(device: torch.device, deterministic: bool) -> Iterator[None]:
    """Choose the kind of a GPU's algorithms inside the block; for another device nothing is changed.

    Args:
        device: the device of the block's computations.
        deterministic: whether to take those that give the same bits each time. Otherwise cuDNN tries its algorithms
            for each new shape of a convolution, and takes the fastest.

    Raises:
        UserError: there is no deterministic algorithm for an operation of the block.
    """
    if device.type != "cuda":
        yield
        return
    prepare_cublas()
    cudnn = torch.backends.cudnn
    memory: Any = torch.utils.deterministic  # torch's stubs lack its attribute
    before = cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory
    strict = torch.are_deterministic_algorithms_enabled()
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    # With the deterministic algorithms torch would also fill every new tensor before it is written, for debugging.
    cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = deterministic, not deterministic, False
    torch.use_deterministic_algorithms(deterministic)
    try:
        yield
    except RuntimeError as error:
        operation = nondeterministic_operation(error)
        if operation is None:
            raise
        raise UserError(
            f"run.deterministic: torch has no algorithm for {operation} that gives the same bits each time on a GPU; "
            "use another layer, or set run.deterministic to false"
        ) from error
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=lenient)
        cudnn.deterministic, cudnn.benchmark, memory.fill_uninitialized_memory = before


@contextmanager
def every_operation() -> Iterator[None]:
    """Inside the block, operations without a deterministic algorithm are computed all the same.

    Evaluations and pictures change nothing that is trained, so they are not refused.
    """
    if not torch.are_deterministic_algorithms_enabled():
        yield
        return
    lenient = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "[^ ]* does not have a deterministic implementation")
            yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=lenient)


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Let a command that looks at a saved run compute in full single precision, and alike each time on one machine.

    Args:
        device: the device of the networks.
    """
    with gpu_algorithms(device, deterministic=True), every_operation(), single_precision(tf32=False):
        yield
