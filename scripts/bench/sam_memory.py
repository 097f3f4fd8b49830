"""Memory that a step of SGD, SAM, SAMPa and their variants takes, on one residual network.

    python scripts/bench/sam_memory.py [--depth 20] [--width 16] [--batch 32] [--device cpu]

Each method takes six steps, in which LookSAM (every: 5) does everything that it does. On a CPU the bytes of all tensors
alive are counted, on a GPU they are what torch's allocator has given out. Parameters, gradients, the momentum of the
optimizer and the batch count, as does what the passes keep for the backward passes. "between" is what a method holds
between two steps, "peak" the most that it holds; both are in MB (10^6 bytes) beside the data set. SGD peaks while the
gradient of the step before is still there. SAM has freed it by then, and holds the weights to go back to in its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from timing import machine

from gantrain.data.batch import Batches
from gantrain.data.datasets.image_set import ImageSet
from gantrain.games.classification import Classification
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.resnet import ResNet
from gantrain.optim.optimizers import make_optimizer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import AESAM, ESAM, GSAM, SAM, GradientNorm, Oracle, SAMPa
from gantrain.testing.copies import LiveBytes

STEPS = 6
METHODS: dict[str, Callable[[], Oracle | None]] = {
    "SGD": lambda: None,
    "SAM": SAM,
    "ASAM": partial(SAM, geometry="elementwise"),
    "BiSAM": partial(SAM, climb="tanh"),
    "SAM-ON": partial(SAM, only="norm"),
    "SAM-db": partial(SAM, other_batch=True),
    "OptSAM": partial(SAM, direction="previous"),
    "RandSAM": partial(SAM, direction="random"),
    "MSAM": partial(SAM, direction="momentum"),
    "VaSSO": partial(SAM, direction="smoothed"),
    "F-SAM": partial(SAM, direction="friendly"),
    "LookSAM": partial(SAM, every=5),
    "GSAM": GSAM,
    "gradient norm": GradientNorm,
    "ESAM": ESAM,
    "AE-SAM": AESAM,
    "SAMPa": SAMPa,
    "SAMPa, BiSAM": partial(SAMPa, climb="tanh"),
    "SAMPa, VaSSO": partial(SAMPa, direction="smoothed"),
    "SAMPa, SAM-ON": partial(SAMPa, only="norm"),
}


class Allocated:
    """The bytes that torch's allocator has given out on a GPU inside the context, with the attributes of LiveBytes."""

    def __enter__(self) -> Allocated:
        torch.cuda.empty_cache()
        self.before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return self

    def __exit__(self, *_: object) -> None:
        torch.cuda.synchronize()

    @property
    def now(self) -> int:
        return torch.cuda.memory_allocated() - self.before

    @property
    def peak(self) -> int:
        return torch.cuda.max_memory_allocated() - self.before


def measure(make: Callable[[], Oracle | None], data: ImageSet, arguments: argparse.Namespace) -> tuple[int, int]:
    """The bytes that training holds between two steps, and the most that it holds."""
    device = torch.device(arguments.device)
    between = 0
    with Allocated() if device.type == "cuda" else LiveBytes() as memory:
        torch.manual_seed(0)
        game = Classification(ResNet(data.spec, depth=arguments.depth, width=arguments.width).to(device))
        (player,) = game.players.values()
        optimizer = make_optimizer({"name": "sgd", "lr": 0.01, "momentum": 0.9}, player.module)
        batches = Batches(data, arguments.batch, 0, device=device)
        evaluator = Evaluator(game, lambda draw, step: batches(draw, step, (0, 1)))
        field = Field(evaluator, [Learner(player, optimizer, make())])
        for _ in range(STEPS):
            field.move(field.draw())
            evaluator.step += 1
            between = max(between, memory.now)
        return between, memory.peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    source = torch.Generator().manual_seed(0)
    samples = torch.randint(256, (8 * arguments.batch, 3, 32, 32), generator=source, dtype=torch.uint8)
    data = ImageSet(samples, torch.randint(10, (8 * arguments.batch,), generator=source), 10)
    network = ResNet(data.spec, depth=arguments.depth, width=arguments.width)
    copy = sum(p.nbytes for p in network.parameters())
    print(machine())
    print(
        f"ResNet-{arguments.depth}, width {arguments.width}: parameters of {copy / 1e6:.2f} MB; batch {arguments.batch}"
    )
    print(f"{'MB':<16}{'between':>10}{'peak':>10}{'copies more than SGD, between and at the peak':>50}")
    plain = None
    for name, make in METHODS.items():
        found = measure(make, data, arguments)
        plain = plain or found
        held = "".join(f"{(a - b) / copy:>25.2f}" for a, b in zip(found, plain, strict=True))
        print(f"{name:<16}{found[0] / 1e6:>10.2f}{found[1] / 1e6:>10.2f}{held}", flush=True)


if __name__ == "__main__":
    main()
