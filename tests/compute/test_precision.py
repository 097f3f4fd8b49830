"""Half precision on a CPU: what is computed in it, what is not, and how far a run goes astray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cases import few
from forked import together
from tiny import DIGITS, config_of, rows, same, state
from torch import nn

from gantrain.builders import make_game
from gantrain.commands.train import make_trainer, train
from gantrain.compute.precision import autocast
from gantrain.config.parts import build
from gantrain.data.batch import Batches
from gantrain.distributed.rendezvous import process_group
from gantrain.models.layers import spectral_norm, spectrally_normalised

CPU = torch.device("cpu")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The largest error of a rounding, as a share of the number.
ROUNDING = {precision: torch.finfo(dtype).eps / 2 for precision, dtype in HALF.items()}
# About ten layers lie on the way there and back, and each rounds once.
LAYERS = 10
# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
CLASSIFIER = {
    "run": {"name": "digits", "steps": 3},
    "data": {"name": "digits", "split": "train"},
    "game": {
        "name": "classification",
        "classifier": {"model": {"name": "conv", "width": 4}, "optimizer": {"name": "sgd", "lr": 0.05}},
    },
}
RUNS = {
    "gda": ("outer={name: gda, order: alternating}",),
    "extragradient": ("outer=extragradient",),
    "rapp": ("outer={name: rapp, samples: same}", "game.penalties=[{name: r1, weight: 1.0}]"),
    "lookahead": ("outer={name: lookahead, inner_steps: 2, base: extragradient}", "data.accumulation=2"),
    "optimistic": ("outer=optimistic", "game.conditional=true"),
    "sam": ("game.discriminator.sharpness={name: sam, ascent: global}", "game.generator.sharpness=sam"),
    "sampa": ("game.discriminator.sharpness={name: sampa, mix: 0.2}", "game.generator.constraint={name: l2_ball}"),
    "bisam": (
        "game.discriminator.sharpness={name: sam, climb: tanh}",
        "game.augmentations=[color, {name: cutout, size: 4}]",
    ),
}


GAMES = {
    "conditional": (DIGITS, "game.penalties=[r1, r2, wgan_gp]", "game.loss=relativistic", "game.conditional=true"),
    "unconditional": (DIGITS, "game.penalties=[r1, r2, wgan_gp]", "game.loss=hinge"),
    "classification": (CLASSIFIER,),
}


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("name", GAMES)
def test_networks_compute_in_half_and_everything_after_them_in_single(tmp_path, name, precision):
    seen = []
    base, *overrides = GAMES[name]
    config = config_of(base, tmp_path, *overrides)
    data = build("data", config.data.part)
    game = make_game(config, data)
    for module in (m for player in game.players.values() for m in player.module.modules()):
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, inputs, output: seen.append(output.dtype))
    batch = Batches(data, 32, seed=0)(0, 0)
    for player in game.players:
        with autocast(precision, CPU)():
            objective = game.objective(player, batch)
        assert objective.loss.dtype == objective.logits.dtype == torch.float32
        assert {score.dtype for score in objective.scores.values()} == {torch.float32}
    assert set(seen) == {HALF[precision]}


def smooth(*modules: nn.Module) -> None:
    """Replace activations that have a kink: a rounding may move a value across it, and the gradient jumps."""
    for module in [each for root in modules for each in root.modules()]:
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU | nn.LeakyReLU):
                setattr(module, name, nn.SiLU())


@pytest.mark.parametrize("penalty", ["r1", "r2", "wgan_gp"])
def test_penalties_and_their_gradients_are_those_of_single_precision(digits, penalty):
    config = digits(f"game.penalties=[{penalty}]", "game.loss=wasserstein")
    data = build("data", config.data.part)
    found: dict[str, Any] = {}
    for precision in ("fp32", *HALF):
        game = make_game(config, data)
        smooth(game.players["discriminator"].module)
        with autocast(precision, CPU)():
            objective = game.objective("discriminator", Batches(data, 32, seed=0)(0, 0))
        (value,) = (v for key, v in objective.scores.items() if key not in ("real", "fake", "real_sign"))
        scale = 2.0**10 if precision == "fp16" else 1.0
        parameters = game.players["discriminator"].parameters
        gradients = torch.autograd.grad(scale * objective.loss, parameters, allow_unused=True)
        found[precision] = value, torch.cat([g.flatten() / scale for g in gradients if g is not None])
    value, gradient = found.pop("fp32")
    for precision, (other, its) in found.items():
        tolerance = LAYERS * ROUNDING[precision]
        assert other == pytest.approx(float(value), rel=tolerance)
        assert 0 < (its - gradient).norm() / gradient.norm() < tolerance


def moved(folder: Path, accelerator: Any, *overrides: str) -> torch.Tensor:
    """How far all parameters of networks without kinks have moved after three steps."""
    trainer = make_trainer(config_of(DIGITS, folder, *SGD, *overrides), accelerator.device)
    smooth(*(player.module for player in trainer.game.players.values()))
    parameters = [p for learner in trainer.learners for p in learner.parameters]
    before = [p.detach().clone() for p in parameters]
    for _ in range(3):
        trainer.train_step()
    return torch.cat([(p.detach() - b).flatten() for p, b in zip(parameters, before, strict=True)])


@pytest.mark.parametrize("name", few(RUNS, "rapp", "lookahead", "sampa"))
def test_a_run_in_half_precision_is_near_that_in_single(tmp_path, name):
    with process_group(cpu=True) as accelerator:
        single, bf16, fp16 = (
            moved(tmp_path, accelerator, *RUNS[name], f"run.precision={p}") for p in ("fp32", "bf16", "fp16")
        )
    astray = {"bf16": (bf16 - single).norm() / single.norm(), "fp16": (fp16 - single).norm() / single.norm()}
    for precision, share in astray.items():
        assert 0 < share < LAYERS * ROUNDING[precision]
    # Eight roundings of fp16 are one of bf16.
    assert astray["fp16"] < astray["bf16"] / 2


def test_batch_norm_over_processes_in_half(tmp_path):
    """The same in two processes, whose batch norm is ours."""
    for single, half in together(on_two, str(tmp_path)):
        assert 0 < (half - single).norm() / single.norm() < LAYERS * ROUNDING["fp16"]


def on_two(folder: str) -> list[torch.Tensor]:
    with process_group(cpu=True) as accelerator:
        return [moved(Path(folder), accelerator, *RUNS["sam"], f"run.precision={p}") for p in ("fp32", "fp16")]


def test_a_run_in_fp16_goes_on_with_the_same_bits_and_logs_its_scales(tmp_path):
    def config(name: str, *overrides: str):
        large = ("game.loss=wasserstein", "game.penalties=[{name: wgan_gp, weight: 1.0e+4}]")
        return config_of(DIGITS, tmp_path, "run.precision=fp16", "run.steps=8", *large, f"run.name={name}", *overrides)

    straight, stopped = train(config("straight")), train(config("stopped", "run.steps=4"))
    train(config("stopped"), resume=True)
    assert same(state(straight), state(stopped))
    (*_, last), (*_, again) = rows(straight), rows(stopped)
    assert last == again
    assert last["loss_scale/discriminator"] < 2.0**16 and last["loss_scale/generator"] <= 2.0**16
    assert all(t.dtype == torch.float32 for t in state(straight)["generator"].values() if t.is_floating_point())


def test_spectral_norm_stays_in_the_weights_precision(monkeypatch):
    inside, multiply = [], spectral_norm._unit_products
    monkeypatch.setattr(
        spectral_norm, "_unit_products", lambda *a: (inside.append(torch.is_autocast_enabled("cpu")), multiply(*a))[1]
    )
    layer = spectrally_normalised(nn.Linear(3, 4))
    with autocast("fp16", CPU)():
        assert layer(torch.ones(2, 3)).dtype == torch.float16 and torch.is_autocast_enabled("cpu")
        assert layer.weight.dtype == torch.float32
    assert inside and not any(inside)
