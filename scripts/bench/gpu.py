"""Images a second and the share of the device's matrix products, for each loop, precision, compiler and memory layout.

    python scripts/bench/gpu.py [--device auto] [--networks sngan r3gan] [--rounds 20] [--output FILE] [...]

Two pairs of networks are trained on noise: SNGAN for 32 x 32 pixels, with the non-saturating loss, and R3GAN, with the
relativistic loss, R1 and R2. The loops are GDA in alternating order, Lookahead over extragradient, RAPP with three
inner steps, and GDA by SAMPa. Each row is a step of the trainer that `gantrain train` takes, without a log:

- images/s: batches drawn times their size, over the median time of a step. Lookahead and RAPP draw several a step.
- roofline: the FLOPs of the products and convolutions of an uncompiled step, by the formulas of
  `torch.utils.flop_counter`, over the median time of a step, over the FLOPs a second of one large product in the same
  precision on the same device.
- by hand: the images/s over those of a minimal eager loop by hand (GDA, alternating, fp32, contiguous), which takes
  turns with the step in the same process. cuDNN looks for the fastest algorithms in both.
- first step: the seconds of the first one, in which the networks are compiled.

A row that fails says why, and the others go on. On a machine without a GPU everything runs on the CPU, and the head of
the table says so: such numbers say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch
import yaml
from timing import interleaved, machine, median_ratio
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gantrain.commands.train import make_trainer
from gantrain.compute.compile import uncompiled
from gantrain.compute.device import find_device
from gantrain.compute.precision import autocast, single_precision
from gantrain.config.loading import load
from gantrain.data.datasets.image_set import ImageSet
from gantrain.errors import UserError
from gantrain.games.gan import GAN
from gantrain.train.trainer import Trainer

ADAM = {"name": "adam", "lr": 1e-4, "betas": [0.0, 0.9]}
PENALTIES = [{"name": "r1", "weight": 0.05}, {"name": "r2", "weight": 0.05}]
# Name -> loss, penalties, and the models of generator and discriminator but for their widths.
NETWORKS: dict[str, dict[str, Any]] = {
    "sngan": {"loss": "non_saturating", "penalties": [], "widths": (256, 128), "batch": 128},
    "r3gan": {"loss": "relativistic", "penalties": PENALTIES, "widths": (384, 384), "batch": 128},
}
LOOPS: dict[str, dict[str, Any]] = {
    "gda": {"outer": {"name": "gda", "order": "alternating"}},
    "la_eg": {"outer": {"name": "lookahead", "base": "extragradient"}},
    "rapp": {"outer": {"name": "rapp", "inner_steps": 3}},
    "sampa": {"outer": "gda", "sharpness": {"name": "sampa", "rho": 0.01}},
}
PRECISIONS: dict[str, dict[str, Any]] = {"fp32": {}, "tf32": {"tf32": True}, "bf16": {"precision": "bf16"}}
LAYOUTS: dict[str, dict[str, Any]] = {
    "eager": {},
    "channels-last": {"channels_last": True},
    "compiled": {"compile": True},
    "both": {"channels_last": True, "compile": True},
}


class Noise(ImageSet):
    """Colour images without labels.

    Args:
        size: their height and width in pixels.
    """

    def __init__(self, size: int = 32) -> None:
        source = torch.Generator().manual_seed(0)
        super().__init__(torch.randint(256, (1024, 3, size, size), generator=source, dtype=torch.uint8), None, 0)


def made(place: Path, arguments: argparse.Namespace, networks: str, loop: str, **run: Any) -> Trainer:
    """The trainer of a run that is never written."""
    chosen, method = NETWORKS[networks], LOOPS[loop]
    widths = arguments.widths or chosen["widths"]
    players = {
        player: {"model": {"name": networks, "width": width}, "optimizer": ADAM}
        | ({"sharpness": method["sharpness"]} if "sharpness" in method else {})
        for player, width in zip(("generator", "discriminator"), widths, strict=True)
    }
    for player in players.values():
        if networks == "r3gan" and arguments.group_width:
            player["model"]["group_width"] = arguments.group_width
    content = {
        "run": {"name": "bench", "steps": 10**9, "device": arguments.device, "folder": str(place)}
        | {"deterministic": False, "threads": arguments.threads}
        | run,
        "data": {"target": f"{__name__}:Noise", "batch_size": arguments.batch or chosen["batch"]}
        | {"storage": "device"},
        "game": {"name": "gan", "loss": chosen["loss"], "penalties": chosen["penalties"], **players},
        "outer": method["outer"],
    }
    file = place / "bench.yaml"
    file.write_text(yaml.safe_dump(content))
    return make_trainer(load(file), find_device(arguments.device, "--device"))


def by_hand(trainer: Trainer) -> Callable[[], None]:
    """An eager, alternating step without anything around it, on the networks and data of a trainer that is not used."""
    game = trainer.game
    assert isinstance(game, GAN)
    d, g, loss = game.discriminator, game.generator, game.loss
    of_d, of_g = (torch.optim.Adam(n.parameters(), lr=1e-4, betas=(0.0, 0.9), fused=True) for n in (d, g))
    draw = itertools.count()
    weights = [penalty.weight for penalty in game.penalties]

    def step() -> None:
        real = trainer.batches(next(draw), 0).real.requires_grad_(bool(weights))
        z = torch.randn(len(real), g.latent_dim, device=real.device)
        with torch.no_grad():
            fake = g(z, None)
        fake.requires_grad_(bool(weights))
        of_d.zero_grad()
        of_real, of_fake = d(real, None), d(fake, None)
        value = loss.discriminator(of_real, of_fake)
        for weight, logits, samples in zip(weights, (of_real, of_fake), (real, fake), strict=False):
            (slope,) = torch.autograd.grad(logits.sum(), samples, create_graph=True)
            value = value + weight * slope.square().flatten(1).sum(1).mean() / 2
        value.backward()
        of_d.step()
        d.requires_grad_(False)
        of_g.zero_grad()
        seen = None
        if loss.needs_real:
            with torch.no_grad():
                seen = d(real, None)
        loss.generator(seen, d(g(z, None), None)).backward()
        of_g.step()
        d.requires_grad_(True)

    def in_full_precision() -> None:
        with single_precision(tf32=False):
            step()

    return in_full_precision


def peak(device: torch.device, precision: str, size: int, finish: Callable[[], object]) -> float:
    """The FLOPs a second of a product of two square matrices."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    seconds = []
    with single_precision(tf32=precision == "tf32"), autocast(precision, device)():
        if precision == "bf16":
            a, b = a.bfloat16(), b.bfloat16()
        for _ in range(12):
            finish()
            start = time.perf_counter()
            torch.mm(a, b)
            finish()
            seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[2:])


