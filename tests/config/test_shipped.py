"""Shipped configs and the shipped classifier are found from any working directory, after the user's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

import gantrain as gt
from gantrain.config import load, load_map, load_solve, resolved, shipped
from gantrain.errors import UserError
from gantrain.metrics.extractors import make_extractor

CLASSIFIER = "checkpoints/digits-classifier"
QUICKSTART = "configs/quickstart.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_configs_of_every_command_are_found():
    assert load(QUICKSTART).run.name == "quickstart"
    assert load("./configs/digits/sgd/rapp.yaml").data.batch_size == 64
    assert load_solve("configs/toy/bilinear.yaml").name == "bilinear"
    assert load_map(Path("configs/theory/map.yaml")).outers


def test_the_users_own_file_comes_first(elsewhere):
    (elsewhere / "configs").mkdir()
    (elsewhere / QUICKSTART).write_text(f"base: {shipped.ROOT / QUICKSTART}\nrun: {{name: mine}}\n")
    assert load(QUICKSTART).run.name == "mine"
    assert load("configs/gaussian_ring.yaml").run.name == "gaussian_ring"


def test_a_mistake_in_a_shipped_config_names_the_file():
    with pytest.raises(UserError, match=f"^{shipped.ROOT / QUICKSTART}: data.batch_size: expected a multiple"):
        load(QUICKSTART, ["run.processes=3"])


def test_the_classifier_is_found_by_its_name(elsewhere):
    assert make_extractor(CLASSIFIER).label == "digits-classifier"
    (elsewhere / CLASSIFIER).mkdir(parents=True)
    with pytest.raises(UserError, match=f"^{CLASSIFIER}: no run here"):
        make_extractor(CLASSIFIER)


def test_the_classifier_of_photographs_is_small_and_of_its_config():
    extractor, run = make_extractor("photos-classifier"), gt.load("checkpoints/photos-classifier")
    assert (extractor.label, extractor.dimensions, extractor.channels) == ("photos-classifier", 64, 3)
    assert (run.spec.shape, len(run.classes), run.classes[-1]) == ((3, 32, 32), 10, "truck")
    assert sum(file.stat().st_size for file in run.path.iterdir()) < 1_200_000
    config = load("configs/photos_classifier.yaml")
    assert run.step == config.run.steps
    assert {k: run.config["game"][k] for k in ("classifier", "augmentations")} == {
        k: resolved(config)["game"][k] for k in ("classifier", "augmentations")
    }


def test_the_generator_is_small_and_makes_samples():
    run = gt.load("cifar10-sngan")
    assert (run.weights, run.spec.shape, run.sample(2).shape) == ("ema", (3, 32, 32), (2, 3, 32, 32))
    assert sum(file.stat().st_size for file in run.path.iterdir()) < 10_000_000
    assert len(list(run.folder.glob("step_*"))) == 1


@pytest.mark.parametrize("name", ["quickstart.yaml", "configs/../configs/quickstart.yaml", "checkpoints", "gantrain"])
def test_nothing_else_is_looked_for_among_the_shipped_files(name):
    assert shipped.find(name) == Path(name)


def test_what_is_nowhere_is_a_line_with_the_places_searched(elsewhere):
    places = f"in {elsewhere} or {shipped.ROOT}"
    with pytest.raises(UserError) as config:
        load("configs/quickstrt.yaml")
    name = "configs/quickstrt.yaml"
    assert str(config.value) == f"{name}: there is nothing at {name} {places}; did you mean '{QUICKSTART}'?"
    places = f"in {elsewhere} or {elsewhere}/checkpoints or {shipped.ROOT}/checkpoints"
    with pytest.raises(UserError) as run:
        make_extractor("digit-classifier")
    assert str(run.value) == (
        "features: neither inception nor another published network nor the folder of a classifier's run: "
        f"there is nothing at digit-classifier "
        f"{places}; did you mean 'digits-classifier'?"
    )
    with pytest.raises(UserError, match=f"there is nothing at {CLASSIFIER}/nowhere in {elsewhere} or {shipped.ROOT}"):
        make_extractor(f"{CLASSIFIER}/nowhere")


def test_a_file_that_may_not_be_looked_at_is_not_called_missing():
    assert shipped.is_missing(Path("nowhere")) and shipped.is_missing(shipped.ROOT / QUICKSTART / "below")
    assert not shipped.is_missing(Path("x" * 300)) and not shipped.is_missing(Path("a\0b"))
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        load("x" * 300)


def test_what_a_command_makes_of_a_shipped_run_goes_to_the_current_directory(elsewhere, monkeypatch):
    run = gt.load("photos-classifier").folder
    assert shipped.outputs(run) == Path()
    assert shipped.outputs(elsewhere / "photos-classifier") == elsewhere / "photos-classifier"
    monkeypatch.chdir(shipped.ROOT)
    assert shipped.outputs(run) == run
    monkeypatch.chdir(elsewhere)
    for kind in ("safetensors", "torch"):  # and what the first command wrote does not hide the run from the second
        assert gt.export("digits-classifier", kind).parent == Path("exported")
    assert len(list((elsewhere / "exported").iterdir())) == 2
