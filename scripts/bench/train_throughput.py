"""Images a second that the SNGAN pair for 32 x 32 pixels is trained on: gantrain, loops written by hand, torch-mimicry.

    python scripts/bench/train_throughput.py [--width 64] [--batch 64] [--rounds 10] [--device auto] [key=value ...]

There are three tables. The first compares the step of gantrain's trainer, for each outer loop, with a minimal loop over
the same networks, losses and optimizers; both take turns in one process. The second compares the step under settings of
the command line (bf16, channels-last, TF32, compiled) with the loop by hand in fp32. The third compares `gantrain
train` on one process and on two, with one thread each and the same global batch; beside them two separate runs at the
same time show the most that the machine gives two processes.

The generator has the given width and the discriminator half of it, as 256 and 128 in the paper. The data are noise,
since only speed is measured. torch-mimicry takes part where it can be imported (pip install torch-mimicry, which brings
tensorflow): it trains its own SNGAN networks of the same widths in its own training steps, with the same optimizers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timing import interleaved, machine, median_ratio
from torch import Tensor, nn
from torch.nn.functional import relu

from gantrain.builders import make_data
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load
from gantrain.config.schema import Config
from gantrain.data.datasets.image_set import ImageSet
from gantrain.distributed.rendezvous import process_group
from gantrain.train.trainer import Trainer

HERE = Path(__file__).parent
CONFIGS = HERE.parents[1] / "configs" / "rapp"
LOOPS = ("gda", "eg", "eg_plus", "la_gda", "la_eg", "rapp")
TABLES = ("loops", "settings", "processes")
OURS, HAND, MIMICRY = "gantrain", "by hand", "torch-mimicry"
SETTINGS = {
    "channels-last": ["run.channels_last=true"],
    "compiled": ["run.compile=true"],
    "bf16": ["run.precision=bf16"],
    "all three, TF32": ["run.precision=bf16", "run.channels_last=true", "run.compile=true", "run.tf32=true"],
}


class Noise(ImageSet):
    """2048 colour images of 32 x 32 pixels, without labels."""

    def __init__(self) -> None:
        source = torch.Generator().manual_seed(0)
        super().__init__(torch.randint(256, (2048, 3, 32, 32), generator=source, dtype=torch.uint8), None, 0)


class ByHand:
    """The published networks with the hinge loss and SGD, as one would write them for a single experiment."""

    def __init__(
        self, config: Any, data: ImageSet, generator: nn.Module, discriminator: nn.Module, device: torch.device
    ):
        self.generator, self.discriminator = generator, discriminator
        self.latent_dim: int = generator.latent_dim  # type: ignore[assignment]  # the networks say it, nn.Module does not
        self.samples, self.size = data.samples.to(device), config.data.batch_size
        game = config.game
        self.g_optimizer = torch.optim.SGD(generator.parameters(), lr=game.generator.optimizer.lr, fused=True)
        self.d_optimizer = torch.optim.SGD(discriminator.parameters(), lr=game.discriminator.optimizer.lr, fused=True)
        self.parameters = [*generator.parameters(), *discriminator.parameters()]
        self.order: Iterator[Tensor] = iter(())

    def batch(self) -> tuple[Tensor, Tensor]:
        rows = next(self.order, None)
        if rows is None:
            order = torch.randperm(len(self.samples), device=self.samples.device)
            self.order = iter(order.split(self.size)[: len(order) // self.size])
            rows = next(self.order)
        real = self.samples[rows].float().div_(127.5).sub_(1)
        return real, torch.randn(self.size, self.latent_dim, device=real.device)

    def d_gradient(self, real: Tensor, z: Tensor) -> None:
        with torch.no_grad():
            fake = self.generator(z)
        loss = relu(1 - self.discriminator(real)).mean() + relu(1 + self.discriminator(fake)).mean()
        self.d_optimizer.zero_grad()
        loss.backward()

    def g_gradient(self, z: Tensor) -> None:
        self.discriminator.requires_grad_(False)
        loss = -self.discriminator(self.generator(z)).mean()
        self.g_optimizer.zero_grad()
        loss.backward()
        self.discriminator.requires_grad_(True)

    def gda(self) -> None:
        real, z = self.batch()
        self.d_gradient(real, z)
        self.d_optimizer.step()
        self.g_gradient(z)
        self.g_optimizer.step()

    @torch.no_grad()
    def copied(self) -> list[Tensor]:
        return [p.clone() for p in self.parameters]

    @torch.no_grad()
    def go_back(self, anchor: Sequence[Tensor]) -> None:
        for p, a in zip(self.parameters, anchor, strict=True):
            p.copy_(a)

    @torch.no_grad()
    def relax(self, anchor: Sequence[Tensor], relaxation: float) -> None:
        for p, a in zip(self.parameters, anchor, strict=True):
            p.copy_(a + relaxation * (p - a))

    def proximal(self, inner_steps: int, relaxation: float = 1.0) -> None:
        """A step of RAPP; with two inner steps it is extragradient or EG+."""
        anchor = self.copied()
        for _ in range(inner_steps):
            real, z = self.batch()
            self.d_gradient(real, z)
            self.g_gradient(z)
            self.go_back(anchor)
            self.d_optimizer.step()
            self.g_optimizer.step()
        if relaxation != 1.0:
            self.relax(anchor, relaxation)

    def lookahead(self, step: Callable[[], None], inner_steps: int = 5000, relaxation: float = 0.5) -> Iterator[None]:
        anchor = self.copied()
        for count in itertools.count(1):
            step()
            if count % inner_steps == 0:
                self.relax(anchor, relaxation)
                anchor = self.copied()
            yield

    def step_of(self, loop: str) -> Callable[[], None]:
        if loop.startswith("la_"):
            steps = self.lookahead(self.step_of(loop.removeprefix("la_")))
            return lambda: next(steps)
        return {
            "gda": self.gda,
            "eg": lambda: self.proximal(2),
            "eg_plus": lambda: self.proximal(2, 0.5),
            "rapp": lambda: self.proximal(3, 0.9),
        }[loop]


def mimicry(arguments: argparse.Namespace, device: torch.device) -> Callable[[], None] | None:
    """torch-mimicry's step: a batch of its loader, the step of its discriminator, then that of its generator."""
    # torch-mimicry also imports its ImageNet data set, which needs a module that torch 2 no longer has.
    missing = types.ModuleType("torch._six")
    missing.__dict__["PY3"] = True
    sys.modules.setdefault("torch._six", missing)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            from torch_mimicry.nets.sngan.sngan_32 import SNGANDiscriminator32, SNGANGenerator32
            from torch_mimicry.training.metric_log import MetricLog
    except ImportError as error:
        print(f"torch-mimicry cannot be imported ({error}); pip install torch-mimicry")
        return None
    generator = SNGANGenerator32(ngf=arguments.width).to(device)
    discriminator = SNGANDiscriminator32(ndf=arguments.width // 2).to(device)
    g_optimizer = torch.optim.SGD(generator.parameters(), lr=0.02)
    d_optimizer = torch.optim.SGD(discriminator.parameters(), lr=0.1)
    images = Noise().samples.to("cpu").float().div_(127.5).sub_(1)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.zeros(len(images))), arguments.batch, shuffle=True, drop_last=True
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))

    def step() -> None:
        real = [part.to(device) for part in next(batches)]
        log = discriminator.train_step(real, generator, d_optimizer, MetricLog(), device)
        generator.train_step(real, discriminator, g_optimizer, log, device)

    return step


