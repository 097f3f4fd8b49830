"""What of this machine a config depends on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gantrain.distributed.environment import cores


@dataclass(frozen=True)
class Machine:
    """A machine.

    Attributes:
        cores: the number of processor cores.
        gpu: the name of its first GPU; empty if it has none.
        gpu_memory: the GPU's free memory in GiB.
        inception: whether the weights of InceptionV3 are here.
    """

    cores: int
    gpu: str = ""
    gpu_memory: float = 0.0
    inception: bool = False

    def described(self) -> str:
        """The machine in a few words."""
        if self.gpu:
            return f"{self.gpu} with {self.gpu_memory:.0f} GiB free"
        return f"no GPU, {self.cores} processor core{'s' if self.cores > 1 else ''}"


def this_machine() -> Machine:
    """The machine on which this program runs."""
    import torch

    from gantrain.metrics.extractors.inception import WEIGHTS

    inception = Path(WEIGHTS.cached).is_file()
    if not torch.cuda.is_available():
        return Machine(cores(), inception=inception)
    free, _ = torch.cuda.mem_get_info(0)
    return Machine(cores(), torch.cuda.get_device_name(0), free / 2**30, inception)