class Flops(TorchDispatchMode):
    """Counts the FLOPs of products and convolutions; torch's own counter fails where a penalty takes a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        return result


def flops(trainer: Trainer) -> int:
    """The FLOPs of the products and convolutions of a step."""
    with uncompiled(), Flops() as counter:
        trainer.train_step()
    return counter.total


def row(
    trainer: Trainer, hand: Callable[[], None], arguments: argparse.Namespace, finish: Callable[[], object]
) -> tuple[float, float, float, float]:
    """Measure one row.

    Returns:
        Images a second, FLOPs a second, images a second over those of the loop by hand, the seconds of the first step.
    """

    def whole(step: Callable[[], None]) -> None:
        step()
        finish()

    with trainer.computing():
        start = time.perf_counter()
        whole(trainer.train_step)
        first = time.perf_counter() - start
        draws = trainer.evaluator.draws
        candidates = {"ours": partial(whole, trainer.train_step), "by hand": partial(whole, hand)}
        seconds = interleaved(candidates, arguments.rounds, warmup=2)
        drawn = (trainer.evaluator.draws - draws) / (arguments.rounds + 2)  # a step of Lookahead draws as its base does
        median = statistics.median(seconds["ours"])
        speed = drawn * trainer.batches.batch_size / median
        return speed, flops(trainer) / median, drawn * median_ratio(seconds["by hand"], seconds["ours"]), first


def rows(arguments: argparse.Namespace, place: Path) -> Iterator[str]:
    """The lines of the tables."""
    device = find_device(arguments.device, "--device")
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    name = f"GPU {torch.cuda.get_device_name()}" if device.type == "cuda" else "the CPU; this says nothing about a GPU"
    yield f"device: {name}"
    yield machine()
    peaks = {precision: peak(device, precision, arguments.matrix, finish) for precision in arguments.precisions}
    for precision, value in peaks.items():
        yield f"a product of {arguments.matrix} x {arguments.matrix}, {precision}: {value / 1e12:.3f} TFLOP/s"
    for networks in arguments.networks:
        hand = by_hand(made(place, arguments, networks, "gda"))
        title = f"{networks} {arguments.widths or NETWORKS[networks]['widths']}"
        title += f", batch {arguments.batch or NETWORKS[networks]['batch']}"
        yield f"\n{title:<38}{'images/s':>10}{'roofline':>10}{'by hand':>9}{'first step':>12}"
        best = 0.0
        for loop, precision, layout in itertools.product(arguments.loops, arguments.precisions, arguments.layouts):
            what = f"{loop:<8}{precision:<8}{layout:<22}"
            try:
                trainer = made(place, arguments, networks, loop, **PRECISIONS[precision], **LAYOUTS[layout])
                speed, done, ratio, first = row(trainer, hand, arguments, finish)
            except (UserError, RuntimeError) as error:
                yield f"{what}failed: {str(error).splitlines()[0]}"
                continue
            if loop == "gda":
                best = max(best, ratio)
            yield f"{what}{speed:>10.1f}{done / peaks[precision]:>10.3f}{ratio:>9.2f}{first:>10.1f} s"
        if "gda" in arguments.loops:
            yield f"the best of gda over the loop by hand: {best:.2f} (target on a GPU: 1.50)"


def main(words: list[str] | None = None, out: TextIO = sys.stdout) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--widths", nargs=2, type=int, metavar=("GENERATOR", "DISCRIMINATOR"))
    parser.add_argument("--group-width", type=int, help="R3GAN's, which divides its widths; by default the network's")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--matrix", type=int, default=8192, help="the size of the products of the roofline")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="a file for the tables, which are printed in any case")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    lines = []
    with tempfile.TemporaryDirectory() as place:
        for line in rows(arguments, Path(place)):
            print(line, file=out, flush=True)
            lines.append(line)
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
