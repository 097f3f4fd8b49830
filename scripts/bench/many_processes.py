"""What processes exchange and how long it takes, by itself and in a step, and what follows for more of them.

    python scripts/bench/many_processes.py [--rounds 20] [--link GB/s] [--latency SECONDS]
    python scripts/bench/many_processes.py --images-per-second N

The first table takes 2 to 16 processes over gloo on this host: their connections, and the milliseconds of an exchange.
The second compares Accelerate's functions with what gantrain calls in torch itself. Then come the pieces of a step: the
time of one all_reduce, ``a + b x`` for ``x`` bytes; the images a second of one process; and the time of a step of two
processes, as predicted from these and as measured. The last tables are arithmetic: the bytes that each of 8, 64 and 512
processes holds and sends, and the time that sending takes. They take the pieces measured here, or those of another
machine that are given as options. With ``--images-per-second``, of a device that trains the published SNGAN pair by
GDA, the script only says how fast links must be for sending the gradients to take as long as computing them.

Times are the least of all rounds, since what disturbs an exchange only makes it longer, and of the slowest process. The
processes share the cores of this machine. With more processes than cores a time says how much work an exchange is, and
not how long it takes where each process has a core.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import torch
import torch.distributed as dist
from timing import interleaved, machine
from torch import nn

import gantrain as gt
from gantrain.data.batch import Batches
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.gradients.evaluator import Evaluator
from gantrain.outer.field import Field

NUMBERS = (2, 4, 8, 16)
SIZES = (1_000_000, 4_000_000, 16_000_000)  # numbers in an all_reduce
SIDE, BATCH = 32, 32  # of the images, and of a process' batch
WORLDS = (8, 64, 512)
# The copies of a player's parameters, each of 4 bytes, that a process keeps for GDA with Adam and one average: the
# parameters, their gradients and the vector that is sent, Adam's two moments, and the average.
COPIES = 6


def run(world: int, function: Callable[..., Any], *arguments: Any, **environment: str) -> list[Any]:
    """What ``function(*arguments)`` returns in each of some processes that have joined."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gantrain", "gantrain.distributed.rendezvous", "accelerate.utils"])
    with socket.socket() as held:
        held.bind(("", 0))
        place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(held.getsockname()[1]), "WORLD_SIZE": str(world)}
    answers = context.SimpleQueue()
    each = [place | environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world)]
    started = [context.Process(target=_joined, args=(answers, one, function, arguments)) for one in each]
    for process in started:
        process.start()
    found = [answers.get() for _ in started]
    for process in started:
        process.join()
    return found


def _joined(answers: Any, environment: dict[str, str], function: Callable[..., Any], arguments: tuple) -> None:
    os.environ |= environment
    torch.set_num_threads(1)
    with process_group(cpu=True):
        answers.put(function(*arguments))


def connections() -> int:
    """The TCP connections of this process, but for those of the store."""
    port = int(os.environ["MASTER_PORT"])
    found = psutil.Process().net_connections("tcp")
    return sum(c.status == "ESTABLISHED" and port not in (c.laddr.port, c.raddr.port) for c in found)


def least(rounds: int, **candidates: Callable[[], object]) -> dict[str, float]:
    """The least milliseconds of each candidate."""
    times = interleaved(candidates, rounds, warmup=2)
    return {name: 1e3 * min(each) for name, each in times.items()}


def exchanges(rounds: int) -> dict[str, float]:
    """The connections of a process, and the milliseconds of each exchange of a few numbers."""
    processes = Processes.launched()
    found = {"connections, once all have joined": float(connections())}
    processes.post(f"counted {processes.rank}")  # through the store, since nobody may connect to one who still counts
    while not all(processes.posted(f"counted {rank}") for rank in range(processes.world_size)):
        time.sleep(0.01)
    numbers = torch.zeros(3, dtype=torch.float64)

    def block() -> None:
        with processes.raise_on_all():
            pass

    found |= least(
        rounds,
        **{
            "maximum of 3 numbers, up and down a tree": lambda: processes.all_reduce_max(1.0, 2.0, 3.0),
            "the same by all_reduce": lambda: dist.all_reduce(numbers, dist.ReduceOp.MAX),
            "end of a block without an error": block,
            "the same by gathering objects": lambda: processes.gather(None),
            "a notice looked for in the store": lambda: processes.posted("nothing"),
        },
    )
    return found | {"connections, in the end": float(connections())}


