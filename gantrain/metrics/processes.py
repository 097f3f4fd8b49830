"""Evaluation shared by many processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gantrain.errors import UserError

# Samples in a piece. Pieces are what processes share, and a generator's randomness is a function of the piece, so that
# neither depends on the number of processes or on the size of batches.
PIECE = 64


class Processes:
    """This process among those of ``torch.distributed``'s default group, or alone where there is none.

    Args:
        device: where tensors lie while they are exchanged: the GPU for NCCL.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        many = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if many else 0
        self.world = dist.get_world_size() if many else 1
        self.device = torch.device(device)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of what each process passes; the tensor itself is left as it is."""
        if self.world == 1:
            return tensor
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def from_first(self, value: Any) -> Any:
        """What the first process passes."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is wrong in one process is wrong in all: every process must enter, and none waits for one that gave up.

        Raises:
            UserError: that of the first process whose block raised one.
        """
        error = None
        try:
            yield
        except UserError as found:
            error = found
        messages = [None if error is None else str(error)]
        if self.world > 1:
            mine, messages = messages[0], [None] * self.world
            dist.all_gather_object(messages, mine)
        wrong = next((m for m in messages if m is not None), None)
        if wrong is not None:
            raise UserError(wrong) from error
