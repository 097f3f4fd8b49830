"""gantrain's training step against a minimal loop written by hand: the same networks, losses, optimizers and average.

    python scripts/bench/step_overhead.py [--rounds 400] [--threads 1]

Both loops run in one process and take turns; the table has the median of each and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
from timing import interleaved, machine, median_ratio
from torch.nn.functional import softplus
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gantrain.builders import make_data
from gantrain.commands.train import make_trainer
from gantrain.config.loading import load

CONFIGS = Path(__file__).parents[2] / "configs"
CASES = {"quickstart": "quickstart.yaml", "2-layer MLP": "gaussian_ring.yaml"}


def by_hand(config, data, generator, discriminator):
    """A function that takes one training step: alternating, non-saturating, lazy R1, Adam, moving average."""
    conditional = config.game.conditional
    settings = {"lr": config.game.generator.optimizer.lr, "betas": (0.0, 0.9), "fused": True}
    g_optimizer = torch.optim.Adam(generator.parameters(), **settings)
    d_optimizer = torch.optim.Adam(discriminator.parameters(), **settings)
    ema = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(config.ema.decay))
    (r1,) = config.game.penalties
    size, count = config.data.batch_size, len(data.samples)
    step = 0
    order = torch.randperm(count)

    def train_step():
        nonlocal step, order
        start = step * size % (count - size)
        if start < size:
            order = torch.randperm(count)
        rows = order[start : start + size]
        real = data.decode(data.samples[rows])
        labels = data.labels[rows] if conditional else None
        z = torch.randn(size, generator.latent_dim)

        penalised = step % r1.every == 0
        with torch.no_grad():
            fake = generator(z, labels)
        real.requires_grad_(penalised)
        real_logits = discriminator(real, labels)
        loss = softplus(-real_logits).mean() + softplus(discriminator(fake, labels)).mean()
        if penalised:
            (slope,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
            loss = loss + r1.weight * r1.every * slope.square().flatten(1).sum(1).mean() / 2
        d_optimizer.zero_grad()
        loss.backward()
        d_optimizer.step()

        discriminator.requires_grad_(False)
        loss = softplus(-discriminator(generator(z, labels), labels)).mean()
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
        discriminator.requires_grad_(True)
        ema.update_parameters(generator)
        step += 1

    return train_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine())
    print(f"{'networks':<14}{'gantrain':>12}{'by hand':>12}{'ratio':>8}   target")
    for (name, file), target in zip(CASES.items(), (1.03, 1.10), strict=True):
        config = load(CONFIGS / file)
        ours = make_trainer(config, torch.device("cpu"))
        twin = make_trainer(config, torch.device("cpu")).game
        hand = by_hand(config, make_data(config), twin.generator, twin.discriminator)
        seconds = interleaved({"gantrain": ours.train_step, "by hand": hand}, arguments.rounds, warmup=20)
        medians = {key: f"{statistics.median(values) * 1000:.2f} ms" for key, values in seconds.items()}
        ratio = median_ratio(seconds["gantrain"], seconds["by hand"])
        print(f"{name:<14}{medians['gantrain']:>12}{medians['by hand']:>12}{ratio:>8.3f}   {target:.2f}")


if __name__ == "__main__":
    main()
