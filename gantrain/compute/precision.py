"""The arithmetic of the networks in half precision, and what is kept out of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    pass

from collections.abc import Callable
from functools import partial

from torch import Tensor

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    """What makes the context in which objectives are computed.

    Torch's own, since Accelerate's computes single precision on a CPU that is asked for fp16.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: where the networks are.
    """
    return partial(torch.autocast, device.type, _HALF[precision]) if precision in _HALF else nullcontext


def full(x: Tensor) -> Tensor:
    """``x`` in single precision where it is in half: what losses, margins and penalties are computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@contextmanager
def single_precision(tf32: bool) -> Iterator[None]:
    """Products and convolutions of float32 in TF32 where the device has it, or in full; afterwards as before.

    TF32 has the range of float32 and 10 bits of fraction for its 23. torch alone takes it in convolutions.
    """
    before, name = [s.fp32_precision for s in _settings()], _name_of_products()
    precision = "tf32" if tf32 else "ieee"
    _set([precision, precision, precision, "ieee"], "high" if tf32 else "highest")
    try:
        yield
    finally:
        _set(before, name or ("high" if before[0] == "tf32" else "highest"))


def _settings() -> list[Any]:
    """Of a GPU's products, convolutions and recurrent layers, and of a CPU's products."""
    backends = torch.backends
    return [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]


def _name_of_products() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        # Somebody has set the two names of one thing to different values.
        return None


def _set(precisions: list[str], name: str) -> None:
    # The old names of these settings raise when they are read while the new ones say otherwise, and torch's compiler
    # reads them. Old ones first, since they set the new ones too.
    torch.set_float32_matmul_precision(name)
    torch.backends.cudnn.allow_tf32 = precisions[1] == "tf32"
    for setting, precision in zip(_settings(), precisions, strict=True):
        setting.fp32_precision = precision
