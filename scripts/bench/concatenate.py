"""A training step with `game.concatenate` against the same step without it.

    python scripts/bench/concatenate.py [--device auto] [--rounds 40] [--threads 1] [--clock wall|processor] [--compile]

Two trainers of the same config take turns in one process. The table has the median time of a step with two passes and
with one, and the ratio of the two, for networks of three sizes, alternating and simultaneous.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import CLOCKS, interleaved, machine, median_ratio

from gantrain.commands.train import make_trainer
from gantrain.compute.device import find_device
from gantrain.config.loading import load

CONFIGS = Path(__file__).parents[2] / "configs"
# Name -> the config, and what is changed of it; without the penalties, which are not due in most steps.
NETWORKS = {
    "mlp, points": ("gaussian_ring.yaml", []),
    "conv, 8 x 8": ("quickstart.yaml", []),
    "sngan, 32 x 32": (
        "quickstart.yaml",
        [
            "data={name: digits, batch_size: 64, size: 32}",
            "game.generator.model={name: sngan, width: 64}",
            "game.discriminator.model={name: sngan, width: 32}",
        ],
    ),
}
LOSSES = ("non_saturating", "hinge")
ORDERS = ("alternating", "simultaneous")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = find_device(arguments.device, "--device")
    print(f"{machine()}; {torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}")
    print(f"{'networks':<16}{'loss':<16}{'order':<14}{'two passes':>12}{'one':>12}{'one / two':>11}")

    def step(network: str, *changes: str) -> Callable[[], None]:
        file, more = NETWORKS[network]
        always = [f"run.folder={place}", f"run.threads={arguments.threads}", "game.penalties=[]"]
        always += [f"run.compile={str(arguments.compile).lower()}", f"run.device={device.type}"]
        trainer = make_trainer(load(CONFIGS / file, [*more, *always, *changes]), device)

        def whole() -> None:
            with trainer.computing():
                trainer.train_step()
                if device.type == "cuda":
                    torch.cuda.synchronize()

        return whole

    with tempfile.TemporaryDirectory() as place:
        for network in NETWORKS:
            for loss in LOSSES:
                for order in ORDERS:
                    changes = [f"outer={{name: gda, order: {order}}}", f"game.loss={loss}"]
                    steps = {
                        name: step(network, *changes, f"game.concatenate={value}")
                        for name, value in (("two", "false"), ("one", "true"))
                    }
                    seconds = interleaved(steps, arguments.rounds, 3, CLOCKS[arguments.clock])
                    two, one = (1000 * statistics.median(seconds[name]) for name in ("two", "one"))
                    ratio = median_ratio(seconds["one"], seconds["two"])
                    print(f"{network:<16}{loss:<16}{order:<14}{two:>9.2f} ms{one:>9.2f} ms{ratio:>11.3f}", flush=True)


if __name__ == "__main__":
    main()
