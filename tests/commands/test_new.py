"""gantrain new writes configs that load, train at once, and fit the data and the machine."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from forked import Command, gantrain, until
from PIL import Image
from tiny import same, state

from gantrain.builders import make_data, make_game
from gantrain.commands.new import choices, create, images, templates
from gantrain.commands.new.machine import Machine
from gantrain.commands.train import train
from gantrain.config.loading import load, resolved
from gantrain.errors import UserError
from gantrain.runs import checkpoint
from gantrain.runs.folder import RESOLVED_CONFIG

GPU = Machine(16, "a GPU", 24.0)
FEW = ("run.steps=2", "log.every=1", "checkpoint.every=2", "run.device=cpu")


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(create, "this_machine", lambda: Machine(2))


def photographs(folder, count, sides=(40, 60), grey=False, form="jpg"):
    """Images of random colours, smooth so that a JPEG keeps them."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for i in range(count):
        pixels = draws.integers(0, 256, (4, 4) if grey else (4, 4, 3)).astype(np.uint8)
        size = (int(draws.integers(*sides)), int(draws.integers(*sides)))
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
        # A grey photograph is often stored in colour.
        (image.convert("RGB") if grey and i % 2 else image).save(folder / f"{i:03d}.{form}")
    return folder


def content(name="mine.yaml"):
    return yaml.safe_load(open(name, encoding="utf-8"))


