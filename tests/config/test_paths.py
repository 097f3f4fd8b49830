"""Paths in configs: those in a file are relative to the file, all others to the current directory."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import yaml
from tiny import DIGITS

from gantrain.commands.sweep.axes import read_sweep
from gantrain.config import load, load_solve, merge, resolved, shipped
from gantrain.config.moved import moved
from gantrain.config.parts import build, part_arguments
from gantrain.config.paths import nothing_at
from gantrain.errors import UserError
from gantrain.runs.folder import RESOLVED_CONFIG

CLASSIFIER = shipped.ROOT / shipped.CLASSIFIERS[0]
OWN = """
from __future__ import annotations
from gantrain.config.types import FolderPath, OutputFolder
from gantrain.data import Digits

class Mine(Digits):
    def __init__(self, images: FolderPath, notes: str, anything=None, cache: OutputFolder = "cache"):
        self.given = images, notes, anything, cache
        super().__init__()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def write(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))
    return path


def photographs(path: str, **more) -> dict:
    return copy.deepcopy(DIGITS) | {"data": {"name": "image_folder", "path": path, "batch_size": 8}, **more}


def test_each_file_has_paths_of_its_own(here, tmp_path):
    evaluate = {"features": "../runs/classifier", "data": {"split": "test"}}
    write(tmp_path / "a" / "deep" / "base.yaml", photographs("photographs", evaluate=evaluate))
    file = write(tmp_path / "b" / "c.yaml", {"base": "../a/deep/base.yaml", "run": {"folder": "runs"}})
    config = load("../b/c.yaml")
    assert config.data.part.path == config.evaluate.data.path == str(tmp_path / "a" / "deep" / "photographs")
    assert config.evaluate.features == str(tmp_path / "a" / "runs" / "classifier")
    assert config.run.folder == "runs" and resolved(config)["run"]["folder"] == str(here / "runs")
    write(file, {"base": "../a/deep/base.yaml", "data": {"path": "./x/../mine"}})
    config = load(file)
    assert config.data.part.path == config.evaluate.data.path == str(tmp_path / "b" / "mine")
    config = load(file, ["data.path=mine", "evaluate.features=x/y"])
    assert config.data.part.path == str(here / "mine") and config.evaluate.features == str(here / "x" / "y")
    assert load(file, ["data={name: cifar10}"]).data.part.root == str(here / "data")


def test_variables_are_expanded_before_and_absolute_paths_stay(here, tmp_path, monkeypatch):
    monkeypatch.setenv("PICS", "pics")
    monkeypatch.setenv("HOME", "/somebody")
    for path, expected in {"$PICS/a": str(tmp_path / "b/pics/a"), "~/a": "/somebody/a", "/x/": "/x", ".": "b"}.items():
        found = load(write(tmp_path / "b" / "c.yaml", photographs(path))).data.part.path
        assert found == str(tmp_path / expected)


def test_paths_in_a_link_to_a_config_are_relative_to_the_link(here, tmp_path):
    write(tmp_path / "a" / "base.yaml", photographs("photographs"))
    file = write(tmp_path / "a" / "deep" / "c.yaml", {"base": "../base.yaml"})
    (here / "c.yaml").symlink_to(file)
    with pytest.raises(
        UserError, match="nothing at base.yaml in .*; c.yaml is a link, and paths in it are relative to"
    ):
        load("c.yaml")
    write(tmp_path / "base.yaml", photographs("mine"))
    assert load("c.yaml").data.part.path == str(tmp_path / "mine")


def test_a_link_to_a_folder_does_not_lead_elsewhere(here, tmp_path):
    (tmp_path / "far" / "configs").mkdir(parents=True)
    (tmp_path / "far" / "photographs").mkdir()
    (tmp_path / "configs").symlink_to(tmp_path / "far" / "configs")
    write(tmp_path / "configs" / "c.yaml", photographs("../photographs"))
    assert Path(load(tmp_path / "configs" / "c.yaml").data.part.path).is_dir()


