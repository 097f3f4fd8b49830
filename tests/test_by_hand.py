"""The loops by hand, with which the benchmarks compare, compute what gantrain's loops compute on the same batches."""

from __future__ import annotations

import copy
import sys
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch

from gantrain.commands.train import make_trainer

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "bench"))
from by_hand import GAN, Classifier

STEPS = 5
LOOKAHEAD = "name: lookahead, inner_steps: 2, relaxation: 0.5"
GAN_LOOPS = {
    "{name: gda, order: alternating}": lambda game: game.alternating,
    "{name: gda}": lambda game: game.simultaneous,
    "{name: extragradient}": lambda game: partial(game.proximal, 2),
    "{name: extragradient_plus, relaxation: 0.4}": lambda game: partial(game.proximal, 2, 0.4),
    "{name: ceg_plus, relaxation: 0.4}": lambda game: partial(game.proximal, 2, 0.4),
    "{name: rapp, inner_steps: 3, relaxation: 0.9}": lambda game: partial(game.proximal, 3, 0.9),
    "{name: optimistic}": lambda game: game.optimistic,
    f"{{{LOOKAHEAD}, base: {{name: gda, order: alternating}}}}": lambda game: game.lookahead(game.alternating, 2, 0.5),
    f"{{{LOOKAHEAD}, base: {{name: extragradient}}}}": lambda game: game.lookahead(partial(game.proximal, 2), 2, 0.5),
}
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
CLASSIFIER = {
    "data": {"name": "digits", "batch_size": 32},
    "game": {
        "name": "classification",
        "classifier": {"model": {"name": "conv", "width": 4, "norm": "none"}, "optimizer": {"name": "sgd", **SGD}},
    },
}


def drawn(trainer):
    """The batches of a trainer in the order of their draws."""
    for draw in range(10**6):
        yield trainer.batches(draw, 0)


def assert_equal(ours, theirs):
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


ALTERNATING, SIMULTANEOUS = list(GAN_LOOPS)[:2]
CASES = [
    *((loop, "non_saturating") for loop in GAN_LOOPS),
    *((loop, loss) for loop in (ALTERNATING, SIMULTANEOUS) for loss in ("wasserstein", "hinge")),
]


@pytest.mark.parametrize(("loop", "loss"), CASES)
def test_the_loops_of_a_gan(tmp_path, loop, loss):
    config = tiny.config_of(tiny.RING, tmp_path, f"game.loss={loss}", f"outer={loop}")
    trainer = make_trainer(config, torch.device("cpu"))
    g, d = copy.deepcopy((trainer.game.generator, trainer.game.discriminator))
    source = drawn(trainer)
    last = []

    def batches():
        for batch in source:
            last[:] = [batch]
            yield batch.real, batch.labels

    game = GAN(
        g,
        d,
        batches(),
        lambda parameters: torch.optim.Adam(parameters, lr=1e-3, betas=(0.0, 0.9)),
        loss,
        latent=lambda real: last[0].normal("latent", g.latent_dim),
    )
    step = GAN_LOOPS[loop](game)
    for _ in range(STEPS):
        trainer.train_step()
        step()
    assert_equal(trainer.game.generator, g)
    assert_equal(trainer.game.discriminator, d)


@pytest.mark.parametrize("sharpness", ["null", "{name: sam, rho: 0.1}", "{name: sampa, rho: 0.1, mix: 0.3}"])
def test_the_loops_of_a_classifier(tmp_path, sharpness):
    base = {"run": {"name": "digits", "steps": 20}, **CLASSIFIER}
    config = tiny.config_of(base, tmp_path, f"game.classifier.sharpness={sharpness}")
    trainer = make_trainer(config, torch.device("cpu"))
    network = copy.deepcopy(trainer.learners[0].player.module)
    hand = Classifier(network, ((b.real, b.labels) for b in drawn(trainer)), SGD, rho=0.1, mix=0.3)
    step = hand.sampa if "sampa" in sharpness else hand.sam if "sam" in sharpness else hand.plain
    for _ in range(STEPS):
        trainer.train_step()
        step()
    assert_equal(trainer.learners[0].player.module, network)
