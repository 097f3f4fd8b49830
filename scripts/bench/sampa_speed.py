"""Wall-clock time of a step of SGD, SAM and SAMPa, on one process and on two with one thread each.

    python scripts/bench/sampa_speed.py [--depth 20] [--batch 64] [--rounds 15] [--steps 3]

All candidates are measured in turns within one run, on a residual network for 32 x 32 images. "Two plain gradients side
by side" is the physical limit: two processes that know nothing of each other each take one gradient of the whole batch,
without an optimizer, so that two busy cores slow each other as much as they do in SAMPa on two. Data-parallel SAM has
half a batch on each process, and batch norm there looks at its own half (run.batch_norm: local), the faster of the two.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from timing import machine

from gantrain.data.batch import Batches
from gantrain.data.datasets.image_set import ImageSet
from gantrain.distributed.processes import Processes
from gantrain.games.classification import Classification
from gantrain.gradients.evaluator import Evaluator
from gantrain.models.resnet import ResNet
from gantrain.optim.optimizers import make_optimizer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import SAM, SAMPa

SGD, LIMIT = "SGD", "two plain gradients side by side"
ONE = {SGD: lambda: None, "SAM": SAM, "SAMPa": lambda: SAMPa(parallel="off")}
TWO = {"SAM on two, data-parallel": SAM, "SAMPa on two": lambda: SAMPa(parallel="on")}
# What is compared with what, and the target of the ratio of medians.
RATIOS = [
    ("SAMPa on two", LIMIT, 1.05),
    ("SAMPa on two", "SAM", 0.58),
    ("SAMPa on two", "SAM on two, data-parallel", 1.00),
    ("SAMPa on two", SGD, None),
    ("SAMPa", "SAM", None),
]


def made(oracle, processes: Processes, depth: int, batch: int) -> Field:
    """A field over a new classifier, its batches shared by the processes."""
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
        lambda draw, step: batches.shared(processes.rank, processes.group_size)(draw, step),
        processes=processes,
    )
    return Field(evaluator, [Learner(player, optimizer, oracle)])


def measure(rank: int, port: int, arguments: argparse.Namespace, answers) -> None:
    """One of the two processes: take part in what needs two, and let the first alone do what needs one."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=2)
    if rank == 0:
        print(machine(), flush=True)
    alone = {name: made(oracle(), Processes(), arguments.depth, arguments.batch) for name, oracle in ONE.items()}
    together = {n: made(oracle(), Processes.launched(), arguments.depth, arguments.batch) for n, oracle in TWO.items()}
    plain = made(None, Processes(), arguments.depth, arguments.batch)

    candidates = {name: (lambda f=field: f.move(f.draw())) if rank == 0 else None for name, field in alone.items()}
    candidates |= {name: (lambda f=field: f.move(f.draw())) for name, field in together.items()}
    candidates[LIMIT] = lambda: plain.evaluate(plain.draw(), plain.learners)

    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(arguments.rounds + 1):
        for name in list(candidates)[:: 1 if turn % 2 else -1]:
            dist.barrier()
            start = time.perf_counter()
            for _ in range(arguments.steps if candidates[name] else 0):
                candidates[name]()
            spent = torch.tensor((time.perf_counter() - start) / arguments.steps)
            dist.all_reduce(spent, dist.ReduceOp.MAX)
            if turn:  # the first is for warming up
                seconds[name].append(spent.item())
    dist.destroy_process_group()
    if rank == 0:
        answers.put(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3, help="in a row, for each measurement")
    arguments = parser.parse_args()
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port = found.getsockname()[1]
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
