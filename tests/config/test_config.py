"""Configs: what they mean, what is refused and in which words, and that they survive being written down."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from gantrain.config.base import lines
from gantrain.config.loading import dump, load, load_map, load_solve, resolved
from gantrain.config.schema import Config
from gantrain.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
SOLVE = sorted((CONFIGS / "toy").glob("*.yaml"))
MAPS = sorted((CONFIGS / "theory").glob("*.yaml"))
SWEEPS = sorted(CONFIGS.glob("**/sweep_*.yaml"))
TRAIN = sorted(set(CONFIGS.glob("**/[!_]*.yaml")).difference(SOLVE, MAPS, SWEEPS))

MINIMAL = """
run: {name: a, steps: 3}
data: digits
game:
  name: gan
  loss: hinge
  generator: {model: conv, optimizer: adam}
  discriminator: {model: conv, optimizer: adam}
"""
TOY = "name: a\ngame: bilinear\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory; reading a config must leave it empty."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []


@pytest.fixture
def write(tmp_path):
    def write(text, name="c.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def refused(path, *overrides, loader=load):
    with pytest.raises(UserError) as error:
        loader(path, overrides)
    return str(error.value).replace(f"{path.parent}/", "").splitlines()


@pytest.mark.parametrize("path", TRAIN, ids=lambda p: p.stem)
def test_the_configs_that_are_shipped_load_and_survive_being_written_down(path, write):
    config = load(path)
    assert resolved(load(write(dump(config)))) == resolved(config)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_a_sweep_file_is_no_config(path):
    for loader in (load, load_solve, load_map):
        with pytest.raises(
            UserError, match=f"{path}: is a sweep file; name it in gantrain sweep, as in gantrain sweep /"
        ):
            loader(path)


@pytest.mark.parametrize("path", SOLVE, ids=lambda p: p.stem)
def test_so_do_the_toy_games(path, write):
    config = load_solve(path)
    assert resolved(load_solve(write(dump(config)))) == resolved(config)


@pytest.mark.parametrize("path", MAPS, ids=lambda p: p.stem)
def test_and_the_maps(path, write):
    config = load_map(path)
    assert resolved(load_map(write(dump(config)))) == resolved(config)


def test_every_kind_of_part_survives_being_written_down(write):
    config = load(
        write(MINIMAL),
        [
            "data={name: gaussian_ring, modes: 5, batch_size: 12}",
            "game.penalties=[r1, {name: wgan_gp, weight: 3}]",
            "game.generator.scheduler={name: sequentiallr, schedulers: [linearlr, constantlr], milestones: [3]}",
            "game.generator.sharpness={name: sampa, rho: 1e-2, climb: tanh}",
            "game.discriminator.constraint={name: box, low: -1}",
            "game.generator.model={target: torch.nn:DataParallel, dim: 3, output_device: null}",
            "outer={name: lookahead, base: {name: lookahead, base: {name: rapp, samples: same}}}",
            "ema={}",
            "run.kimg=1e3",
        ],
    )
    again = load(write(dump(config)))
    assert resolved(again) == resolved(config) and dump(again) == dump(config)
    assert again.outer.base.base.samples == "same" and again.run.kimg == 1000.0


def test_defaults_are_filled_in(write):
    config = resolved(load(write(MINIMAL)))
    assert config["run"]["seed"] == 0 and config["run"]["folder"] == str(Path("checkpoints").absolute())
    assert config["data"]["name"] == "digits" and config["data"]["batch_size"] == 64 and config["data"]["size"] == 8
    assert config["outer"] == {"name": "gda", "order": "alternating", "samples": None, "critic_steps": 1}
    assert config["game"]["generator"]["optimizer"]["lr"] == 1e-3
    assert config["ema"] is None and config["game"]["penalties"] == []


def test_numbers_become_what_the_constructor_wants(write):
    overrides = ["run.steps=1e3", "game.generator.optimizer={name: adam, lr: 1e-3, betas: [0, 0.9]}", "run.kimg=5"]
    config = load(write(MINIMAL), overrides)
    assert (config.run.steps, type(config.run.steps)) == (1000, int)
    assert (config.run.kimg, type(config.run.kimg)) == (5.0, float)
    optimizer = config.game.generator.optimizer
    assert optimizer.lr == 1e-3 and [*map(repr, optimizer.betas)] == ["0.0", "0.9"]


def test_a_config_cannot_be_changed(write):
    config = load(write(MINIMAL))
    with pytest.raises(Exception, match="frozen"):
        config.run.seed = 3


def test_a_base_is_inherited_from_and_its_parts_are_replaced_whole(write):
    write(MINIMAL + "outer: {name: rapp, inner_steps: 7}\n", "base.yaml")
    config = load(write("base: base.yaml\nrun: {seed: 5}\nouter: {name: lookahead}\ngame: {loss: minimax}\n"))
    assert (config.run.name, config.run.seed, config.game.loss.name) == ("a", 5, "minimax")
    assert (config.outer.name, config.outer.inner_steps) == ("lookahead", 5)


def test_an_interval_and_a_kind_of_average_take_the_place_of_those_of_a_base(write):
    write(MINIMAL + "log: {every: {kimg: 2}}\nema: {half_life_kimg: 3, ramp: 0.05}\n", "base.yaml")
    path = write("base: base.yaml\nlog: {every: {gradients: 1e2}}\nema: {uniform: true, start: {kimg: 1}}\n")
    config = load(path)
    assert config.log.every == {"gradients": 100} and config.ema.uniform and config.ema.half_life_kimg is None
    again = load(path, ["log.every=7", "ema.decay=0.5"])
    assert (again.log.every, again.ema.decay, again.ema.uniform, again.ema.start) == (7, 0.5, False, None)
    assert load(path, ["ema={}"]).ema.uniform and load(path, ["ema=null"]).averages == ()


WRONG = {
    "run.stpes=3": "run.stpes: unknown key; expected one of name, seed, steps, .*; did you mean 'steps'?",
    "ruin=3": "ruin: unknown key; expected one of run, data, game, .*; did you mean 'run'?",
    "game.generator.model.widht=3": "game.generator.model.widht: unknown key; .*; did you mean 'width'?",
    "data.batchsize=3": "data.batchsize: unknown key; expected .*, batch_size, .*; did you mean 'batch_size'?",
    "log.foo=3": "log.foo: unknown key; expected one of every, to, curves, initial_distance",
    "game.loss=hing": "game.loss: unknown loss 'hing'; expected one of minimax, .*; did you mean 'hinge'?",
    "game.generator.optimizer.name=Adm": "game.generator.optimizer.name: unknown optimizer 'Adm'; .* 'adam'?",
    "outer.base.name=rap": "outer.base.name: unknown outer loop 'rap'; expected one of gda, .*; did you mean 'rapp'?",
    "data.name=nist": "data.name: unknown data set 'nist'; expected one of digits, .*; did you mean 'mnist'?",
    "game.penalties=[r9]": "game.penalties.0: unknown penalty 'r9'; expected one of wgan_gp, r1, r2, .*",
    "run.device=gpu": "run.device: expected 'auto', 'cpu' or 'cuda', got 'gpu'; did you mean 'cpu'?",
    "run.steps=true": "run.steps: expected a whole number of at least 1, got true",
    "run.steps=2.5": "run.steps: expected a whole number of at least 1, got 2.5",
    "run.steps='3'": "run.steps: expected a whole number of at least 1, got '3'",
    "run.steps=1_000": "run.steps: expected a whole number of at least 1, got '1_000'",
    "run.steps=0": "run.steps: expected a whole number of at least 1, got 0",
    "run.seed=-1": "run.seed: expected a whole number of at least 0, got -1",
    "game.discriminator.sharpness={name: sam, rho: 1e300}": "game.discriminator.sharpness.rho: expected a number of at "
    "most 3.4e+38 in size, which single precision holds, got 1e+300",
    "run.kimg=.inf": "run.kimg: expected a number above 0, got inf",
    "data.batch_size=-64": "data.batch_size: expected a whole number of at least 1, got -64",
    "game=gann": "game: expected one of gan, .*, got 'gann'; did you mean 'gan'?",
    "game=[gan]": "game: expected a game (one of gan, .*), got ['gan']",
    "game=null": "game: expected a game (one of gan, .*), got null",
    "game.conditional=1": "game.conditional: expected true or false or 'generator', got 1",
    "game.conditional=yes": "game.conditional: expected true or false or 'generator', got 'yes'",
    "ema.decay=1": "ema.decay: expected a number of at least 0 and below 1, got 1",
    "ema.decay=false": "ema.decay: expected a number of at least 0 and below 1, got false",
    "ema={decay: 0.9, uniform: true}": "ema.uniform: decay is given, too; leave one of them out",
    "ema.ramp=0.05": "ema.ramp: goes with half_life_kimg, and this average has decay; leave it out",
    "ema=[{name: a}, {name: a}]": "ema.1.name: an average is called a already; choose another name",
    "ema=[{name: live}]": "ema.0.name: expected a name of at most 50 letters, .*, got 'live'",
    "evaluate={weights: [live, slow]}": "evaluate.weights.1: expected one of live, anchor, got 'slow'",
    "evaluate={weights: [live, live]}": "evaluate.weights.1: is named twice",
    "evaluate={weights: ema}": "evaluate.weights: ema was asked for, and the run keeps no average; add ema: {.*}",
    "samples.weights=slow": "samples.weights: expected one of live, anchor, got 'slow'",
    "log.every={kimg: 0}": "log.every: expected a number of training steps, {kimg: N} or {gradients: N}, got a mapping "
    "in which kimg is 0, and must be a number above 0",
    "log.every={img: 1}": "log.every: expected .*, got a mapping with the key 'img'",
    "log.every={kimg: 1, gradients: 1}": "log.every: expected .*, got a mapping with 2 keys; name one",
    "game.generator.optimizer.lr=fast": "game.generator.optimizer.lr: expected a number, got 'fast'",
    "game.generator.optimizer.lr=null": "game.generator.optimizer.lr: expected a number, got null",
    "game.generator.optimizer.betas=0.5": "game.generator.optimizer.betas: expected a list, got 0.5",
    "game.generator.optimizer.betas=[0.5]": "game.generator.optimizer.betas.1: is missing",
    "game.generator.optimizer.betas=[a, 0.5]": "game.generator.optimizer.betas.0: expected a number, got 'a'",
    "game.generator.scheduler=steplr": "game.generator.scheduler.step_size: is missing (.*)",
    "game.penalties=r1": "game.penalties: expected a list, got 'r1'",
    "game.penalties={name: r1}": "game.penalties: expected a list, got a mapping",
    "game.generator=conv": "game.generator: expected a mapping with the keys model, optimizer, .*, got 'conv'",
    "run=null": "run: expected a mapping with the keys name, .*, got null",
    "outer=null": "outer: expected an outer loop (one of gda, .*), got null",
    "data={name: null}": "data.name: unknown data set null; expected one of digits, gaussian_ring, .*",
    "game.penalties=[{weight: 3}]": "game.penalties.0: expected a penalty (.*) by its name, or one of your own .*",
    "run.name=a/b": "run.name: expected the name of a folder (.*), got 'a/b'",
    "run.name=..": "run.name: expected the name of a folder (.*), got '..'",
    "run.name=3": 'run.name: expected the name of a folder (.*), got 3; quote it: "3", and in a shell \'"3"\'',
    "run.folder=''": "run.folder: expected the path of a folder, got ''",
    "outer.target=nowhere.at_all:X": "outer.target: cannot import 'nowhere.at_all' (.*No module named 'nowhere'); .*",
    "outer.target=yaml:SafeLoadr": "outer.target: module 'yaml' has no class 'SafeLoadr'; .* 'SafeLoader'?",
    "outer.target=yaml:SafeLoader": "outer.target: yaml:SafeLoader is no outer loop; expected a subclass of .*",
    "game.loss={target: json}": "game.loss.target: expected package.module:Class, got 'json'",
    "run.steps=": "run: says nowhere when to stop; expected at least one of steps, gradients, kimg",
    "run.processes=5": "data.batch_size: expected a multiple of run.processes = 5, .*, got 64",
    "data.accumulation=5": "data.batch_size: expected a multiple of data.accumulation = 5, .*, got 64",
}


@pytest.mark.parametrize(("override", "message"), WRONG.items(), ids=list(WRONG))
def test_what_is_wrong_is_one_line_with_the_key(write, override, message):
    path = write(MINIMAL + "outer: {name: lookahead, base: {name: rapp}}\n")
    (line,) = refused(path, override)
    key = override.partition("=")[0]
    pattern = re.escape(message).replace(r"\.\*", ".*")
    where = "command line" if message.startswith(key) else "c.yaml"
    assert re.fullmatch(f"{where}: {pattern}", line)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["c.yaml: is empty; expected a mapping with the keys run, data, game, .*"]),
        ("# nothing\n", ["c.yaml: is empty; .*"]),
        ("- a\n", ["c.yaml: expected a mapping of keys to values, got .*"]),
        ("run: {name: a\n", ["c.yaml:2:1: .*expected ',' or '}'.*"]),
        (MINIMAL.replace("data: digits", ""), [r"c.yaml: data: is missing \(The data set and the batch size\)"]),
        (MINIMAL.replace("name: a, ", ""), ["c.yaml: run.name: is missing .*"]),
        (
            MINIMAL.replace("{model: conv, optimizer: adam}", "{model: conv}", 1),
            [".*generator.optimizer: is missing .*"],
        ),
        (
            MINIMAL.replace("name: gan", "name: gna"),
            ["c.yaml: game.name: expected one of gan, classification, .*, got 'gna'; did you mean 'gan'.*"],
        ),
        (MINIMAL + "ema: {decay: 2, dacay: 1}\n", ["c.yaml: ema.decay: .*", "c.yaml: ema.dacay: unknown key; .*"]),
    ],
)
def test_files_that_are_wrong(write, text, messages):
    lines = refused(write(text))
    assert len(lines) == len(messages)
    assert all(re.fullmatch(message, line) for message, line in zip(messages, lines, strict=True))


def test_a_mistake_in_a_base_is_said_to_be_there(write):
    write(MINIMAL + "log: {evry: 3}\n", "base.yaml")
    assert refused(write("base: base.yaml\nlog: {every: 0}\n")) == [
        "c.yaml: log.every: expected a whole number of at least 1, got 0",
        "base.yaml: log.evry: unknown key; expected one of every, to, curves, initial_distance; did you mean 'every'?",
    ]


def test_a_key_that_went_with_the_part_that_had_it_is_missing_for_this_reason(write):
    """Each line names where the other part was chosen; a part that no other replaced only lacks the key."""
    dropped = "is missing.*; game: {} took the place of gan, whose keys were dropped; give the keys that {} needs"
    write(MINIMAL, "base.yaml")
    for override in ("game.name=domain_adversarial", "game={name: domain_adversarial}"):
        found = refused(write("base: base.yaml"), override)
        assert any(line.startswith("command line: game.classifier: is missing") for line in found)
        assert all(re.fullmatch(f".*{dropped.format(*['domain_adversarial'] * 2)}", line) for line in found)
    write("base: base.yaml\ngame: {target: 'gantrain.games:GAN'}\n", "middle.yaml")
    found = refused(write("base: middle.yaml\nrun: {name: b}\n"))
    keys = ("generator", "discriminator", "loss")
    assert [line.partition(" is missing")[0] for line in found] == [f"middle.yaml: game.{key}:" for key in keys]
    assert all(re.fullmatch(f".*{dropped.format(*['gantrain.games:GAN'] * 2)}", line) for line in found)
    (line,) = refused(write(MINIMAL.replace("optimizer: adam", "", 1)), "outer.name=rapp")
    assert re.fullmatch(r"c.yaml: game.generator.optimizer: is missing \([^;]*\)", line)


@pytest.mark.parametrize("change", ["data.size=0", "data.crop_ratio=[0, 1]", "data.label_nois=0.1"])
def test_what_is_wrong_with_the_training_data_is_not_told_again_of_those_of_the_evaluation(change):
    changes = ["data={name: image_folder, path: ., size: 16}", "evaluate.data={split: validation}", change]
    with pytest.raises(UserError, match=f"^command line: {change.partition('=')[0]}[^\n]*$"):
        load(CONFIGS / "sampa" / "digits.yaml", changes)


def test_a_missing_file(tmp_path):
    assert refused(tmp_path / "no.yaml") == [f"no.yaml: there is nothing at no.yaml in {tmp_path}"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("game=bilinaer", "command line: game: unknown toy game 'bilinaer'; .*; did you mean 'bilinear'.*"),
        ("game.rho=3", "command line: game.rho: unknown key; expected one of name, coupling, centre, start"),
        ("game.start=[1]", "command line: game.start.1: is missing"),
        ("optimizer={x: {name: sgd, lr: a}}", "command line: optimizer.x.lr: expected a number, got 'a'"),
        ("optimizer={x: 3}", r"command line: optimizer.x: expected an optimizer \(.*\), got 3"),
        ("order=random", "command line: order: expected 'simultaneous' or 'alternating', got 'random'"),
        ("steps=-1", "command line: steps: expected a whole number of at least 1, got -1"),
        ("start={x: [1]}", "command line: start: unknown key; .*"),
        ("name=../a", "command line: name: expected the name of a folder (.*), got '../a'"),
    ],
)
def test_what_is_wrong_in_a_toy_games_config(write, override, message):
    (line,) = refused(write(TOY), override, loader=load_solve)
    assert re.fullmatch(message, line)


def test_parts_of_a_toy_game_are_for_all_players_or_for_each(write):
    both = load_solve(write(TOY), ["optimizer={name: adam, lr: 1}"])
    assert both.optimizer.name == "adam"
    overrides = ["optimizer={x: sgd, y: {name: adam, lr: 1}}", "constraint={joint: l2_ball, x: null}"]
    each = load_solve(write(TOY), overrides)
    assert [each.optimizer[p].name for p in "xy"] == ["sgd", "adam"]
    assert each.constraint["joint"].name == "l2_ball" and each.constraint["x"] is None
    assert resolved(load_solve(write(dump(each)))) == resolved(each)


@pytest.mark.parametrize(
    "name",
    ["a\nb", "a\tb", "\x1b[31ma", ".statistics", " a", "a ", "~", "~a", "$HOME", "x" * 201, "ä" * 101, "a\u202eb", ""],
)
def test_names_that_no_folder_should_have(write, name):
    (line,) = refused(write(MINIMAL.replace("name: a,", f"name: {json.dumps(name)},")))
    assert re.fullmatch(r"c.yaml: run.name: expected the name of a folder \(.*\), got .*", line)


@pytest.mark.parametrize("value", ["2024", "1e3", "true", "0x10"])
def test_a_name_that_yaml_does_not_take_for_text_is_to_be_quoted(write, value):
    (line,) = refused(write(MINIMAL), f"run.name={value}")
    (quoted,) = re.findall(r"in a shell '(.*)'$", line)
    assert load(write(MINIMAL), [f"run.name={quoted}"]).run.name == quoted.strip('"')


def test_paths_are_expanded_and_never_folders_called_like_variables(write, monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    monkeypatch.setenv("DATA", "/data")
    monkeypatch.delenv("NOWHERE", raising=False)
    path = write(MINIMAL)
    for written, expanded in {
        "~/runs": "/somebody/runs",
        "$DATA/a": "/data/a",
        "${DATA}b": "/datab",
        "./~": "./~",
    }.items():
        assert load(path, [f"run.folder={written}"]).run.folder == expanded
        for key in ("path", "root"):
            name = {"path": "image_folder", "root": "cifar10"}[key]
            found = getattr(load(path, [f"data.name={name}", f"data.{key}={written}"]).data.part, key)
            assert found == str(Path(expanded).absolute())
        assert load(path, [f"evaluate.features={written}"]).evaluate.features == str(Path(expanded).absolute())
        assert load_solve(write(TOY, "toy.yaml"), [f"folder={written}"]).folder == expanded
    for written, why in {
        "$NOWHERE/a": r"got '\$NOWHERE/a'; \$NOWHERE is not set",
        "${NOWHERE}": r"got '\${NOWHERE}'; \$NOWHERE is not set",
        "'a/${HOME'": r"got 'a/\${HOME'; \${ needs the name of a variable and a closing brace, as in \${HOME}",
        "'${}/a'": r"got '\${}/a'; \${ needs the name of a variable .*",
        "~nobody_of_this_name/a": ".*; there is no user nobody_of_this_name; .*",
        "~": 'got null; in YAML ~ alone is null, so quote it: "~", or write \\$HOME',
        '"a\\nb"': r"got 'a\\nb'",
    }.items():
        (line,) = refused(path, f"run.folder={written}")
        assert re.fullmatch(f"command line: run.folder: expected the path of a folder, {why}", line)


@pytest.mark.parametrize(
    "key", ["data.batch_size", "run.steps", "game.generator.model.width", "samples.count", "run.seed"]
)
@pytest.mark.parametrize("value", ["1e20", "9223372036854775808", "1" + "0" * 300])
def test_whole_numbers_are_those_that_a_machine_can_hold(write, key, value):
    (line,) = refused(write(MINIMAL), f"{key}={value}")
    assert re.fullmatch(rf"command line: {key}: expected a whole number .*, got .*; whole numbers go up to \d+", line)


@pytest.mark.parametrize("override", ["run.threads=100000", "run.processes=1e6", "samples.count=1e6"])
def test_numbers_that_would_overwhelm_the_machine_are_refused(write, override):
    (line,) = refused(write(MINIMAL), override)
    assert re.search("expected a whole number of at least 1 and at most", line)


ODD = [
    None,
    [],
    [1],
    {},
    {"a": 1},
    "",
    "x" * 500,
    1e20,
    -1,
    True,
    math.nan,
    "\n",
    {"name": [1]},
    {"name": {}},
    {"target": [1]},
]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_an_odd_value_anywhere_is_an_error_in_lines_or_none(write, value):
    content = resolved(load(write(MINIMAL + "outer: {name: lookahead, base: rapp}\nevaluate: {}\n")))

    def places(inside, above=()):
        yield above
        for key in inside if isinstance(inside, dict) else []:
            yield from places(inside[key], (*above, key))

    for place in places(content):
        changed = copy.deepcopy(content)
        inside = {"": changed}
        for key in ("", *place[:-1]):
            inside = inside[key]
        if place:
            inside[place[-1]] = value
        try:
            Config.model_validate(changed if place else value)
        except ValidationError as error:
            for key, message in lines(error, changed if place else value):
                assert f"{key}: {message}".isprintable() and len(message) < 600


def test_of_very_many_mistakes_the_first_are_shown(write):
    text = MINIMAL + "".join(f"k{i}: 1\n" for i in range(5000))
    found = refused(write(text))
    assert len(found) == 21 and found[-1].endswith("and 4980 more problems")
