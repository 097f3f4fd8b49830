"""Code that a received run names does not run: the folders are real, and so is what they would do."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from tiny import RING, config_of, rows

import gantrain as gt
from gantrain.cli import cli
from gantrain.commands.train import train
from gantrain.config import parts
from gantrain.config.loading import load, resolved
from gantrain.config.targets import foreign_targets
from gantrain.errors import Notice, UserError
from gantrain.metrics import make_extractor
from gantrain.runs.folder import CONFIG, prepare_folder

CLASSIFIER = Path(__file__).parents[2] / "checkpoints" / "digits-classifier"
MINE = """
from pathlib import Path
from gantrain.data import GaussianRing
from gantrain.games.gan import GAN
from gantrain.games.losses import Hinge
from gantrain.models.mlp import MLPGenerator

(Path(__file__).parent / "ran").touch()

class Mine(Hinge): pass
class Game(GAN): pass
class Ring(GaussianRing): pass
class Network(MLPGenerator): pass
"""


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return train(config_of(RING, tmp_path_factory.mktemp("ours"), "run.steps=2", "checkpoint.every=1"))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module in the working directory; whether it has been imported."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def ran() -> bool:
        return (tmp_path / "ran").exists() or "mine" in sys.modules

    yield ran
    sys.modules.pop("mine", None)
    parts.target_model.cache_clear()


@pytest.fixture
def received(tmp_path, ours, mine):
    """Makes a run whose config was changed by somebody: key -> value."""

    def make(changes, run=ours):
        folder = tmp_path / "received"
        shutil.copytree(run, folder)
        content = yaml.safe_load((folder / CONFIG).read_text())
        for key, value in changes.items():
            *above, last = key.split(".")
            section = content
            for name in above:
                section = section[name]
            section[last] = value
        mark = (run / CONFIG).read_text().splitlines()[0]
        (folder / CONFIG).write_text(f"{mark}\n{yaml.safe_dump(content)}")
        return folder

    return make


def call(*arguments):
    """The message with which the command ends; None if it ends well."""
    result = CliRunner().invoke(cli, list(map(str, arguments)), standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, UserError):
        raise result.exception
    return result.exception and str(result.exception)


HOSTILE = {
    "data": {"target": "os:system", "command": "touch ran", "batch_size": 16},
    "game.loss": {"target": "subprocess:Popen", "args": ["touch", "ran"]},
    "game": {"target": "mine:Game"},
    "game.penalties": [{"name": "r1"}, {"target": "mine:Mine"}],
    "outer": {"name": "lookahead", "base": {"name": "lookahead", "base": {"target": "mine:Mine"}}},
    "game.generator.model": {"target": "torch.nn:Linear", "out_features": 3},
    "game.generator.optimizer": {"target": "mine:Mine"},
    "game.discriminator.scheduler": {"name": "sequentiallr", "schedulers": [{"target": "mine:Mine"}]},
    "evaluate": {"data": {"target": "mine:Ring"}},
}


@pytest.mark.parametrize(("key", "value"), HOSTILE.items(), ids=list(HOSTILE))
def test_nothing_that_a_received_run_names_is_imported(received, mine, key, value):
    folder = received({key: value})
    (named,) = foreign_targets({key: value}).items()
    for command in (("sample", folder), ("eval", folder), ("diagnose", folder), ("sample", folder / "step_2")):
        message = call(*command)
        assert message.startswith(f"{folder / CONFIG}: names code outside gantrain, which would be executed: ")
        assert f"{named[0]}: '{named[1]}'" in message and "add --trust" in message and "\n" not in message
    call("compare", folder)
    with pytest.raises(UserError):
        prepare_folder(folder, resolved(config_of(RING, folder, "run.seed=1")), resume=True, overwrite=False)
    assert not mine()


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("data", "gantrain.cli:main"),
        ("game.loss", "gantrain.config.loading:load"),
        ("game", "gantrain.__main__:main"),
        ("game.generator.model", "gantrain.runs.folder:shutil"),
    ],
)
def test_what_is_gantrains_own_must_be_a_part_too(received, tmp_path, key, target):
    message = call("sample", received({key: {"target": target}}))
    assert message.startswith(f"{tmp_path / 'received' / CONFIG}: {key}.target: ") and "\n" not in message


def test_no_file_is_read_as_if_it_were_gantrains(received, tmp_path, mine):
    """The source of a part of gantrain is parsed and its constants evaluated; no path leads out of the package."""
    (tmp_path / "source.py").write_text("class X:\n    callbacks = {}\nX_ = ().__class__.__base__.__subclasses__()\n")
    for target in (f"gantrain.{tmp_path}/source:X", f"gantrain.a/{tmp_path}/source:X", "gantrain..mine:Game"):
        shutil.rmtree(tmp_path / "received", ignore_errors=True)
        assert "names code outside gantrain" in call("sample", received({"game": {"target": target}}))
    assert not mine()


def test_a_base_of_a_received_config_is_no_way_round(received, tmp_path, mine):
    folder = received({})
    (folder / "other.yaml").write_text("game: {loss: {target: 'mine:Mine'}}")
    content = (folder / CONFIG).read_text().replace("name: non_saturating", "{}")
    (folder / CONFIG).write_text(content.replace("  loss:\n    {}\n", "") + "base: other.yaml\n")
    assert "game.loss.target: 'mine:Mine'" in call("sample", folder)
    assert not mine()


def test_the_features_of_a_received_classifier(received, ours, tmp_path, mine):
    folder = received({"game.classifier.model": {"target": "mine:Network"}}, CLASSIFIER)
    assert "names code outside gantrain" in call("eval", ours, "--features", folder)
    with pytest.raises(UserError, match="game.classifier.model.target: 'mine:Network'"):
        make_extractor(str(folder))
    config = config_of(RING, tmp_path, "run.name=new", f"evaluate={{features: {folder}, every: 1}}")
    with pytest.raises(UserError, match="game.classifier.model.target: 'mine:Network'"):
        train(config)
    assert not mine() and not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="a class-conditional network needs labels"):
        train(config, trust=True)
    assert mine()


def test_a_run_that_was_trained_here_is_trusted_as_it_lies_there(tmp_path, mine):
    def refused(folder):
        message = call("sample", folder)
        return message is not None and "not trained here" in message

    run = train(config_of(RING, tmp_path, "run.steps=1", "game.loss={target: 'mine:Mine'}"))
    assert call("sample", run) is None and mine()
    (record,) = (tmp_path / "state" / "gantrain" / "trained").iterdir()
    assert record.read_text().endswith(f"\n{run.resolve()}\n")
    (tmp_path / "link").symlink_to(run)
    assert not refused(tmp_path / "link")

    shutil.copytree(run, tmp_path / "copy")
    assert refused(tmp_path / "copy")
    assert call("sample", tmp_path / "copy", "--trust") is None
    assert refused(tmp_path / "copy")
    assert gt.load(tmp_path / "copy", trust=True).step == 1

    written = (run / CONFIG).read_text()
    for edited in (written + "# edited\n", written.replace("batch_size: 32", "batch_size: 16")):
        (run / CONFIG).write_text(edited)
        assert refused(run)
    (run / CONFIG).write_text(written)
    assert not refused(run)

    # The run goes on, and the config that it then has is recorded in turn.
    train(config_of(RING, tmp_path, "run.steps=2", "game.loss={target: 'mine:Mine'}"), resume=True)
    assert not refused(run) and rows(run)[-1]["step"] == 2
    record.unlink()
    assert refused(run)


def test_a_record_that_cannot_be_kept_is_a_notice(tmp_path, mine, monkeypatch):
    config = config_of(RING, tmp_path, "game.loss={target: 'mine:Mine'}")
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    with pytest.warns(Notice, match=r"no record that this run is yours can be kept \(Not a directory\); .* --trust"):
        prepare_folder(tmp_path / "ring", resolved(config), resume=False, overwrite=False)


def test_only_the_users_own_targets_are_imported_when_a_run_is_resumed(tmp_path, received, mine):
    folder = received({"game.loss": {"target": "mine:Mine"}})
    own = config_of(RING, tmp_path, "run.name=received", "game.loss=hinge")
    with pytest.raises(UserError, match="game.loss.name: the run in .* has null, this config 'hinge'"):
        prepare_folder(folder, resolved(own), resume=True, overwrite=False)
    assert not mine()
    own = config_of(RING, tmp_path, "run.name=received", "game.loss={target: 'mine:Mine'}")
    prepare_folder(folder, resolved(own), resume=True, overwrite=False)
    assert mine()


def test_what_a_run_may_change_is_not_imported_either(tmp_path, received, mine):
    folder = received({"evaluate": {"every": 5, "data": {"target": "mine:Ring"}}})
    prepare_folder(folder, resolved(config_of(RING, tmp_path, "run.name=received")), resume=True, overwrite=False)
    assert not mine() and load(folder / CONFIG).evaluate is None


def test_runs_with_targets_are_compared_without_their_code(tmp_path, ours, received, mine):
    folder = received({"outer": {"target": "nowhere:Own", "rate": 2}})
    table = CliRunner().invoke(cli, ["compare", str(folder), str(ours)], standalone_mode=False).output
    assert re.search(r"^received .*$", table, re.M) and not mine()