def test_few_photographs_of_mixed_sizes_train_at_once_with_diffaugment(tmp_path):
    photographs(tmp_path / "photographs", 20)
    (tmp_path / "photographs" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    said = create.create("mine", "photographs", None)
    assert "21 colour images in photographs" in said and "broken.jpg" in said and "few-photos" in said
    assert content()["data"]["path"] == "photographs" and content()["data"]["size"] == 32
    config = load("mine.yaml", [*FEW, "samples.every=1"])
    assert [type(a).__name__ for a in config.game.augmentations] == ["Flip", "DiffAugment"]
    with pytest.warns(UserWarning, match="1 of 21 images"):
        run = train(config)
    assert (run / "samples" / "step_000001.png").is_file()


def test_classes_parts_and_grey_images_are_found_in_an_archive(tmp_path):
    for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
        photographs(tmp_path / "pets" / place, 12, sides=(16, 20), grey=True, form="png")
    with zipfile.ZipFile("pets.zip", "w") as archive:
        for path in sorted((tmp_path / "pets").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
    said = create.create("pets", "pets.zip", "classifier")
    assert "24 grey images in pets.zip" in said and "2 classes of 12 images (cat, dog)" in said
    assert "a part for validation" in said
    data = content("pets.yaml")["data"]
    assert (data["name"], data["channels"], data["size"]) == ("image_archive", 1, 16) and "validation" not in data
    rows = train(load("pets.yaml", [*FEW, "evaluate.every=2", "game.classifier.model.width=2"])) / "metrics.jsonl"
    assert "validation/accuracy" in rows.read_text()
    create.create("games", "pets", None)
    assert content("games.yaml")["game"]["conditional"] is False  # 12 images are too few to learn a class


def test_a_classifier_without_a_part_for_validation_holds_some_images_out(tmp_path):
    for place in ("cat", "dog"):
        photographs(tmp_path / "pets" / place, 30, form="png")
    create.create("held", "pets", "classifier")
    train(load("held.yaml", [*FEW, "evaluate.every=2", "game.classifier.model.width=2"]))
    assert content("held.yaml")["data"]["validation"] == 0.1


def test_the_quickstart_and_the_photographs_are_those_of_the_shipped_configs(tmp_path):
    photographs(tmp_path / "photographs", 65)
    create.create("quickstart", None, None)
    create.create("photos", "photographs", "few-photos")
    for name, more in (("quickstart", []), ("photos", ["data.path=photographs"])):
        assert resolved(load(f"{name}.yaml")) == resolved(load(f"configs/{name}.yaml", more)), name
    create.create("digits-classes", "digits", "classifier")
    assert load("digits-classes.yaml").game.name == "classification"
    create.create("writing", None, "photos")
    assert not load("writing.yaml").game.augmentations
    # A folder of this name is preferred to the data set.
    (tmp_path / "photographs").rename("digits")
    assert "65 colour images in digits" in create.create("folder", "digits", None)


def test_a_game_of_ones_own_trains_is_killed_and_resumes_to_the_bit(tmp_path):
    create.create("duel", None, "own-game")
    few = ("checkpoint.every=2", "samples.every=2", "log.every=1", "run.device=cpu")
    killed = Command(tmp_path, "train", "duel.yaml", "run.steps=100000", *few)
    run = tmp_path / "checkpoints" / "duel"
    until(lambda: (run.is_dir() and checkpoint.newest(run) is not None) or not killed.running())
    killed.kill()
    killed.wait()
    steps = f"run.steps={int(checkpoint.newest(run).name.removeprefix('step_')) + 3}"
    gantrain(tmp_path, "train", "duel.yaml", "--resume", steps, *few)
    gantrain(tmp_path, "train", "duel.yaml", "run.name=straight", steps, *few)
    assert same(state(run), state(tmp_path / "checkpoints" / "straight"))
    gantrain(tmp_path, "sample", "checkpoints/duel", "--number", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("../", None, None), "NAME: expected the name of a folder"),
        ((".hidden", None, None), "NAME: expected the name of a folder"),
        (("there", None, None), "there.yaml: exists already"),
        (("there.yaml", None, None), "there.yaml: exists already"),
        (("ran", None, None), "checkpoints/ran: holds a run of this name"),
        (("mine", "nowhere", None), "--data: there is nothing at"),
        (("mine", "cifar11", None), "did you mean 'cifar10'?"),
        (("mine", "empty", None), "--data: no image in empty"),
        (("mine", "there.yaml", None), "--data: there.yaml is not a tar archive"),
        (("mine", "bad", None), "--data: none of 1 images in bad can be read: x.png: it is no image"),
        (("mine", "flat", "classifier"), "--from classifier: flat has no classes"),
        (("mine", "flat", "quickstart"), "--from quickstart: trains on digits"),
        (("random", None, "own-game"), "random is the name of another Python module"),
        (("torch", None, "own-game"), "torch is the name of another Python module"),
        (("class", None, "own-game"), "expected a name of letters, digits and _"),
        (("my-game", None, "own-game"), "expected a name of letters, digits and _"),
        (("inside/mine", None, "own-game"), "mine.py must lie in the working directory"),
        (("there/mine", None, None), None),
        (("there.yaml/mine", None, None), "NAME: there.yaml is no folder"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_nothing_is_left(tmp_path, arguments, message):
    (tmp_path / "there.yaml").write_text("mine")
    (tmp_path / "empty").mkdir()
    photographs(tmp_path / "flat", 2)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"\x01\x02\x03")
    (tmp_path / "checkpoints" / "ran").mkdir(parents=True)
    (tmp_path / "checkpoints" / "ran" / "config.yaml").write_text(f"{RESOLVED_CONFIG}\n")
    before = sorted(tmp_path.rglob("*"))
    if message is None:
        create.create(*arguments)
        assert (tmp_path / "there" / "mine.yaml").is_file()
        return
    with pytest.raises(UserError) as error:
        create.create(*arguments)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "there.yaml").read_text() == "mine"


def test_odd_names_and_paths_come_through(tmp_path):
    photographs(tmp_path / "über: # {x} 'y'", 2)
    photographs(tmp_path / "~home", 2)
    create.create("2024", "über: # {x} 'y'", None)
    create.create("inside/mine", "~home", None)
    create.create("here", "~home", None)
    assert load("2024.yaml").run.name == "2024"
    assert make_data(load("2024.yaml")).samples.shape == (2, 3, 32, 32)
    # Data that lie beside or below the config are named from there, others by their whole path.
    assert content("inside/mine.yaml")["data"]["path"] == str(tmp_path / "~home")
    assert len(make_data(load("here.yaml")).samples) == 2


@pytest.mark.parametrize("machine", [Machine(2), GPU, Machine(4, "small", 3.0)], ids=["cpu", "gpu", "small gpu"])
@pytest.mark.parametrize("side", [5, 28, 600])
def test_what_is_chosen_makes_networks_for_any_size_and_machine(machine, side, tmp_path):
    found = images.Images({"name": "digits"}, "digits", 1797, (side,), side, 1, {"a": 900, "b": 897})
    few = choices.are_few(found, machine)
    chosen = choices.for_gan(found, machine, few)
    assert chosen.size <= max(8, 1.25 * side) and chosen.conditional and chosen.grid % 2 == 0
    (tmp_path / "gan.yaml").write_text(templates.gan("gan", found, machine, chosen, "gan.yaml"))
    # Narrow, since the networks are only built.
    narrow = [f"game.{player}.model.width=64" for player in ("generator", "discriminator")]
    config = load("gan.yaml", narrow)
    game = make_game(config, make_data(config), "cpu")
    assert game.spec.shape == (1, chosen.size, chosen.size)
    classified = choices.for_classifier(found, machine)
    (tmp_path / "c.yaml").write_text(templates.classifier("c", found, machine, classified, "c.yaml"))
    config = load("c.yaml")
    make_game(config, make_data(config), "cpu")


@pytest.mark.parametrize(
    ("machine", "count", "expected"),
    [
        (Machine(2), 302, ("photos-classifier", ("fid", "prc"), 1000, None)),
        (Machine(2, "", 0, True), 20_000, ("photos-classifier", ("fid", "prc"), 1000, 10_000)),
        (GPU, 302, ("photos-classifier", ("fid", "prc"), 10_000, None)),
        (Machine(16, "a GPU", 24.0, True), 302, ("inception", ("kid",), 302, None)),
        (Machine(16, "a GPU", 24.0, True), 20_000, ("inception", ("fid",), 10_000, None)),
        (Machine(2), 64, None),
    ],
    ids=["cpu", "cpu and weights", "gpu", "gpu and weights", "many images", "too few"],
)
def test_samples_are_measured_by_what_is_here(tmp_path, machine, count, expected):
    found = images.Images({"name": "image_folder", "path": "x"}, "x", count, (64,), 64, 3)
    text = templates.gan("gan", found, machine, choices.for_gan(found, machine, True), "gan.yaml")
    (tmp_path / "gan.yaml").write_text(text)
    evaluate = load("gan.yaml").evaluate
    if expected is None:
        assert evaluate is None
        # What is commented out becomes a section by taking the marks away.
        rest = text.partition("run:\n")[2]
        (tmp_path / "gan.yaml").write_text("run:\n" + rest.replace("# evaluate:", "evaluate:").replace("#   ", "  "))
        evaluate = load("gan.yaml").evaluate
        expected = ("photos-classifier", ("fid", "prc"), 1000, None)
    features = evaluate.features or "inception"
    limit = resolved(load("gan.yaml"))["evaluate"]["data"]
    found = (Path(features).name, evaluate.metrics, evaluate.samples, limit and limit["limit"])
    assert found == expected


def test_the_command_says_what_it_found_and_what_comes_next(tmp_path):
    photographs(tmp_path / "photographs", 3)
    said = gantrain(tmp_path, "new", "mine", "--data", "photographs").output
    assert said.startswith("data     3 colour images in photographs") and "gantrain train mine.yaml" in said
    again = Command(tmp_path, "new", "mine")
    assert again.wait() == 2 and again.errors == (
        "gantrain: mine.yaml: exists already; choose another name, or remove the file\n"
    )
