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
FILES = sorted((*RAPP.glob("*.yaml"), *(CONFIGS / "gan").glob("*.yaml")))

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
# Those of which the default trials train another with the same loop or the same optimizer.
SLOW = ("gda", "eg", "eg_plus", "la_eg", "la_eg_plus", "extra_adam", "la_adam", "la_extra_adam")


def test_there_is_a_config_for_each_optimizer_of_the_table():
    assert {p.stem for p in RAPP.glob("*.yaml")} == {*TABLE, "base"}


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


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem in SLOW)) for p in FILES],
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
    ]  # fmt: skip
    (row,) = rows(train(load(path, changes)))
    assert row["step"] == 2 and all(math.isfinite(value) for value in row.values() if isinstance(value, float))
    if path.stem in TABLE:
        assert row["gradients/generator"] == row["gradients/discriminator"] == 2 * TABLE[path.stem][0]
    if config.outer.name == "lookahead":
        assert row["outer_steps"] == 1
