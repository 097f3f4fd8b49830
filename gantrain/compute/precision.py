"""The precision of floating-point arithmetic: autocast to half precision, and TF32 for float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """A function that makes the context manager under which objectives are computed.

    It is torch's autocast and not Accelerate's, which computes in single precision on a CPU that is asked for fp16.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: the device of the networks.
    """
    return partial(torch.autocast, device.type, _HALF[precision]) if precision in _HALF else nullcontext


def upcast(x: Tensor) -> Tensor:
    """``x`` in at least single precision, in which losses, margins and penalties are computed."""
    return x.float() if x.dtype in _HALF.values() else x


def autocasting(device: torch.device) -> bool:
    """Whether autocast is on for a device."""
    kind = device.type
    # The compiler of torch 2.11 cannot trace the question, which is needed for devices of other kinds alone.
    return (kind in ("cpu", "cuda") or torch.amp.is_autocast_available(kind)) and torch.is_autocast_enabled(kind)


def in_float16(device: torch.device) -> bool:
    """Whether networks on the device now compute in float16, whose range is small."""
    return autocasting(device) and torch.get_autocast_dtype(device.type) == torch.float16


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which networks on the device compute without autocast, in the precision of their weights."""
    return torch.autocast(device.type, enabled=False) if autocasting(device) else nullcontext()


@contextmanager
def single_precision(tf32: bool) -> Iterator[None]:
    """Choose how products and convolutions of float32 are computed; the old settings return at the end of the block.

    TF32 has the range of float32, and 10 bits of fraction where float32 has 23. By default torch uses TF32 in
    convolutions only.

    Args:
        tf32: whether GPUs that have TF32 use it; otherwise full single precision is used everywhere.
    """
    before, name = [s.fp32_precision for s in _settings()], _name_of_products()
    precision = "tf32" if tf32 else "ieee"
    _set([precision, precision, precision, "ieee"], "high" if tf32 else "highest")
    try:
        yield
    finally:
        _set(before, name or ("high" if before[0] == "tf32" else "highest"))


def _settings() -> list[Any]:
    """torch's settings for a GPU's products, convolutions and recurrent layers, and for a CPU's products."""
    backends: Any = torch.backends  # torch's stubs lack some of these
    return [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]


def _name_of_products() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        # The old and the new name of this setting were given different values.
        return None


def _set(precisions: list[str], name: str) -> None:
    # torch's compiler reads the old names of these settings, and reading them raises an error where they differ from
    # the new names. The old names are set first, since setting them also sets the new ones.
    torch.set_float32_matmul_precision(name)
    torch.backends.cudnn.allow_tf32 = precisions[1] == "tf32"
    for setting, precision in zip(_settings(), precisions, strict=True):
        setting.fp32_precision = precision