def settings(arguments: argparse.Namespace, folder: str) -> list[str]:
    """The overrides that all runs have in common."""
    return [
        f"run.folder={folder}",
        f"run.device={'cpu' if arguments.device == 'cpu' else 'cuda'}",
        *("run.gradients=null", "run.steps=1000000", "evaluate=null", "samples=null"),
        f"data={{target: 'train_throughput:Noise', batch_size: {arguments.batch}}}",
        f"game.generator.model.width={arguments.width}",
        f"game.discriminator.model.width={arguments.width // 2}",
        *arguments.overrides,
    ]


def configured(arguments: argparse.Namespace, loop: str, *changes: str) -> Config:
    return load(CONFIGS / f"{loop}.yaml", [*settings(arguments, "unused"), *changes])


def made(accelerator: Accelerator, arguments: argparse.Namespace, loop: str, *changes: str) -> Trainer:
    return make_trainer(configured(arguments, loop, *changes), accelerator.device)


def outer_loops(accelerator: Accelerator, arguments: argparse.Namespace) -> None:
    """Print the first table: the trainer's step and the step by hand, for each outer loop."""
    device = accelerator.device
    finish = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    print(f"\n{'images/s':<24}{OURS:>12}{HAND:>12}{'ratio':>8}   target 0.98")
    for loop in arguments.loops:
        ours, twin = made(accelerator, arguments, loop), made(accelerator, arguments, loop)
        game = twin.game
        config = configured(arguments, loop)
        hand = ByHand(config, make_data(config), game.generator, game.discriminator, device).step_of(loop)
        candidates = {OURS: ours.train_step, HAND: hand}
        if loop == "gda" and (other := mimicry(arguments, device)) is not None:
            candidates[MIMICRY] = other
        seconds = measured(candidates, arguments, finish)
        ours.train_step()
        images = arguments.batch * ours.evaluator.draws / ours.step
        speeds = {name: images / statistics.median(values) for name, values in seconds.items()}
        ratio = median_ratio(seconds[HAND], seconds[OURS])
        print(f"{loop:<24}{speeds[OURS]:>12.1f}{speeds[HAND]:>12.1f}{ratio:>8.3f}", flush=True)
        if MIMICRY in speeds:
            ratio = median_ratio(seconds[MIMICRY], seconds[OURS])
            print(f"{'  torch-mimicry':<24}{speeds[OURS]:>12.1f}{speeds[MIMICRY]:>12.1f}{ratio:>8.3f}", flush=True)


