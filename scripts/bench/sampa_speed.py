"""Wall-clock time of a step of SGD, SAM and SAMPa, on one process and on two with one thread each.

    python scripts/bench/sampa_speed.py [--depth 20] [--batch 64] [--rounds 15] [--steps 3]

All candidates take turns within one run, on a residual network for 32 x 32 images. "Two plain gradients side by side"
is the physical limit: two processes that do not communicate each take one gradient of the whole batch, without an
optimizer, so that two busy cores slow each other down as much as they do in SAMPa on two processes. Data-parallel SAM
has half a batch on each process, and its batch norm sees this half alone (run.batch_norm: local), the faster setting.
All processes keep the memory that they free, as those of `gantrain train` do.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from timing import machine

from gantrain.compute.allocator import keep_freed_memory
from gantrain.data.batch import Batches
from gantrain.data.datasets.image_set import ImageSet
from gantrain.distributed.processes import Processes
from gantrain.games.classification import Classification
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.resnet import ResNet
from gantrain.optim.optimizers import make_optimizer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, Oracle, SAMPa

SGD, LIMIT = "SGD", "two plain gradients side by side"
ONE: dict[str, Callable[[], Oracle | None]] = {SGD: lambda: None, "SAM": SAM, "SAMPa": lambda: SAMPa(parallel="off")}
TWO: dict[str, Callable[[], Oracle]] = {"SAM on two, data-parallel": SAM, "SAMPa on two": lambda: SAMPa(parallel="on")}
# Pairs of candidates that are compared, with the target for the ratio of their medians.
RATIOS = [
    ("SAMPa on two", LIMIT, 1.05),
    ("SAMPa on two", "SAM", 0.56),
    ("SAMPa on two", "SAM on two, data-parallel", 1.00),
    ("SAMPa on two", SGD, None),
    ("SAMPa", "SAM", None),
]


def make_field(oracle: Oracle | None, processes: Processes, depth: int, batch: int) -> Field:
    """A field over a new classifier, whose batches the processes share."""
    torch.manual_seed(0)
    source = torch.Generator().manual_seed(0)
    samples = torch.randint(256, (8 * batch, 3, 32, 32), generator=source, dtype=torch.uint8)
    data = ImageSet(samples, torch.randint(10, (8 * batch,), generator=source), 10)
    game = Classification(ResNet(data.spec, depth=depth))
    (player,) = game.players.values()
    optimizer = make_optimizer({"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}, player.module)
    batches = Batches(data, batch, 0)
    evaluator = Evaluator(
        game,
        lambda draw, step: batches(draw, step, (processes.rank, processes.group_size)),
        processes=processes,
    )
    return Field(evaluator, [Learner(player, optimizer, oracle)])


def measure(rank: int, port: int, arguments: argparse.Namespace, answers: SimpleQueue[dict[str, list[float]]]) -> None:
    """Measure as one of two processes; the first one measures the candidates for one process alone."""
    torch.set_num_threads(1)
    keep_freed_memory()
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    dist.init_process_group("gloo")
    if rank == 0:
        print(machine(), flush=True)
    sizes = arguments.depth, arguments.batch
    alone = {name: make_field(make(), Processes(), *sizes) for name, make in ONE.items()}
    together = {name: make_field(make(), Processes.launched(), *sizes) for name, make in TWO.items()}
    plain = make_field(None, Processes(), *sizes)

    def move(field: Field) -> Callable[[], object]:
        return lambda: field.move(field.draw())

    candidates: dict[str, Callable[[], object] | None] = {
        **{name: move(field) if rank == 0 else None for name, field in alone.items()},
        **{name: move(field) for name, field in together.items()},
        LIMIT: lambda: plain.evaluate(plain.draw(), plain.learners),
    }

    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(arguments.rounds + 1):
        for name in list(candidates)[:: 1 if turn % 2 else -1]:
            dist.barrier()
            start = time.perf_counter()
            if (candidate := candidates[name]) is not None:
                for _ in range(arguments.steps):
                    candidate()
            spent = torch.tensor((time.perf_counter() - start) / arguments.steps)
            dist.all_reduce(spent, dist.ReduceOp.MAX)
            if turn:  # the first turn warms up
                seconds[name].append(spent.item())
    dist.destroy_process_group()
    if rank == 0:
        answers.put(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3, help="consecutive steps in each measurement")
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    answers = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(measure, (port, arguments, answers), nprocs=2)
    seconds = answers.get()

    print(f"ResNet-{arguments.depth}, batch {arguments.batch}, {arguments.rounds} x {arguments.steps} steps each")
    print(f"{'ms a step':<36}{'median':>9}{'quartiles':>20}")
    for name, values in seconds.items():
        low, middle, high = statistics.quantiles([1000 * v for v in values], n=4)
        print(f"{name:<36}{middle:>9.1f}{f'{low:.1f} - {high:.1f}':>20}")
    print(f"\n{'ratio of medians':<52}{'':>6}{'target':>10}")
    for above, below, target in RATIOS:
        ratio = statistics.median(seconds[above]) / statistics.median(seconds[below])
        print(f"{f'{above} / {below}':<52}{ratio:>6.3f}{'' if target is None else f'{target:.2f}':>10}")


if __name__ == "__main__":
    main()
