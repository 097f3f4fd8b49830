"""The JSON schema takes the configs that load, refuses those that do not, and tells an editor what there is."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from gantrain.config import yaml_files
from gantrain.config.loading import json_schema, load, load_map, load_solve, resolved

CONFIGS = Path(__file__).parents[2] / "configs"
LOADERS = {"train": load, "solve": load_solve, "map": load_map}
OTHERS = {"toy": "solve", "theory": "map"}
FILES = sorted(path for path in CONFIGS.glob("**/[!_]*.yaml") if not path.name.startswith("sweep_"))
SHIPPED = {path: OTHERS.get(path.parent.name, "train") for path in FILES}


@pytest.fixture(scope="module")
def validators():
    schemas = {command: json_schema(command) for command in LOADERS}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    return {command: jsonschema.Draft202012Validator(schema) for command, schema in schemas.items()}


def changed(content, key, value):
    first, _, rest = key.partition(".")
    return content | {first: changed(content.get(first, {}), rest, value) if rest else value}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_it_takes_the_configs_that_are_shipped_and_what_they_resolve_to(validators, path):
    command = SHIPPED[path]
    validators[command].validate(yaml_files.read(path))
    validators[command].validate(resolved(LOADERS[command](path)))
    for other in LOADERS.keys() - {command}:
        assert not validators[other].is_valid(yaml_files.read(path))


GOOD = {
    "outer": "rapp",
    "outer.name": "extragradient",
    "data": {"target": "my.own:Data", "batch_size": 3, "anything": 1},
    "game.generator.optimizer": {"name": "adam", "betas": [0, 0.9]},
    "game.generator.optimizer.name": "adamw",
    "game.generator.sharpness": None,
    "game.generator.scheduler": {"name": "cosineannealinglr", "T_max": 3},
    "run.steps": 1000.0,
    "ema": None,
}
BAD = {
    "ruin": {},
    "run.stpes": 3,
    "run.steps": 0,
    "run.steps ": 3,
    "run.seed": True,
    "run.device": "gpu",
    "data": "nist",
    "data.batch_size": -1,
    "data.sise": 8,
    "game.loss": "hing",
    "game.conditional": 1,
    "game.generator.model.widht": 3,
    "game.generator.optimizer": {"name": "adam", "betas": [0, 0.9, 1]},
    "game.generator.optimizer.lr": "fast",
    "game.penalties": "r1",
    "outer": {"name": "lookahead", "base": {"name": "rapp", "inner_steps": 0}},
    "ema.decay": 1,
}


@pytest.mark.parametrize(("key", "value"), GOOD.items(), ids=list(GOOD))
def test_it_takes_what_loads(validators, key, value):
    validators["train"].validate(changed(yaml_files.read(CONFIGS / "quickstart.yaml"), key, value))


@pytest.mark.parametrize(("key", "value"), BAD.items(), ids=list(BAD))
def test_it_refuses_what_does_not_load(validators, key, value):
    assert not validators["train"].is_valid(changed(yaml_files.read(CONFIGS / "quickstart.yaml"), key, value))


def test_sections_are_required_where_there_is_no_base(validators):
    content = yaml_files.read(CONFIGS / "quickstart.yaml")
    del content["data"]
    assert not validators["train"].is_valid(content)
    assert validators["train"].is_valid({"base": "quickstart.yaml", "run": {"seed": 1}})


def test_an_editor_finds_names_meanings_and_defaults():
    schema = json_schema()
    definitions = schema["$defs"]
    assert definitions["outer"]["anyOf"][0]["enum"][0] == "gda"
    inner_steps = definitions["outer.lookahead"]["properties"]["inner_steps"]
    assert (inner_steps["default"], inner_steps["minimum"], inner_steps["type"]) == (5, 1, "integer")
    assert inner_steps["description"].startswith("tau")
    assert definitions["outer.gda"]["description"].startswith("Gradient descent ascent")
    digits = definitions["Data"]["anyOf"][1]["properties"]
    assert {"name", "size", "batch_size"} <= digits.keys()
    described = [
        definitions[name]["properties"] for name in ("Run", "game.gan", "GeneratorPlayer", "Samples", "Checkpoint")
    ]
    assert [key for keys in [schema["properties"], *described] for key, s in keys.items() if not s["description"]] == []


def test_games_without_data_and_groups_of_players(validators):
    solo = {"optimizer": {"name": "sgd", "lr": 0.1}}
    matrix = {"name": "matrix", "payoff": [[1, 2]], "row": solo, "column": solo}
    cournot = {"name": "cournot", "costs": [1, 2], "firms": {**solo, "firm2": {"optimizer": {"lr": 0.2}}}}
    own = {"target": "mine:Game", "people": {**solo, "ann": {}}}

    def is_valid(game):
        return validators["train"].is_valid({"run": {"name": "x", "steps": 1}, "game": game})

    assert all(map(is_valid, (matrix, cournot, own)))
    for wrong in (
        cournot | {"firms": {"optimizer": {"name": "sgd", "lrr": 1}}},
        cournot | {"firms": {"firm1": {"optimiser": "sgd"}}},
        matrix | {"payoff": 3},
        {"name": "gan"},
    ):
        assert not is_valid(wrong), wrong