def either_way(rounds: int) -> dict[str, float]:
    """The milliseconds of Accelerate's functions and of torch's."""
    from accelerate.utils import broadcast_object_list, gather_object, reduce

    processes = Processes.launched()
    flat = torch.zeros(SIZES[1])
    weights = torch.randn(700, 700)

    def compute() -> None:
        for _ in range(12):
            weights @ weights

    def overlapped() -> None:
        finish = processes.begin_mean([flat])
        compute()
        finish()

    def in_turn() -> None:
        reduce(flat, "mean")
        compute()

    def gathered() -> None:
        answers: list[object] = [None] * processes.world_size
        dist.all_gather_object(answers, {"a": 1})

    def broadcast() -> None:
        dist.broadcast_object_list([{"a": 1}], src=0)

    return least(
        rounds,
        **{
            "objects gathered, Accelerate": lambda: gather_object([{"a": 1}]),
            "objects gathered, torch": gathered,
            "an object broadcast, Accelerate": lambda: broadcast_object_list([{"a": 1}]),
            "an object broadcast, torch": broadcast,
            "mean of 4 M numbers beside products, Accelerate": in_turn,
            "mean of 4 M numbers beside products, torch": overlapped,
            "the products alone": compute,
        },
    )


def reductions(rounds: int) -> dict[str, float]:
    """The milliseconds of one all_reduce by its size."""
    flats = {str(size): torch.zeros(size) for size in SIZES}
    return least(rounds, **{name: lambda flat=flat: dist.all_reduce(flat) for name, flat in flats.items()})


def networks(side: int) -> dict[str, Callable[[], list[nn.Module]]]:
    """The pairs of players of the last table."""
    spec = gt.data.DataSpec((3, side, side))
    large = gt.data.DataSpec((3, 256, 256))
    return {
        f"SNGAN, {side} x {side}": lambda: [gt.models.SNGANGenerator(spec), gt.models.SNGANDiscriminator(spec)],
        "StyleGAN2, 256 x 256": lambda: [gt.models.StyleGAN2Generator(large), gt.models.StyleGAN2Discriminator(large)],
    }


def size_of(pair: Callable[[], list[nn.Module]]) -> int:
    """The number of parameters of a pair."""
    with torch.device("meta"):
        return sum(p.numel() for network in pair() for p in network.parameters())


def step_seconds(rounds: int, batch: int) -> float:
    """The least seconds of a step of simultaneous GDA of the small SNGAN, on a batch of all processes."""
    processes = Processes.launched() if dist.is_initialized() else Processes()
    torch.manual_seed(0)
    spec = gt.data.DataSpec((3, SIDE, SIDE))
    generator, discriminator = gt.models.SNGANGenerator(spec, width=64), gt.models.SNGANDiscriminator(spec, width=64)
    game = gt.games.GAN(generator, discriminator, loss=gt.games.losses.Hinge())
    samples = torch.randint(0, 256, (2 * batch, 3, SIDE, SIDE), dtype=torch.uint8)
    data = Batches(gt.data.ImageSet(samples, torch.zeros(2 * batch, dtype=torch.int64), 1), batch, 0)
    share = processes.rank, processes.world_size
    evaluator = Evaluator(game, lambda draw, step: data(draw, step, share), processes=processes)
    learners = [
        gt.Learner(player, torch.optim.Adam(player.parameters, lr=1e-4, fused=True)) for player in game.players.values()
    ]
    field, outer = Field(evaluator, learners), gt.outer.GDA(order="simultaneous")

    def step() -> None:
        outer.step(field)
        evaluator.step += 1

    return least(rounds, step=step)["step"] / 1e3


def small_parameters() -> int:
    spec = gt.data.DataSpec((3, SIDE, SIDE))
    return size_of(lambda: [gt.models.SNGANGenerator(spec, width=64), gt.models.SNGANDiscriminator(spec, width=64)])


def line_through(points: dict[float, float]) -> tuple[float, float]:
    """``a`` and ``b`` of ``y = a + b x`` by least squares of the relative errors."""
    x, y = torch.tensor(list(points.items()), dtype=torch.float64).T
    rows = torch.stack([1 / y, x / y], dim=1)
    a, b = torch.linalg.lstsq(rows, torch.ones_like(y)[:, None]).solution.flatten().tolist()
    return max(a, 0.0), b


def table(rows: dict[str, list[float]], head: list[str], form: str = ".3g") -> None:
    print(f"\n{head[0]:<48}" + "".join(f"{each:>14}" for each in head[1:]))
    for name, values in rows.items():
        print(f"{name:<48}" + "".join(f"{format(value, form):>14}" for value in values))


