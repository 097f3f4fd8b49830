"""gantrain's sharpness-aware step against what it must at least cost, and against pytorch_optimizer's SAM.

    python scripts/bench/sharpness_overhead.py [--rounds 40] [--threads 1] [--batch 64]

A ResNet-20 on random images of 32 x 32 pixels, with the same weights, batch and fused SGD with momentum for all, which
take turns in one process. `minimum` is two forward and backward passes and the optimizer's step, and nothing else: no
perturbation, nothing saved or restored. SAMPa takes two gradients as well. The table has the median of each, its
least, and their ratios to those of the minimum, in processor time, which does not count waiting for a processor; on a
machine that others use, the least are the less disturbed. pytorch_optimizer's row needs that package (pip install
pytorch_optimizer).
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import torch
from timing import interleaved, machine, median_ratio
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import gantrain as gt
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.optimizers import make_optimizer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Oracle, SAMPa

SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
RHO = 0.05


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet20() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)]
    inputs = 16
    for width in (16, 32, 64):
        for i in range(3):
            layers.append(Block(inputs, width, 2 if i == 0 and width > 16 else 1))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def loss_of(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(network(batch[0]), batch[1])


def ours(network: nn.Module, batch: tuple[Tensor, Tensor], oracle: Oracle) -> Callable[[], None]:
    game = gt.games.Minimize(loss_of, x=network)
    player = game.players["x"]
    learner = Learner(player, make_optimizer({"name": "sgd", **SGD}, player.module), oracle)
    field = Field(Evaluator(game, lambda draw, step: batch), [learner])
    return lambda: field.move(field.draw())


def minimum(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), fused=True, **SGD)

    def step() -> None:
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(network, batch).backward()
        optimizer.step()

    return step


def theirs(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[[], None]:
    import pytorch_optimizer

    optimizer = pytorch_optimizer.SAM(network.parameters(), torch.optim.SGD, rho=RHO, fused=True, **SGD)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(network, batch)
        loss.backward()
        return loss

    def step() -> None:
        closure()
        optimizer.step(closure)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = resnet20()
    batch = torch.randn(arguments.batch, 3, 32, 32), torch.randint(10, (arguments.batch,))

    candidates = {
        "minimum": minimum(copy.deepcopy(network), batch),
        "gantrain SAM": ours(copy.deepcopy(network), batch, SAM(RHO)),
        "gantrain ASAM": ours(copy.deepcopy(network), batch, SAM(RHO, geometry="elementwise")),
        "gantrain SAMPa": ours(copy.deepcopy(network), batch, SAMPa(RHO)),
    }
    if importlib.util.find_spec("pytorch_optimizer"):
        candidates[f"pytorch_optimizer {version('pytorch_optimizer')} SAM"] = theirs(copy.deepcopy(network), batch)
    seconds = interleaved(candidates, arguments.rounds, warmup=3, clock=time.process_time)

    count = sum(p.numel() for p in network.parameters())
    print(machine())
    print(f"ResNet-20, {count / 1000:.0f} thousand parameters, batch {arguments.batch}, {arguments.rounds} rounds")
    print(f"{'':<32}{'median':>12}{'to minimum':>12}{'least':>14}{'to minimum':>12}")
    floor = seconds["minimum"]
    for name, values in seconds.items():
        median, least = statistics.median(values) * 1000, min(values) * 1000
        ratios = median_ratio(values, floor), min(values) / min(floor)
        print(f"{name:<32}{median:>9.2f} ms{ratios[0]:>12.3f}{least:>11.2f} ms{ratios[1]:>12.3f}")
    for name in candidates:
        if name.startswith("pytorch_optimizer"):
            mine, other = seconds["gantrain SAM"], seconds[name]
            print(f"gantrain SAM to {name}: {median_ratio(mine, other):.3f}, {min(mine) / min(other):.3f}")


if __name__ == "__main__":
    main()
