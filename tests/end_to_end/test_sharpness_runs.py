"""Sharpness-aware players in whole runs, on one process and on several."""

from pathlib import Path

import pytest
from cases import few
from forked import together
from tiny import DIGITS, RING, config_of, rows, same, state

from gantrain.commands.train import train
from gantrain.errors import UserError

# Plain SGD, as Adam's first steps are signs of gradients: rounding would turn up in full.
SGD = ("game.generator.optimizer={name: sgd, lr: 0.05}", "game.discriminator.optimizer={name: sgd, lr: 0.05}")
SAMPA = "game.discriminator.sharpness={name: sampa, rho: 0.05, cosine: true, parallel: PARALLEL}"


def config(folder, name, parallel):
    sampa = SAMPA.replace("PARALLEL", parallel)
    size = ("run.steps=10", "data.batch_size=36", "log.every=1")
    return config_of(DIGITS, Path(folder), f"run.name={name}", *size, *SGD, sampa)


def trained(folder: str, name: str, parallel: str) -> str | None:
    try:
        train(config(folder, name, parallel))
    except UserError as error:
        return str(error)


def test_two_processes_in_two_roles_do_what_one_does(tmp_path):
    assert trained(str(tmp_path), "one", "auto") is None
    assert together(trained, str(tmp_path), "two", "on") == [None, None]
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == 10
    for alone, shared in zip(one, two, strict=True):
        assert alone.keys() == shared.keys() and {"cosine/discriminator", "score/real"} <= alone.keys()
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-5)
    assert two[-1]["gradients/discriminator"] == 21 and two[-1]["gradients/generator"] == 10


def test_three_processes_cannot_take_two_roles(tmp_path):
    answers = together(trained, str(tmp_path), "three", "on", world=3)
    for answer in answers:
        assert "player discriminator: sharpness.parallel: on needs 2 processes or a multiple of it, got 3" in answer
    assert not (tmp_path / "three").exists()


def test_a_resumed_run_goes_on_with_the_averages_and_choices_of_its_oracles(tmp_path):
    threshold = "{schedule: linear, from: 1, to: -1, kimg: 0.3}"
    overrides = (
        "data.batch_size=36",
        "log.every=1",
        f"game.discriminator.sharpness={{name: ae_sam, rho: 0.05, threshold: {threshold}}}",
        "game.generator.sharpness={name: esam, rho: 0.05, climb: tanh}",
        "game.penalties=[{name: r1, every: 2}]",
    )
    for name, stops in (("straight", [6]), ("resumed", [3, 6])):
        for stop in stops:
            train(config_of(DIGITS, tmp_path, f"run.name={name}", f"run.steps={stop}", *overrides), resume=True)
    assert same(state(tmp_path / "resumed"), state(tmp_path / "straight"))
    logged = rows(tmp_path / "straight")
    assert rows(tmp_path / "resumed") == logged
    assert 6 < logged[-1]["gradients/discriminator"] < 12 and logged[-1]["gradients/generator"] == 12


# For the generator, which has batch norm, and the discriminator, which has none.
VARIANTS = {
    "norms, friendly": ("name: sam, direction: friendly, only: norm", "name: sam, direction: friendly, climb: log"),
    "looksam, smoothed": ("name: sam, every: 4, other_batch: true", "name: sampa, direction: smoothed, climb: tanh"),
    "smoothed, looksam": ("name: sampa, direction: smoothed, only: norm", "name: sam, every: 3"),
    "momentum": ("name: sam, direction: momentum, only: norm", "name: sam, direction: momentum, every: 2"),
    "smoothed": ("name: sam, direction: smoothed, ascent: global", "name: sam, direction: smoothed"),
}


@pytest.mark.parametrize("name", few(VARIANTS, "looksam, smoothed"))
def test_variants_of_either_player_go_on_as_if_never_stopped(tmp_path, name):
    pair = zip(("generator", "discriminator"), VARIANTS[name], strict=True)
    sharp = [f"game.{player}.sharpness={{{keys}, rho: 0.05}}" for player, keys in pair]
    adam = [f"game.{player}.optimizer.betas=[0.5, 0.9]" for player in ("generator", "discriminator")]

    def config(run, steps):
        settings = (f"run.name={run}", f"run.steps={steps}", "log.every=1", "outer=extragradient")
        return config_of(DIGITS, tmp_path, *settings, "data.accumulation=2", *sharp, *adam)

    straight = train(config("straight", 7))
    train(config("stopped", 3))
    stopped = train(config("stopped", 7), resume=True)
    assert same(state(stopped), state(straight)) and rows(stopped) == rows(straight)
    plain = train(config_of(DIGITS, tmp_path, "run.name=plain", "run.steps=7", "outer=extragradient", *adam))
    for player in ("generator", "discriminator"):
        assert not same(state(straight)[player], state(plain)[player])


def test_a_budget_of_gradients_ends_a_run_of_looksam_with_a_row_of_the_log(tmp_path):
    looksam = "game.discriminator.sharpness={name: sam, every: 5, rho: 0.05}"
    settings = ("run.steps=null", "run.gradients=14", "log.every=100", looksam)
    folder = train(config_of(RING, tmp_path, *settings))
    # Steps 0, 5 and 10 cost two gradients, the others one.
    assert [(row["step"], row["gradients/discriminator"]) for row in rows(folder)] == [(11, 14)]


@pytest.mark.parametrize(
    ("sharpness", "message"),
    [
        (
            "{name: sampa, only: norm}",
            "only: norm perturbs the parameters of normalisation layers, and the ",
        ),
        (
            "{name: sam, direction: momentum}",
            "direction: momentum takes the optimizer's momentum, and SGD keeps none",
        ),
    ],
)
def test_what_a_variant_lacks_is_said_before_the_folder_is_written(tmp_path, sharpness, message):
    for player in ("generator", "discriminator"):
        with pytest.raises(UserError) as refused:
            train(config_of(RING, tmp_path, *SGD, f"game.{player}.sharpness={sharpness}"))
        assert str(refused.value).startswith(f"game.{player}.sharpness.{message}") and "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())