def test_a_base_is_named_by_its_shortest_path_unless_a_link_leads_elsewhere(here, tmp_path):
    """Also one that is a base of a base, or of a sweep; read is the file to which the path as it is written leads."""
    write(here / "below" / "base.yaml", {"run": {"nam": 1}})
    write(here / "below" / "deep" / "middle.yaml", {"base": "../base.yaml"})
    write(here / "beside" / "c.yaml", {"base": "../below/deep/../deep/middle.yaml"})
    assert [str(path) for path, _ in merge.read_files(Path("beside/c.yaml"))] == [
        "beside/c.yaml",
        "below/deep/middle.yaml",
        "below/base.yaml",
    ]
    with pytest.raises(UserError, match=r"(?m)^below/base.yaml: run.nam: unknown key"):
        load("beside/c.yaml")
    write(here / "beside" / "sweep.yaml", {"base": "../below/base.yaml", "over": {"outer": ["gda"]}})
    assert read_sweep("beside/sweep.yaml").base == "below/base.yaml"
    write(tmp_path / "far" / "base.yaml", {"run": {"name": "far"}})
    (tmp_path / "far" / "deep").mkdir()
    (here / "link").symlink_to(tmp_path / "far" / "deep")
    write(here / "base.yaml", {"run": {"name": "near"}})
    write(here / "c.yaml", {"base": "link/../base.yaml"})
    assert merge.merge_files(merge.read_files(Path("c.yaml"))) == {"run": {"name": "far"}}


def test_a_runs_own_config_says_the_same_everywhere(here, tmp_path, monkeypatch):
    odd = tmp_path / "$NOWHERE"
    file = write(odd / "c.yaml", photographs("a", evaluate={"features": "digits-classifier"}))
    whole = resolved(load(file))
    run = tmp_path / "run" / "config.yaml"
    run.parent.mkdir()
    run.write_text(f"{RESOLVED_CONFIG}\n{yaml.safe_dump(whole)}")
    monkeypatch.chdir("/")
    assert resolved(load(run)) == whole and whole["data"]["path"] == str(odd / "a")
    # Earlier versions wrote paths as they were given on the command line.
    run.write_text(f"{RESOLVED_CONFIG}\n{yaml.safe_dump(photographs('photographs'))}")
    assert load(run).data.part.path == "/photographs"


def test_a_run_that_was_renamed_goes_on_where_it_lies_and_a_copy_of_its_config_does_not(here, tmp_path):
    content = photographs("/photographs", run={"name": "run", "folder": "/old", "steps": 2})

    def place(name: str) -> tuple[str, str]:
        file = write(tmp_path / "moved" / name / "config.yaml", {})
        file.write_text(f"{RESOLVED_CONFIG}\n{yaml.safe_dump(content)}")
        return load(file).run.folder, load(file).run.name

    assert place("copy") == place("later") == place(".later") == ("/old", "run")
    for name in ("later", ".later"):
        (tmp_path / "moved" / name / "metrics.jsonl").touch()
    assert place("later") == (str(tmp_path / "moved"), "later")
    assert place(".later") == ("/old", "run")  # no run may have that name


def test_features_are_inception_or_a_run(here):
    for features in ("inception", "{name: inception}"):
        assert load("configs/quickstart.yaml", [f"evaluate.features={features}"]).evaluate.features.name == "inception"
    with pytest.raises(UserError, match="expected 'inception', .* or the path of a run, got .*; .MISSING is not set$"):
        load("configs/quickstart.yaml", ["evaluate.features=$MISSING/run"])


def test_names_on_the_hub_stay_unless_a_folder_bears_them(here, tmp_path):
    texts = {"name": "text", "train": "a.csv", "tokenizer": "bert/base"}
    file = write(tmp_path / "c.yaml", photographs("x") | {"data": texts})
    part = load(file).data.part
    assert (part.train, part.test, part.tokenizer) == (str(tmp_path / "a.csv"), None, "bert/base")
    (tmp_path / "bert" / "base").mkdir(parents=True)
    assert load(file).data.part.tokenizer == str(tmp_path / "bert" / "base")
    write(file, photographs("x") | {"data": texts | {"tokenizer": "./tokens"}})
    assert load(file).data.part.tokenizer == str(tmp_path / "tokens")


