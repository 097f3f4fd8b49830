"""The arithmetic of the networks in half precision, and what is kept out of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
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
