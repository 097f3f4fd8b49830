"""What TensorBoard says about a run: the command, the changes of its config, the hyper-parameters."""

from __future__ import annotations

import pytest
import yaml
from tiny import DIGITS, RING, config_of

from gantrain.config.chosen import chosen
from gantrain.config.loading import resolved, sources
from gantrain.runs.about import About, Source
from gantrain.runs.hyper_parameters import hyper_parameters
from gantrain.runs.tags import tag


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fid", "quality/fid"),
        ("frechet_distance[digits-classifier][ema]", "quality/frechet_distance[digits-classifier][ema]"),
        ("validation/accuracy[pgd]", "quality/validation/accuracy[pgd]"),
        ("loss/generator", "loss/generator"),
        ("score/real", "score/real"),
        ("gradient_norm/joint", "gradient_norm/joint"),
        ("game/distance[ema]", "game/distance[ema]"),
        ("time", "cost/time"),
        ("images_per_second", "cost/images_per_second"),
        ("gradients/generator", "cost/gradients/generator"),
        ("lr/generator", "schedule/lr/generator"),
        ("schedule/game.penalties.0.weight", "schedule/game.penalties.0.weight"),
        ("advice/r", "health/advice/r"),
        ("diagnose/hessian/generator/largest", "health/diagnose/hessian/generator/largest"),
        ("ada/p", "health/ada/p"),
        ("mine/norm", "mine/norm"),
    ],
)
def test_a_tag_is_a_group_and_the_name_of_the_scalar(name, expected):
    assert tag(name) == expected


def source_of(folder, base, *overrides, command="gantrain train"):
    (folder / "config.yaml").write_text(yaml.safe_dump(base))
    return Source(command, *sources(folder / "config.yaml", overrides))


def test_the_changes_are_those_of_the_command_line_and_of_the_file_over_its_base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = source_of(
        tmp_path, RING | {"outer": "extragradient"}, "outer.name=rapp", "outer.relaxation=0.5", "ema=null"
    )
    found = {change.key: (change.before, change.after) for change in source.changes}
    assert source.base == "config.yaml"
    assert found == {
        "outer.name": ("extragradient", "rapp"),
        "outer.relaxation": ("", "0.5"),
        "ema.decay": ("0.9", ""),
        "ema": ("", "none"),
    }
    (tmp_path / "mine.yaml").write_text("base: config.yaml\nrun: {seed: 3}\n")
    source = Source("", *sources("mine.yaml", ["run.name=other"]))
    assert source.base == "config.yaml"
    assert [(c.key, c.before, c.after) for c in source.changes] == [
        ("run.name", "ring", "other"),
        ("run.seed", "", "3"),
    ]
    assert Source("", *sources("configs/quickstart.yaml")).base == "configs/quickstart.yaml"


def test_the_text_has_the_command_the_changes_and_the_whole_config(tmp_path):
    command = "gantrain train config.yaml 'game.loss=hinge' run.name='a|b'"
    source = source_of(tmp_path, RING, "game.loss=hinge", "run.name=a|b", command=command)
    config = config_of(RING, tmp_path, "game.loss=hinge", "run.name=a|b")
    text = About.config(config, source).markdown(resolved(config))
    assert command in text
    assert "| `game.loss` | `non_saturating` | `hinge` |" in text and "`a\\|b`" in text
    assert yaml.safe_load(text.partition("```yaml")[2].removesuffix("```")) == resolved(config)
    unchanged = About.config(config, source_of(tmp_path, RING)).markdown({})
    assert "This run has the settings of" in unchanged
    assert About().markdown({"a": 1}).startswith("**Config**")


def test_runs_that_differ_anywhere_differ_in_a_column_that_all_of_them_have(tmp_path):
    """TensorBoard takes the columns of the table from one run."""
    changes = [
        ("outer={name: rapp, inner_steps: 4}",),
        ("outer={name: lookahead, base: {name: extragradient, order: alternating}}",),
        ("game.generator.model.width=8",),
        ("game.discriminator.sharpness={name: sampa, rho: 0.1}",),
        ("game.generator.scheduler={name: exponentiallr, gamma: 0.5}",),
        ("game.generator.clip=1.0",),
        ("game.penalties=[r1, {name: r2, weight: 3.0}]",),
        ("game.augmentations=[flip]",),
        ("game.conditional=true",),
        ("game.loss=hinge",),
        ("game.generator.optimizer.weight_decay=0.1",),
        ("ema=null",),
        ("data.batch_size=16",),
        ("data.shift=1",),
        ("run.seed=3",),
        ("run.precision=bf16",),
    ]
    tables = []
    for overrides in [(), *changes]:
        config = config_of(DIGITS, tmp_path, *overrides)
        tables.append(hyper_parameters(resolved(config), chosen(config)))
    everywhere = set.intersection(*map(set, tables))
    rows = [tuple(sorted((key, str(table[key])) for key in everywhere)) for table in tables]
    assert len(set(rows)) == len(rows)
    assert len(tables[0]) < 40
    assert tables[1]["outer"] == "rapp (inner_steps 4)" and tables[1]["outer.inner_steps"] == 4
    assert tables[2]["outer"] == "lookahead (base extragradient (order alternating))"
    assert tables[5]["game.generator"] == "scheduler exponentiallr (gamma 0.5)"
    assert tables[0]["game.generator.sharpness"] == "none" and tables[0]["game.generator"] == "default"


def test_the_column_of_changes_is_short_and_names_what_changes_the_training(tmp_path):
    overrides = ("run.name=other", "log.every=7", "game.generator.optimizer.lr=0.1", "outer.name=rapp", "ema.decay=0.5")
    about = About.config(config_of(RING, tmp_path, *overrides), source_of(tmp_path, RING, *overrides))
    assert about.hyper_parameters["changes"] == "decay=0.5 lr=0.1 outer=rapp"
    base = RING | {"outer": {"name": "gda", "order": "alternating"}}
    source = source_of(tmp_path, base, "outer.name=rapp", "ema=null")
    assert About.config(config_of(base, tmp_path), source).hyper_parameters["changes"] == "outer=rapp ema=none"
    both = ("game.generator.optimizer.lr=0.1", "game.discriminator.optimizer.lr=0.2")
    about = About.config(config_of(RING, tmp_path, *both), source_of(tmp_path, RING, *both))
    assert about.hyper_parameters["changes"] == "discriminator.optimizer.lr=0.2 generator.optimizer.lr=0.1"
    assert About.config(config_of(RING, tmp_path)).hyper_parameters["changes"] == "none"