def test_a_path_in_a_part_of_the_users_own_is_what_its_annotation_says(here, tmp_path, monkeypatch):
    (tmp_path / "own_paths.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_paths", raising=False)
    data = {"target": "own_paths:Mine", "images": "images", "notes": "notes", "anything": "any"}
    config = load(write(tmp_path / "c.yaml", photographs("x") | {"data": data}))
    given = build("data", config.data.part).given
    assert given == (str(tmp_path / "images"), "notes", "any", "cache") and {*map(type, given)} == {str}
    assert resolved(config)["data"]["cache"] == str(here / "cache")
    assert moved({"data": data}, "/new")["data"]["images"] == "/new"


@pytest.mark.parametrize("name", ["digits-classifier", "checkpoints/digits-classifier"])
def test_the_shipped_classifier_is_found_after_what_lies_beside_the_file(here, tmp_path, name):
    file = write(tmp_path / "b" / "c.yaml", photographs("x", evaluate={"features": name}))
    assert load(file).evaluate.features == str(CLASSIFIER)
    (here / "checkpoints" / "digits-classifier").mkdir(parents=True)
    bare = "/" not in name
    mine = here / "checkpoints" / "digits-classifier"
    assert load(file).evaluate.features == str(mine if bare else CLASSIFIER)
    (tmp_path / "b" / name).mkdir(parents=True)
    assert load(file).evaluate.features == str(tmp_path / "b" / name)
    installed_elsewhere = f"evaluate.features=/nowhere/{shipped.CLASSIFIERS[0]}"
    assert load(file, [installed_elsewhere]).evaluate.features == str(CLASSIFIER)


def test_a_run_is_found_by_its_bare_name(here, tmp_path):
    file = write(tmp_path / "b" / "c.yaml", photographs("x", evaluate={"features": "mine"}))
    assert load(file).evaluate.features == str(tmp_path / "b" / "mine")  # where it is said to be missing
    (here / "checkpoints" / "mine").mkdir(parents=True)
    assert load(file).evaluate.features == str(here / "checkpoints" / "mine")


def test_a_shipped_config_is_inherited_from_everywhere(here, tmp_path):
    file = write(tmp_path / "b" / "c.yaml", {"base": "configs/quickstart.yaml", "run": {"name": "mine"}})
    assert load(file).evaluate.features == str(CLASSIFIER)
    write(file, {"base": "quickstart.yaml"})
    b = tmp_path / "b"
    with pytest.raises(
        UserError, match=f"base: there is nothing at quickstart.yaml in {b}; .*'configs/quickstart.yaml'"
    ):
        load(file)


def test_results_of_a_toy_game_are_written_relative_to_the_current_directory(here, tmp_path):
    file = write(tmp_path / "toy.yaml", {"name": "a", "game": "bilinear", "folder": "results"})
    assert load_solve(file).folder == "results"


def test_what_is_not_there_is_said_with_the_folder_and_the_nearest_name(here, tmp_path):
    (tmp_path / "b" / "pictures").mkdir(parents=True)
    (tmp_path / "file").touch()
    b = tmp_path / "b"
    assert nothing_at(b / "picture") == f"there is nothing at picture in {b}; did you mean 'pictures'?"
    assert nothing_at(b / "pictures.zip") == f"there is nothing at pictures.zip in {b}; did you mean 'pictures'?"
    assert nothing_at(b / "x" / "y") == f"there is nothing at x/y in {b}"
    assert nothing_at("x") == f"there is nothing at x in {here}"
    shipped_one = nothing_at(shipped.ROOT / "configs" / "photographs")
    assert shipped_one.endswith("the config is shipped, so name yours on the command line, as in data.path=FOLDER")
    assert nothing_at(tmp_path / "file" / "x") == f"there is nothing at {tmp_path}/file/x: {tmp_path}/file is a file"
    assert nothing_at(b / "a\nb") == f"there is nothing at 'a\\nb' in {b}"
    (here / "data" / "x").mkdir(parents=True)
    assert nothing_at(b / "data" / "x") == (
        f"there is nothing at data/x in {b}; the current directory, {here}, has data/x, but paths in a file are "
        "relative to the file, and only others to the current directory"
    )


