"""gantrain's training step against the loop by hand, with all that two shipped configs have: R1, labels, an average.

    python scripts/bench/step_overhead.py [--rounds 400] [--threads 1] [--clock wall|processor]

Both loops run in one process and take turns. The table has the median time of each loop and their ratio. `peers.py`
compares bare steps of every loop.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from by_hand import GAN, Step, batches
from timing import CLOCKS, interleaved, machine, median_ratio
from torch import nn
from torch.optim import Adam

from gantrain.builders import make_data
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load

CONFIGS = Path(__file__).parents[2] / "configs"
CASES = {"quickstart": "quickstart.yaml", "2-layer MLP": "gaussian_ring.yaml"}


def by_hand(config: Any, generator: nn.Module, discriminator: nn.Module) -> Step:
    """The loop by hand with the settings of a config: alternating, lazy R1, Adam, a moving average."""
    player, (r1,) = config.game.generator.optimizer, config.game.penalties
    game = GAN(
        generator,
        discriminator,
        batches(make_data(config), config.data.batch_size),
        lambda parameters: Adam(parameters, lr=player.lr, betas=tuple(player.betas), fused=True),
        config.game.loss.name,
        config.game.conditional,
        r1=(r1.weight, r1.every),
        ema=config.ema.decay,
    )
    return game.alternating


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    print(f"{'networks':<14}{'gantrain':>12}{'by hand':>12}{'ratio':>8}   target")
    for (name, file), target in zip(CASES.items(), (1.03, 1.10), strict=True):
        config = load(CONFIGS / file)
        ours = make_trainer(config, torch.device("cpu"))
        twin = make_trainer(config, torch.device("cpu")).game.players
        hand = by_hand(config, twin["generator"].module, twin["discriminator"].module)
        candidates = {"gantrain": ours.train_step, "by hand": hand}
        seconds = interleaved(candidates, arguments.rounds, 20, CLOCKS[arguments.clock])
        medians = {key: f"{statistics.median(values) * 1000:.2f} ms" for key, values in seconds.items()}
        ratio = median_ratio(seconds["gantrain"], seconds["by hand"])
        print(f"{name:<14}{medians['gantrain']:>12}{medians['by hand']:>12}{ratio:>8.3f}   {target:.2f}")


if __name__ == "__main__":
    main()