def measured(
    candidates: Mapping[str, Callable[[], None]], arguments: argparse.Namespace, finish: Callable[[], object]
) -> dict[str, list[float]]:
    """The seconds of each call of the candidates, until the device has finished."""

    def whole(step: Callable[[], None]) -> None:
        step()
        finish()

    return interleaved({n: partial(whole, step) for n, step in candidates.items()}, arguments.rounds, warmup=3)


def faster_settings(accelerator: Accelerator, arguments: argparse.Namespace) -> None:
    """Print the second table: the step of GDA with settings that may make it faster."""
    finish = torch.cuda.synchronize if accelerator.device.type == "cuda" else lambda: None
    twin = made(accelerator, arguments, "gda").game
    config = configured(arguments, "gda")
    hand = ByHand(config, make_data(config), twin.generator, twin.discriminator, accelerator.device).step_of("gda")
    print(f"\n{'gda with':<24}{OURS:>12}{HAND:>12}{'ratio':>8}   target 1.30 on a GPU, of the best")
    for name, changes in SETTINGS.items():
        ours = made(accelerator, arguments, "gda", *changes)
        seconds = measured({OURS: ours.train_step, HAND: hand}, arguments, finish)
        speeds = {key: arguments.batch / statistics.median(values) for key, values in seconds.items()}
        ratio = median_ratio(seconds[HAND], seconds[OURS])
        print(f"{name:<24}{speeds[OURS]:>12.1f}{speeds[HAND]:>12.1f}{ratio:>8.3f}", flush=True)


def processes(arguments: argparse.Namespace) -> None:
    """Print the third table: `gantrain train` on one process and on two, in turns; the batch is the same."""
    cases: dict[str, list[list[str]]] = {
        "one process": [[]],
        "two processes": [["--processes", "2"]],
        "two, local batch norm": [["--processes", "2", "run.batch_norm=local"]],
        "two runs side by side": [[], []],
    }
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        for turn, (name, runs) in itertools.product(range(arguments.runs), cases.items()):
            steps = [f"run.steps={8 * arguments.log}", f"log.every={arguments.log}", "run.threads=1"]
            names = [f"{name}_{turn}_{i}".replace(" ", "_") for i in range(len(runs))]
            started = [
                subprocess.Popen(
                    [sys.executable, "-m", "gantrain", "train", str(CONFIGS / "gda.yaml"), *extra]
                    + [*settings(arguments, folder), *steps, "checkpoint.every=1000000", f"run.name={run}"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ
                    | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"},
                )
                for extra, run in zip(runs, names, strict=True)
            ]
            if any(process.wait() for process in started):
                sys.exit(f"{name}: the run failed")
            logs = [(Path(folder) / run / "metrics.jsonl").read_text().splitlines() for run in names]
            # The first row includes the start. The speeds of runs at the same time are added.
            rows = [[json.loads(line)["images_per_second"] for line in log][1:] for log in logs]
            speeds[name] += [sum(together) for together in zip(*rows, strict=True)]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    print(f"\n{'gda':<24}{'images/s':>12}{'efficiency':>12}{'of the limit':>14}   target 0.85")
    for name, value in medians.items():
        efficiency = value / medians["one process"] / (1 if name == "one process" else 2)
        share = f"{value / medians['two runs side by side']:.3f}" if "two" in name else ""
        print(f"{name:<24}{value:>12.1f}{efficiency:>12.3f}{share:>14}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3, help="number of runs of each kind in the third table")
    parser.add_argument("--log", type=int, default=2, help="steps between two measurements of these runs")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    arguments = parser.parse_intermixed_args()
    if arguments.device == "auto":
        arguments.device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(arguments.threads)
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"{machine()}; {device}")
    print(f"widths {arguments.width} and {arguments.width // 2}, batches of {arguments.batch}, SGD, hinge loss")
    with process_group(arguments.device == "cpu") as accelerator:
        if "loops" in arguments.tables:
            outer_loops(accelerator, arguments)
        if "settings" in arguments.tables:
            faster_settings(accelerator, arguments)
    if "processes" in arguments.tables:
        processes(arguments)


if __name__ == "__main__":
    main()
