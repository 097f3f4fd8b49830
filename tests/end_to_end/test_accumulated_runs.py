"""Micro-batches taken one after the other do what as many processes do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from forked import together
from pydantic import ValidationError
from tiny import DIGITS, RING, config_of, rows, same, state

from gantrain.commands.diagnose import diagnose_run
from gantrain.commands.train import make_trainer, train
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.train.observations import read_observations

# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
LOOKAHEAD = "outer={name: lookahead, inner_steps: 2, base: extragradient}"
OPTIMISTIC = "outer={name: optimistic, critic_steps: 2}"
AUGMENTED = "game.augmentations=[color, {name: crop, padding: 1}, {name: cutout, size: 4}]"
CLASSIFIER = {
    "run": {"name": "digits", "steps": 20},
    "data": {"name": "digits", "batch_size": 24, "split": "train"},
    "game": {
        "name": "classification",
        "classifier": {
            "model": {"name": "wide_resnet", "depth": 10, "width": 1, "dropout": 0.3},
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        },
    },
}
SHARPNESS = {
    "discriminator": "game.discriminator.sharpness={name: sampa, climb: tanh, ascent: local, parallel: off}",
    "generator": "game.generator.sharpness={name: sam, ascent: global, rho: 0.02}",
}
RIVALS = {
    "discriminator": "game.discriminator.sharpness={name: esam, rho: 0.02, gamma: 0.5}",
    "generator": "game.generator.sharpness={name: ae_sam, rho: 0.02}",
}
VARIANTS = (
    "game.generator.sharpness={name: sampa, direction: smoothed, only: norm, ascent: local, parallel: off}",
    "game.discriminator.sharpness={name: sam, direction: friendly, every: 2}",
)
RUNS = {
    "alternating": (DIGITS, *SGD, "outer={name: gda, order: alternating, critic_steps: 2}"),
    "conditional": (DIGITS, *SGD, "game.conditional=true", "game.loss=relativistic", LOOKAHEAD, AUGMENTED),
    "lazy": (DIGITS, *SGD, "game.penalties=[{name: r1, every: 2}, {name: r2, weight: 0.1}]", OPTIMISTIC),
    "wgan_gp": (DIGITS, *SGD, "game.loss=wasserstein", "game.penalties=[wgan_gp]", "outer={name: rapp, samples: same}"),
    "sharp": (DIGITS, *SGD, *SHARPNESS.values(), "outer=ceg_plus"),
    "rivals": (DIGITS, *SGD, *RIVALS.values()),
    "gsam": (CLASSIFIER, "game.classifier.sharpness={name: gsam, rho: 0.1}"),
    "anchored": (DIGITS, *SGD, "outer={name: fast_extragradient, comonotonicity: -0.001}"),
    "rampage": (DIGITS, *SGD, "outer={name: rampage, antithetic: true}"),
    "corrected": (DIGITS, *SGD, "outer={name: corrected_proximal_point, inner_steps: 2}"),
    "variants": (DIGITS, *SGD, *VARIANTS),
    "vasso": (CLASSIFIER, "game.classifier.sharpness={name: sam, rho: 0.1, direction: smoothed, other_batch: true}"),
    "sam": (CLASSIFIER, "game.classifier.sharpness={name: sam, rho: 0.1}"),
    "asam": (CLASSIFIER, "game.classifier.sharpness={name: sam, rho: 0.5, geometry: elementwise, ascent: global}"),
    "bisam": (CLASSIFIER, "game.classifier.sharpness={name: sam, rho: 0.1, climb: log}", "outer=extragradient"),
    "optsam": (CLASSIFIER, "game.classifier.sharpness={name: sam, rho: 0.1, direction: previous}"),
    "sampa": (CLASSIFIER, "game.classifier.sharpness={name: sampa, rho: 0.1, cosine: true, parallel: off}"),
}
# Batch norm over all processes, whose micro-batches lie together, and processes with roles.
SHARED = {
    "alternating": ("run.batch_norm=sync",),
    "sampa": ("game.classifier.sharpness.parallel=on", "run.batch_norm=sync"),
}
# Enough for every loop, lazy penalty and kept gradient to come round.
STEPS = 2
# The oracles on one player differ in nothing that has to do with micro-batches, and many loops in little.
SLOW = ("asam", "bisam", "optsam", "gsam", "anchored", "rampage", "corrected", "vasso", "variants", "rivals", "wgan_gp")


def steps(name: str, folder: str, accelerator: Accelerator, *overrides: str) -> dict[str, Any]:
    """What some steps leave: parameters and buffers, what was observed, and the evaluations."""
    base, *own = RUNS[name]
    trainer = make_trainer(config_of(base, Path(folder), *own, *overrides), accelerator.device)
    for _ in range(STEPS):
        trainer.train_step(observe=True)
    players = trainer.game.players.items()
    tensors = {f"{n}.{key}": t for n, p in players for key, t in p.module.state_dict().items()}
    return {
        "tensors": {key: t.detach().clone() for key, t in tensors.items()},
        "observed": read_observations(trainer.evaluator, trainer.processes)[0],
        "evaluations": trainer.evaluator.evaluations,
        "images": trainer.budget.images,
    }


def on_two_processes(folder: str, names: Sequence[str]) -> dict[str, Any]:
    with process_group(cpu=True) as accelerator:
        local = {name: steps(name, folder, accelerator, "run.batch_norm=local") for name in names}
        cut = steps("sharp", folder, accelerator, "run.batch_norm=local", "data.accumulation=2")
        shared = {name: steps(name, folder, accelerator, "data.accumulation=2", *o) for name, o in SHARED.items()}
        return {"local": local, "cut": cut, "shared": shared}


@pytest.fixture(scope="module")
def two(request, tmp_path_factory):
    """What two processes find, of the runs that the selected tests ask for."""
    here = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")}
    return together(on_two_processes, str(tmp_path_factory.mktemp("two")), [name for name in RUNS if name in asked])


def alone(name: str, folder: Path, parts: int) -> dict[str, Any]:
    with process_group(cpu=True) as accelerator:
        return steps(name, str(folder), accelerator, f"data.accumulation={parts}")


def compare(found: dict[str, Any], answers: list[dict[str, Any]]) -> None:
    """That one process found what several did, whose running statistics are averaged."""
    for key, tensor in found["tensors"].items():
        others = [answer["tensors"][key] for answer in answers]
        if tensor.is_floating_point():
            others = [torch.stack(others).mean(0)]
        for other in others:
            torch.testing.assert_close(tensor, other, atol=1e-5, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")
    for answer in answers:
        assert found["observed"] == pytest.approx(answer["observed"], rel=1e-3, abs=1e-5)
        assert found["evaluations"] == answer["evaluations"] and found["images"] == answer["images"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in RUNS])
def test_two_micro_batches_are_two_processes_with_batch_norm_of_their_own(two, tmp_path, name):
    found = alone(name, tmp_path, 2)
    compare(found, [answer["local"][name] for answer in two])
    whole = alone(name, tmp_path, 1)["tensors"]
    assert not all(torch.allclose(whole[key], t, atol=1e-5, rtol=1e-4) for key, t in found["tensors"].items())


def test_two_micro_batches_on_each_of_two_processes_are_four(two, tmp_path):
    compare(alone("sharp", tmp_path, 4), [answer["cut"] for answer in two])


@pytest.mark.parametrize("name", SHARED)
def test_micro_batches_are_the_same_on_any_number_of_processes(two, tmp_path, name):
    compare(alone(name, tmp_path, 2), [answer["shared"][name] for answer in two])


def test_an_accumulated_run_goes_on_with_the_same_bits(tmp_path):
    def config(name: str, *overrides: str):
        base, *own = RUNS["sharp"]
        # The local ascent begins anew after a checkpoint.
        own = (*own, "game.discriminator.sharpness.ascent=global", LOOKAHEAD, "data.accumulation=2")
        return config_of(base, tmp_path, *own, f"run.name={name}", "run.steps=5", *overrides)

    straight, stopped = train(config("straight")), train(config("stopped", "run.steps=3"))
    train(config("stopped"), resume=True)
    assert same(state(straight), state(stopped)) and rows(straight)[-1] == rows(stopped)[-1]


def test_a_run_with_micro_batches_is_diagnosed_on_whole_batches(tmp_path):
    alternating = (*SGD, "outer={name: gda, order: alternating, critic_steps: 2}")
    diagnose = "diagnose={every: 1, batches: 1, eigenvalues: 1}"
    folder = train(config_of(RING, tmp_path, *alternating, "run.steps=1", "data.accumulation=2", diagnose))
    assert "diagnose/lipschitz" in rows(folder)[-1]
    assert "1 batches of 32" in diagnose_run(str(folder))


def test_a_batch_that_cannot_be_cut_evenly_is_refused(tmp_path):
    with pytest.raises(ValidationError, match=r"of run.processes = 4 \* data.accumulation = 16, .*, got 32"):
        config_of(DIGITS, tmp_path, "data.accumulation=16", "run.processes=4")
    answers = together(refused, str(tmp_path))
    assert (
        answers
        == [
            "data.batch_size: 36 samples cannot be shared evenly by 2 processes of 12 micro-batches each "
            "(data.accumulation); use a multiple of 24"
        ]
        * 2
    )


def refused(folder: str) -> str:
    try:
        train(config_of(DIGITS, Path(folder), "data.batch_size=36", "data.accumulation=12"))
    except UserError as error:
        return str(error)
