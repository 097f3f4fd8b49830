"""The time of a simultaneous turn of a GAN, in which both players share a pass, against turns in which they do not.

    python scripts/bench/shared_pass.py [--rounds 20]

For each pair of networks and each loss four turns take their turns in one process: simultaneous with the shared pass,
simultaneous with a pass for each objective, alternating, and a minimal alternating loop by hand. A step is that of the
trainer, without a log. The ratios are those of the medians of processor time. All players descend by Adam.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from timing import interleaved, machine, median_ratio

from gantrain.commands.train import make_trainer
from gantrain.config.loading import load
from gantrain.games.gan import GAN
from gantrain.games.losses import Hinge, Loss, NonSaturating, Wasserstein

LOSSES: dict[str, type[Loss]] = {"non_saturating": NonSaturating, "wasserstein": Wasserstein, "hinge": Hinge}
# Name -> the data set, and the models of generator and discriminator.
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "quickstart, conv 8 x 8": (
        {"name": "digits"},
        {"name": "conv", "width": 32, "latent_dim": 64, "norm": "none"},
        {"name": "conv", "width": 32},
    ),
    "SNGAN 32 x 32, widths 64 and 32": (
        {"name": "digits", "size": 32},
        {"name": "sngan", "width": 64},
        {"name": "sngan", "width": 32},
    ),
}
ADAM = {"name": "adam", "lr": 1e-4, "betas": [0.0, 0.9]}


class Apart(GAN):
    """The same game; the objectives of a subclass are differentiated one by one."""


def step_of(folder: Path, networks: str, loss: str, order: str, game: type[GAN] = GAN) -> Callable[[], None]:
    """The step of a trainer."""
    data, generator, discriminator = NETWORKS[networks]
    content = {
        "run": {"name": "bench", "steps": 10**9, "device": "cpu", "threads": 1, "folder": str(folder)},
        "data": {**data, "batch_size": 64},
        "game": {
            "name": "gan",
            "loss": loss,
            "generator": {"model": generator, "optimizer": ADAM},
            "discriminator": {"model": discriminator, "optimizer": ADAM},
        },
        "outer": {"name": "gda", "order": order},
    }
    file = folder / "bench.yaml"
    file.write_text(yaml.safe_dump(content))
    trainer = make_trainer(load(file), torch.device("cpu"))
    trainer.game.__class__ = game
    return trainer.train_step


def by_hand(folder: Path, networks: str, loss: str) -> Callable[[], None]:
    """An alternating step without anything around it, on the same networks and data."""
    data, generator, discriminator = NETWORKS[networks]
    step_of(folder, networks, loss, "alternating")  # writes the config
    trainer = make_trainer(load(folder / "bench.yaml"), torch.device("cpu"))
    game, samples, losses = trainer.game, trainer.batches, LOSSES[loss]()
    assert isinstance(game, GAN)
    d, g = game.discriminator, game.generator
    of_d, of_g = (torch.optim.Adam(n.parameters(), lr=1e-4, betas=(0.0, 0.9), fused=True) for n in (d, g))
    draw = iter(range(10**9))

    def step() -> None:
        real = samples(next(draw), 0).real
        z = torch.randn(len(real), g.latent_dim)
        with torch.no_grad():
            fake = g(z, None)
        of_d.zero_grad()
        losses.discriminator(d(real, None), d(fake, None)).backward()
        of_d.step()
        d.requires_grad_(False)
        of_g.zero_grad()
        losses.generator(None, d(g(z, None), None)).backward()
        of_g.step()
        d.requires_grad_(True)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as place:
        step = partial(step_of, Path(place))
        for networks in NETWORKS:
            for loss in LOSSES:
                steps = {
                    "shared": step(networks, loss, "simultaneous"),
                    "apart": step(networks, loss, "simultaneous", Apart),
                    "alternating": step(networks, loss, "alternating"),
                    "by hand": by_hand(Path(place), networks, loss),
                }
                fast = networks.startswith("quickstart")
                seconds = interleaved(steps, rounds * 10 if fast else rounds, 5 if fast else 2, time.process_time)
                shared, alternating = seconds["shared"], seconds["alternating"]
                print(
                    f"{networks}, {loss}: shared / alternating {median_ratio(shared, alternating):.3f}, "
                    f"shared / apart {median_ratio(shared, seconds['apart']):.3f}, "
                    f"shared / by hand {median_ratio(shared, seconds['by hand']):.3f}, "
                    f"alternating / by hand {median_ratio(alternating, seconds['by hand']):.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
