"""Inheritance and overrides: which keys win, which go, and what is refused."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from gantrain.config.merge import Setting, merge, merge_files, origin, parse_overrides, read_files
from gantrain.errors import UserError

OLD = {
    "run": {"name": "a", "steps": 3},
    "data": {"name": "digits", "size": 8, "batch_size": 4},
    "outer": {"name": "rapp", "inner_steps": 5, "relaxation": 0.5},
    "game": {"penalties": [{"name": "r1", "weight": 1.0}, "r2"], "optimizer": {"name": "adam", "betas": [0, 0.9]}},
}


def overridden(*overrides):
    return merge(OLD, parse_overrides(overrides)[0])


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["run.name=b"], "run", {"name": "b", "steps": 3}),
        (["run.steps=1e-3"], "run", {"name": "a", "steps": 1e-3}),
        (["run.steps="], "run", {"name": "a", "steps": None}),
        (["run.name=a=b"], "run", {"name": "a=b", "steps": 3}),
        (["outer.inner_steps=7"], "outer", {"name": "rapp", "inner_steps": 7, "relaxation": 0.5}),
        (["outer.name=rapp"], "outer", OLD["outer"]),
        (["outer.name=lookahead"], "outer", {"name": "lookahead"}),
        (["outer.target=my:Own"], "outer", {"target": "my:Own"}),
        (["outer=gda"], "outer", "gda"),
        (["outer=null"], "outer", None),
        (["outer={name: lookahead, base: gda}"], "outer", {"name": "lookahead", "base": "gda"}),
        (["outer.name=lookahead", "outer.inner_steps=2"], "outer", {"name": "lookahead", "inner_steps": 2}),
        (["outer.inner_steps=2", "outer.name=lookahead"], "outer", {"inner_steps": 2, "name": "lookahead"}),
        (
            ["outer=lookahead", "outer.base=rapp", "outer.base.inner_steps=2"],
            "outer",
            {"name": "lookahead", "base": {"name": "rapp", "inner_steps": 2}},
        ),
        (["data.name=gaussian_ring"], "data", {"name": "gaussian_ring", "batch_size": 4}),
        (["ema.decay=0.9"], "ema", {"decay": 0.9}),
        (["sharpness.x.rho=1"], "sharpness", {"x": {"rho": 1}}),
        (["ema.decay=0.9", "ema.name=fast"], "ema", {"decay": 0.9, "name": "fast"}),
        (["ema.ramp=0.1", "ema.half_life_kimg=2"], "ema", {"half_life_kimg": 2, "ramp": 0.1}),
        (["ema.start=9", "ema.uniform=true"], "ema", {"start": 9, "uniform": True}),
    ],
)
def test_overrides_of_sections(overrides, key, value):
    assert overridden(*overrides)[key] == value


@pytest.mark.parametrize(
    ("layers", "key", "value"),
    [
        (["outer.name=gda", "outer.critic_steps=2", "outer.name=lookahead"], "outer", {"name": "lookahead"}),
        (["outer.relaxation=1", "outer.relaxation=2"], "outer", OLD["outer"] | {"relaxation": 2}),
        (["ema=null", "ema.decay=0.9"], "ema", {"decay": 0.9}),
        (["ema.decay=0.9", "ema=null"], "ema", None),
        (["ema=[{name: a, decay: 0.9}]", "ema.0.name=b"], "ema", [{"name": "b", "decay": 0.9}]),
        (["ema.half_life_kimg=1", "ema.ramp=0.1", "ema.half_life_kimg=2"], "ema", {"half_life_kimg": 2, "ramp": 0.1}),
        (["ema.half_life_kimg=1", "ema.ramp=0.1", "ema.uniform=true"], "ema", {"uniform": True}),
        (
            ["log.to=[{name: mlflow, tags: {name: a, of: b}}]", "log.to.0.tags.name=c"],
            "log",
            {"to": [{"name": "mlflow", "tags": {"name": "c", "of": "b"}}]},
        ),
    ],
)
def test_what_files_say_of_a_section_over_one_another(layers, key, value):
    assert functools.reduce(merge, (parse_overrides([layer])[0] for layer in layers), OLD)[key] == value


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run.seed=0", "run.name=b", "run.seed=1"], "run.seed: is given twice; leave one out"),
        (["run.seed=0", "run.seed=0"], "run.seed: is given twice; leave one out"),
        (["ema={}", "ema={}"], "ema: is given twice; leave one out"),
        (["run.seed=0", "run={seed: 1}"], "run: undoes what run.seed says before it; leave one of the two out"),
        (["run={seed: 1}", "run.seed=0"], "run.seed: undoes what run says before it; leave one of the two out"),
        (["outer.order=alternating", "outer=gda"], "outer: undoes what outer.order says before it; write outer first"),
        (["outer=rapp", "outer.name=gda"], "outer.name: undoes what outer says before it; leave one of the two out"),
        (["outer.name=rapp", "outer.target=my:Own"], "outer.target: undoes what outer.name says before it; .*"),
        (["ema=null", "run.seed=1", "ema.decay=0.9"], "ema.decay: undoes what ema says before it; .*"),
        (["ema.decay=0.9", "ema=null"], "ema: undoes what ema.decay says before it; leave one of the two out"),
        (["ema.decay=0.9", "ema.uniform=true"], "ema.uniform: undoes what ema.decay says before it; .*"),
        (["x=[1, 2]", "x.0=3"], "x.0: undoes what x says before it; leave one of the two out"),
        (["log.every={kimg: 1}", "log.every.steps=2"], "log.every.steps: undoes what log.every says before it; .*"),
    ],
)
def test_overrides_that_contradict_one_another_are_refused(overrides, message):
    with pytest.raises(UserError, match=f"^command line: {message}$"):
        parse_overrides(overrides)


def test_overrides_go_over_those_of_another_place():
    of_file = [Setting("outer", {"name": "rapp", "inner_steps": 3}, "file"), Setting("run.seed", 1, "file")]
    assert parse_overrides([*of_file, "outer=gda", "run.seed=2"])[0] == {"outer": "gda", "run": {"seed": 2}}
    with pytest.raises(UserError, match="^file: run.seed: is given twice; leave one out$"):
        parse_overrides([*of_file, "outer=gda", Setting("run.seed", 2, "file")])


@pytest.mark.parametrize(
    ("overrides", "penalties"),
    [
        (["game.penalties=[]"], []),
        (["game.penalties.0.weight=2"], [{"name": "r1", "weight": 2}, "r2"]),
        (["game.penalties.1.weight=2"], [{"name": "r1", "weight": 1.0}, {"name": "r2", "weight": 2}]),
        (["game.penalties.0.name=r2"], [{"name": "r2"}, "r2"]),
        (["game.penalties.0=null", "game.penalties.1=r1"], [None, "r1"]),
        (["game.penalties=[r2]", "game.penalties.0.weight=3"], [{"name": "r2", "weight": 3}]),
    ],
)
def test_overrides_into_lists(overrides, penalties):
    assert overridden(*overrides)["game"]["penalties"] == penalties


def test_numbers_in_lists():
    assert overridden("game.optimizer.betas.0=0.5")["game"]["optimizer"]["betas"] == [0.5, 0.9]


def test_nothing_that_was_given_is_changed():
    before = repr(OLD)
    merged = overridden("game.penalties.0.weight=2", "outer.name=gda", "data.name=x", "ema.decay=1")
    assert repr(OLD) == before and merged["run"] == OLD["run"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.steps", "'run.steps': expected key=value, as in .*"),
        ("=3", "'=3': expected key=value, as in .*"),
        ("run..steps=3", "'run..steps=3': expected key=value, as in .*"),
        ("run.steps.=3", "'run.steps.=3': expected key=value, as in .*"),
        ("run.steps=[1", r"command line: run.steps:1:3: .*expected ',' or '\]'.*"),
        ("run={a: 1, a: 2}", "command line: run:1:8: duplicate key 'a'"),
        ("game.penalties.2.weight=1", "game.penalties.2: there is no such entry; the list has 2"),
    ],
)
def test_overrides_that_are_wrong(override, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        overridden(override)


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ({"name": "sgd", "lr": 1}, {"lr": 2}, {"name": "sgd", "lr": 2}),
        ({"name": "sgd", "lr": 1}, {"x": {"name": "sgd"}, "y": "adam"}, {"x": {"name": "sgd"}, "y": "adam"}),
        ({"x": "sgd", "y": "sgd"}, {"y": {"lr": 3}}, {"x": "sgd", "y": {"name": "sgd", "lr": 3}}),
        ({"x": {"name": "sgd"}, "y": "sgd"}, {"y": "adam"}, {"x": {"name": "sgd"}, "y": "adam"}),
        ({"x": "sgd", "y": "sgd"}, {"name": "adam"}, {"name": "adam"}),
        ("sgd", {"x": {"name": "sgd"}}, {"x": {"name": "sgd"}}),
        (None, {"x": "sgd"}, {"x": "sgd"}),
    ],
)
def test_a_part_for_all_players_and_parts_by_player_replace_one_another(old, new, merged):
    for key in ("optimizer", "sharpness", "constraint"):
        assert merge({key: old}, {key: new}) == {key: merged}


def test_an_argument_called_target_does_not_choose_a_part():
    old = {"penalties": [{"name": "wgan_gp", "weight": 3, "target": 1}]}
    assert merge(old, {"penalties": {"0": {"target": 0}}}) == {"penalties": [old["penalties"][0] | {"target": 0}]}


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "paper").mkdir()
    (tmp_path / "base.yaml").write_text(
        "run: {name: a, steps: 1}\nouter: {name: rapp, inner_steps: 5}\nema: {decay: 1}\n"
    )
    (tmp_path / "paper" / "middle.yaml").write_text(
        "base: ../base.yaml\nrun: {steps: 2}\nouter: {name: gda}\nx: [[1]]\n"
    )
    (tmp_path / "paper" / "top.yaml").write_text("base: middle.yaml\nrun: {seed: 3}\nema: null\n")
    return tmp_path / "paper" / "top.yaml"


def test_a_file_is_merged_over_its_base_and_so_on(chain):
    merged = {"run": {"name": "a", "steps": 2, "seed": 3}, "outer": {"name": "gda"}, "ema": None, "x": [[1]]}
    assert merge_files(read_files(chain)) == merged


def test_each_key_has_the_file_that_said_it_last(chain):
    files = read_files(chain)
    names = {key: origin(files, key).name for key in ("run.seed", "run.steps", "run.name", "ema", "x.0.0", "x.1", "no")}
    assert names == {
        **{"run.seed": "top.yaml", "run.steps": "middle.yaml", "run.name": "base.yaml"},
        **{"ema": "top.yaml", "x.0.0": "middle.yaml", "x.1": "top.yaml", "no": "top.yaml"},
    }


def test_of_several_bases_the_last_goes_over_those_before_it(tmp_path):
    """And each is read with its own bases, also where they share one."""
    for name, text in {
        "base.yaml": "a: 0\nb: 0\nc: 0\nd: 0\n",
        "left.yaml": "base: base.yaml\nb: 1\nc: 1\n",
        "right.yaml": "c: 2\n",
        "top.yaml": "base: [left.yaml, right.yaml]\nd: 3\n",
        "diamond.yaml": "base: [left.yaml, base.yaml]\n",
    }.items():
        (tmp_path / name).write_text(text)
    files = read_files(tmp_path / "top.yaml")
    assert merge_files(files) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert [origin(files, key).stem for key in "abcd"] == ["base", "left", "right", "top"]
    assert merge_files(read_files(tmp_path / "diamond.yaml")) == dict.fromkeys("abcd", 0)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.yaml": "base: [3]"}, "a.yaml: base: expected the path of another config or a list of some, got .3."),
        ({"a.yaml": "base: [b.yaml, a.yaml]", "b.yaml": "c: 1"}, "a.yaml: base: a.yaml inherits from this file, .*"),
        ({"a.yaml": "base: a.yaml"}, "a.yaml: base: a.yaml inherits from this file, .*circle"),
        ({"a.yaml": "base: b.yaml", "b.yaml": "base: ./a.yaml"}, "b.yaml: base: ./a.yaml inherits from this file.*"),
        ({"a.yaml": "base: b.yaml"}, "a.yaml: base: there is nothing at b.yaml in .*"),
        ({"a.yaml": "base: ."}, ".: cannot be read: Is a directory"),
        ({"a.yaml": "base: 3"}, "a.yaml: base: expected the path of another config or a list of some, got 3"),
        ({"a.yaml": "base: b.yaml", "b.yaml": "c: [1"}, r"b.yaml:1:6: .*expected ',' or '\]'.*"),
    ],
)
def test_bases_that_are_wrong(tmp_path, monkeypatch, files, message):
    monkeypatch.chdir(tmp_path)
    for name, text in files.items():
        Path(name).write_text(text)
    with pytest.raises(UserError, match=f"^{message}$"):
        read_files(Path("a.yaml"))


def test_bases_that_multiply_or_never_end_are_refused(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.yaml").write_text(f"base: [{i + 1}.yaml, {i + 1}.yaml]")
    (tmp_path / "40.yaml").write_text("")
    with pytest.raises(UserError, match="base: more than 100 files are inherited from; name fewer$"):
        read_files(tmp_path / "0.yaml")
    for i in range(3000):
        (tmp_path / f"{i}.yaml").write_text(f"base: {i + 1}.yaml")
    with pytest.raises(UserError, match="base: more than 100 files are inherited from; name fewer$"):
        read_files(tmp_path / "0.yaml")


def test_a_base_may_lie_in_the_home_folder_or_under_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", str(tmp_path))
    (tmp_path / "b.yaml").write_text("c: 1")
    for base in ("~/b.yaml", "$WHERE/b.yaml", "${WHERE}/b.yaml"):
        (tmp_path / "a.yaml").write_text(f"base: {base}")
        assert merge_files(read_files(tmp_path / "a.yaml")) == {"c": 1}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([".".join(["a"] * 2000) + "=1"], "command line: 'a.a.*: there is no such key"),
        (["a" * 5000 + "=1"], "command line: 'aaa.*: there is no such key"),
        (["a\nb=1"], r"command line: 'a\\nb': there is no such key"),
        (["a=1"] * 1001, "command line: 1001 arguments key=value; expected at most 1000"),
        (["run.name=a\nb"], "command line: run.name: text with a line break, .*"),
        (["game.penalties." + "9" * 5000 + "=r1"], ".*: there is no such key"),
        (["game.penalties." + "9" * 500 + "=r1"], r"game.penalties.'9+\.\.\.: there is no such entry; the list has 2"),
    ],
)
def test_overrides_without_measure_are_one_line(overrides, message):
    with pytest.raises(UserError, match=f"^{message}$") as error:
        overridden(*overrides)
    assert len(str(error.value)) < 200


def test_another_run_to_begin_with_drops_the_step_of_the_old_one():
    old = {"game": {"generator": {"init": "faces"}, "discriminator": {"init": {"run": "faces", "step": 5}}}}
    new = {"game": {"generator": {"init": {"step": 7}}, "discriminator": {"init": {"run": "cats"}}}}
    assert merge(old, new)["game"] == {
        "generator": {"init": {"run": "faces", "step": 7}},
        "discriminator": {"init": {"run": "cats"}},
    }


def test_the_step_of_a_run_to_begin_with_may_stand_before_it():
    step, run = ("game.generator.init.step=7", "game.generator.init.run=faces")
    expected = {"game": {"generator": {"init": {"run": "faces", "step": 7}}}}
    assert parse_overrides([step, run])[0] == parse_overrides([run, step])[0] == expected