def largest(answers: list[dict[str, float]]) -> dict[str, float]:
    return {name: max(each[name] for each in answers) for name in answers[0]}


def links(rate: float) -> None:
    """Print how fast links must be for sending a gradient of the SNGAN pair to take as long as computing it."""
    name, pair = next(iter(networks(SIDE).items()))
    count = size_of(pair)
    rows = {
        f"GB/s for {images} image{'s' if images > 1 else ''} a process": [
            2 * (n - 1) / n * 4 * count * rate / images / 1e9 for n in WORLDS
        ]
        for images in (1, 4, 16)
    }
    table(rows, [f"{name}: {rate:g} images/s of a device", *map(str, WORLDS)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--images-per-second", type=float, help="of a device; prints only the links that this asks for")
    parser.add_argument("--link", type=float, help="GB/s that a process sends; by default as measured here")
    parser.add_argument("--latency", type=float, help="seconds of a message; by default as measured here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("$ python scripts/bench/many_processes.py", *sys.argv[1:])
    if arguments.images_per_second is not None:
        links(arguments.images_per_second)
        return
    print(machine())

    columns = {world: largest(run(world, exchanges, arguments.rounds)) for world in NUMBERS}
    eager = {world: largest(run(world, exchanges, 1, TORCH_GLOO_LAZY_INIT="0")) for world in NUMBERS}
    rows = {name: [columns[world][name] for world in NUMBERS] for name in columns[NUMBERS[0]]}
    name = "connections, once all have joined"
    rows["the same as gloo makes them by itself"] = [eager[world][name] for world in NUMBERS]
    table(rows, ["exchange, ms; connections of a process", *map(str, NUMBERS)])

    found = largest(run(2, either_way, arguments.rounds))
    table({name: [value] for name, value in found.items()}, ["two processes", "ms"])

    sizes = largest(run(2, reductions, arguments.rounds))
    overhead, per_byte = line_through({4.0 * int(size): ms / 1e3 for size, ms in sizes.items()})
    print(f"\none all_reduce of two processes: {1e3 * overhead:.3g} ms, and a second for {1e-9 / per_byte:.3g} GB")
    parameters = small_parameters()
    alone = step_seconds(arguments.rounds, BATCH)
    both = max(run(2, step_seconds, arguments.rounds, 2 * BATCH))
    foreseen = alone + overhead + per_byte * 4 * parameters
    print(f"a small SNGAN of {parameters / 1e6:.3g} M parameters, {BATCH} images a process:")
    print(f"  {BATCH / alone:.3g} images/s alone")
    print(f"  a step alone {alone:.3g} s, of two processes {foreseen:.3g} s as predicted, {both:.3g} s as measured")

    link = 1e9 * arguments.link if arguments.link else 1 / per_byte
    latency = arguments.latency if arguments.latency is not None else columns[2]["the same by all_reduce"] / 2e3
    print(f"\nbelow: {link / 1e9:.3g} GB/s, {1e6 * latency:.3g} us a message")
    for name, pair in networks(SIDE).items():
        count = size_of(pair)
        held = {"none": [COPIES * 4 * count / 1e9] * len(WORLDS)}
        held["full"] = [COPIES * 4 * count / world / 1e9 for world in WORLDS]
        sent = {"none": [2 * (n - 1) / n * 4 * count / 1e6 for n in WORLDS]}
        sent["full"] = [3 * (n - 1) / n * 4 * count / 1e6 for n in WORLDS]
        rows = {f"held, GB, sharding {kind}": each for kind, each in held.items()}
        rows |= {f"sent for a gradient, MB, sharding {kind}": each for kind, each in sent.items()}
        rows |= {
            f"ms to exchange a gradient, sharding {kind}": [
                1e3 * (1e6 * mb / link + 2 * (n - 1) * latency) for mb, n in zip(each, WORLDS, strict=True)
            ]
            for kind, each in sent.items()
        }
        table(rows, [f"{name}: {count / 1e6:.3g} M parameters", *map(str, WORLDS)])
    levels = [2 * math.ceil(math.log2(n)) for n in WORLDS]
    rows = {
        "messages one after the other, tree": [float(n) for n in levels],
        "messages one after the other, ring": [2.0 * (n - 1) for n in WORLDS],
        "ms of an agreement on signals, tree": [1e3 * latency * n for n in levels],
        "ms of an agreement on signals, ring": [1e3 * latency * 2 * (n - 1) for n in WORLDS],
    }
    table(rows, ["agreement", *map(str, WORLDS)])


if __name__ == "__main__":
    main()
