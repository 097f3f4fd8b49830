"""The shipped configs of image GANs: what they say, and that each of them trains."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny import rows

from gantrain.commands.train import train
from gantrain.config.loading import load

CONFIGS = Path(__file__).parents[2] / "configs"
RAPP = CONFIGS / "rapp"
FILES = sorted(
    path for folder in ("rapp", "gan", "extra_adam", "lookahead_minimax") for path in (CONFIGS / folder).glob("*.yaml")
)

# The table's optimizers: gradients of each player in a training step, the optimizer, and the loops from the inside out.
TABLE = {
    "gda": (1, "sgd", "gda"),
    "eg": (2, "sgd", "extragradient"),
    "eg_plus": (2, "sgd", "extragradient_plus"),
    "la_gda": (1, "sgd", "gda", "lookahead"),
    "la_eg": (2, "sgd", "extragradient", "lookahead"),
    "la_eg_plus": (2, "sgd", "extragradient_plus", "lookahead"),
    "rapp": (3, "sgd", "rapp"),
    "adam": (1, "adam", "gda"),
    "extra_adam": (2, "adam", "extragradient"),
    "extra_adam_plus": (2, "adam", "extragradient_plus"),
    "la_adam": (1, "adam", "gda", "lookahead"),
    "la_extra_adam": (2, "adam", "extragradient", "lookahead"),
    "la_extra_adam_plus": (2, "adam", "extragradient_plus", "lookahead"),
}
# Those of which the default trials train another with the same loop, the same optimizer or the same networks.
SLOW = ("gda", "eg", "eg_plus", "la_eg", "la_eg_plus", "extra_adam", "la_adam", "la_extra_adam", "cnn", "stylegan2")
# Of the other papers' folders, what the default trials train.
KEPT = ("dcgan_wgan_gp_optimistic_adam", "nla_alt_gan")

# Networks and penalty -> method -> the learning rates of generator and discriminator, and the average's decay, from the
# JSON files that are published with the paper.
EXTRA_ADAM = {
    "dcgan_wgan": {
        "adam": (2e-5, 2e-4, 0.999),
        "adam_5": (2e-5, 2e-4, 0.9999),
        "extra_adam": (5e-5, 5e-4, 0.999),
        "past_extra_adam": (2e-5, 2e-4, 0.9999),
        "optimistic_adam": (2e-5, 2e-4, 0.9999),
    },
    "dcgan_wgan_gp": {
        "adam": (1e-4, 1e-4, 0.9999),
        "adam_5": (1e-4, 1e-4, 0.9999),
        "extra_adam": (5e-4, 5e-4, 0.9999),
        "past_extra_adam": (1e-4, 1e-4, 0.9999),
        "optimistic_adam": (1e-4, 1e-4, 0.9999),
    },
    "resnet_wgan_gp": {
        "adam": (2e-5, 2e-4, 0.9999),
        "adam_5": (2e-5, 2e-4, 0.9999),
        "extra_adam": (5e-5, 5e-4, 0.9999),
        "past_extra_adam": (2e-5, 2e-4, 0.9999),
        "optimistic_adam": (2e-5, 2e-4, 0.9999),
    },
}
LOOPS = {
    "adam": ("gda", "alternating"),
    "adam_5": ("gda", "alternating"),
    "extra_adam": ("extragradient", "simultaneous"),
    "past_extra_adam": ("optimistic", "simultaneous"),
    "optimistic_adam": ("gda", "simultaneous"),
}


def test_there_is_a_config_for_each_optimizer_of_the_table():
    assert {p.stem for p in RAPP.glob("*.yaml")} == {*TABLE, "base", "cnn"}


@pytest.mark.parametrize("name", TABLE)
def test_a_config_of_the_table_changes_its_optimizer_and_nothing_else(name):
    cost, optimizer, *loops = TABLE[name]
    config, base = load(RAPP / f"{name}.yaml"), load(RAPP / "base.yaml")
    outer, found = config.outer, []
    while outer is not None:
        found.insert(0, outer.name)
        outer = getattr(outer, "base", None)
    assert found == loops
    for player in (config.game.generator, config.game.discriminator):
        assert player.optimizer.name == optimizer
    same = base.run.model_copy(update={"name": config.run.name})
    assert config.run == same and config.run.name.startswith("rapp"), "an equal budget of gradients"
    assert config.data == base.data and config.game.loss == base.game.loss
    assert config.game.generator.model == base.game.generator.model
    assert config.game.discriminator.model == base.game.discriminator.model
    assert abs(config.evaluate.every * cost - 2500) <= 1
    assert config.evaluate.model_copy(update={"every": 2500}) == base.evaluate


def test_the_settings_for_extra_adam_are_the_published_ones():
    folder = CONFIGS / "extra_adam"
    stems = {f"{setting}_{method}" for setting, methods in EXTRA_ADAM.items() for method in methods}
    assert {p.stem for p in folder.glob("*.yaml")} == {*stems, "base"}
    for setting, methods in EXTRA_ADAM.items():
        for method, (generator, discriminator, decay) in methods.items():
            config = load(folder / f"{setting}_{method}.yaml")
            players = config.game.generator, config.game.discriminator
            assert tuple(p.optimizer.lr for p in players) == (generator, discriminator)
            assert all(p.optimizer.betas == (0.5, 0.9) for p in players)
            assert {p.optimizer.name for p in players} == {"optimistic_adam" if method == "optimistic_adam" else "adam"}
            assert (config.outer.name, config.outer.order) == LOOPS[method]
            assert getattr(config.outer, "critic_steps", 1) == (5 if method == "adam_5" else 1)
            assert [average.decay for average in config.averages] == [decay, None] and config.averages[1].uniform
            assert {p.model.width for p in players} == {128 if setting.startswith("resnet") else 64}
            assert [p.weight for p in config.game.penalties] == ([10] if setting.endswith("gp") else [])
            assert (players[1].constraint is None) == setting.endswith("gp")
            assert getattr(players[1].model, "batch_norm", False) == (setting == "dcgan_wgan")
            assert config.game.generator.model.latent_dim == 128
            assert (config.run.steps, config.data.batch_size, config.game.loss.name) == (500_000, 64, "wasserstein")


def test_the_discriminator_of_lookahead_minmax_takes_the_published_number_of_steps():
    for path in sorted((CONFIGS / "lookahead_minimax").glob("*.yaml")):
        loop = load(path).outer
        while hasattr(loop, "base"):
            loop = loop.base
        assert loop.critic_steps == (1 if path.stem.startswith("mnist") else 5), path


def test_the_runs_of_all_configs_have_folders_of_their_own():
    names = [load(path).run.name for path in FILES]
    assert len(set(names)) == len(names)


def test_each_runs_on_the_archive_with_nothing_else_changed():
    assert {p.stem for p in (RAPP / "files").glob("[!_]*.yaml")} == {*TABLE}
    for name in TABLE:
        published, files = load(RAPP / f"{name}.yaml"), load(RAPP / "files" / f"{name}.yaml")
        assert files.run == published.run.model_copy(update={"name": f"{published.run.name}_files"})
        assert files.game == published.game and files.outer == published.outer
        assert files.data.part.name == files.evaluate.data.name == "image_archive"
        assert files.data.part.validation == published.data.part.validation and files.evaluate.data.validation == 0
        assert files.data.batch_size == published.data.batch_size
        assert files.evaluate.every == published.evaluate.every


def _slow(path):
    return path.stem in SLOW or (path.parent.name in ("extra_adam", "lookahead_minimax") and path.stem not in KEPT)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * _slow(p)) for p in FILES],
    ids=lambda p: f"{p.parent.name}/{p.stem}",
)
def test_a_config_takes_two_steps(path, tmp_path):
    """On digits of 32 pixels, with the narrowest networks that it can have."""
    config = load(path)
    width = 8 if config.game.generator.model.name == "r3gan" else 2
    changes = [
        f"run.folder={tmp_path}", "run.device=cpu", "run.steps=2", "data={name: digits, size: 32, batch_size: 4}",
        f"game.generator.model.width={width}", f"game.discriminator.model.width={width}", "evaluate=null",
        "samples.count=2", *(["outer.inner_steps=2"] if config.outer.name == "lookahead" else []),
        *(["outer.base.inner_steps=1"] if path.stem == "nla_alt_gan" else []),
    ]  # fmt: skip
    (row,) = rows(train(load(path, changes)))
    assert row["step"] == 2 and all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    if path.stem in TABLE:
        assert row["gradients/generator"] == row["gradients/discriminator"] == 2 * TABLE[path.stem][0]
    if config.outer.name == "lookahead":
        assert row["outer_steps"] == 1