def test_the_nearest_config_is_named_where_one_is_missing(here, tmp_path, monkeypatch):
    """By the command line or by a base; and nothing is said about data, also where the shipped ones lie."""
    near = {
        "configs/toy/bilinea.yaml": "configs/toy/bilinear.yaml",
        "configs/toys/bilinear.yaml": "configs/toy/bilinear.yaml",
        "configs/digit/base.yaml": "configs/digits/base.yaml",
        "quickstrat.yaml": "configs/quickstart.yaml",
    }
    for name, meant in near.items():
        file = write(here / "own.yaml", {"base": name})
        for wrong in (name, file):
            with pytest.raises(UserError, match=f"there is nothing at {name} in {here}.*; did you mean '{meant}'[?]$"):
                load(wrong)
    folder = shipped.ROOT / "configs"
    for name, where, meant in (
        ("toy/bilinea.yaml", folder / "toy", "bilinear.yaml"),
        ("bilinear.yaml", folder, "configs/toy/bilinear.yaml"),
        ("digit/base.yaml", folder, "configs/digits/base.yaml"),
    ):
        with pytest.raises(UserError, match=f"in {where}; did you mean '{meant}'[?]$"):
            load(folder / name)


@pytest.mark.parametrize(
    ("data", "new"),
    [
        ({"name": "image_archive", "path": "old/a.zip"}, {"path": "/new"}),
        ({"name": "cifar10", "root": "old"}, {"root": "/new"}),
        ("cifar10", {"root": "/new"}),
        ({"name": "text", "train": "old/a.csv", "tokenizer": "bert"}, {"train": "/new"}),
        (
            {"name": "text", "train": "old/a.csv", "test": "old/b.csv", "tokenizer": "bert"},
            {"train": "/new/a.csv", "test": "/new/b.csv"},
        ),
    ],
)
def test_moved_data_are_named_by_the_keys_that_they_have(here, data, new):
    found = moved({"data": data}, "/new")["data"]
    assert found == ({"name": data} if isinstance(data, str) else data) | new


def test_what_names_the_same_place_follows_and_nothing_else_does(here):
    content = {
        "run": {"name": "old"},
        "data": {"name": "image_folder", "path": "old"},
        "evaluate": {"data": {"path": str(here / "old"), "split": "test"}, "features": "old"},
        "game": {"target_data": {"name": "image_folder", "path": "other"}, "list": [{"path": "old"}]},
    }
    found = merge.merge(content, {})
    found["data"]["path"] = found["evaluate"]["data"]["path"] = found["game"]["list"][0]["path"] = "/new"
    assert moved(content, "/new") == found


def test_data_that_lie_nowhere_cannot_have_moved(here):
    with pytest.raises(UserError, match="--data: the data set 'digits' names no file and no folder that could have"):
        moved({"data": "digits"}, "/new")
    with pytest.raises(UserError, match="--data: the config has no section data, which could have moved; leave it out"):
        moved({}, "/new")
    for wrong in ({"data": 3}, {"data": {"name": "digit"}}, {"data": {"target": "x"}}):
        assert moved(wrong, "/new") == wrong


def test_shipped_configs_read_from_folders_beside_it_or_that_the_user_makes(here):
    files = ("photos", "photos_classifier", "sampa/cifar10_files", "rapp/files/gda")
    for name in (f"configs/{file}.yaml" for file in files):
        data = part_arguments(load(name).data.part)
        expected = shipped.ROOT / ("configs" if name == "configs/photos.yaml" else "data")
        assert Path(data["path"]).is_relative_to(expected), name
