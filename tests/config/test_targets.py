"""What a target may name: a class of the part's kind, or a function that says that it returns one."""

from __future__ import annotations

import sys

import pytest

from gantrain.config import parts, registry
from gantrain.config.loading import load
from gantrain.config.targets import find_target, foreign_targets
from gantrain.errors import UserError

MODULE = """
from __future__ import annotations
import functools
import os
import subprocess
from os import system
from subprocess import Popen, run
from typing import TYPE_CHECKING

import gantrain as gt
from gantrain.games.classification import Classification
from gantrain.games.losses import Hinge
from torch import nn

if TYPE_CHECKING:
    from gantrain import Penalty

class Unrelated: pass
class Unfinished(gt.Loss): pass

def loss(margin: float = 1.0) -> Hinge:
    made = Hinge()
    made.margin = margin
    return made

def untold(): return Hinge()
def unknown() -> Nowhere: return Hinge()
def either() -> Hinge | None: return Hinge()
def other() -> gt.Outer: return Hinge()
def lies() -> Hinge: return None
def penalty(weight: float = 1.0) -> Penalty: return gt.games.penalties.R1(weight)
def network(spec, width: int = 4) -> nn.Module: return nn.Linear(2, width)
def game(classifier: gt.Classifier) -> Classification: return Classification(classifier)

@functools.cache
def cached() -> Hinge: return Hinge()

partial = functools.partial(Hinge)
built = Hinge()
print("imported")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_targets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_targets", None)
    parts.target_model.cache_clear()


def refused(kind, target):
    with pytest.raises(UserError) as error:
        parts.build(kind, {"target": target})
    assert str(error.value).startswith(f"{kind}.target: ") and "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{kind}.target: ")


STANDARD = ["os:system", "subprocess:Popen", "builtins:exec", "importlib:import_module", "unittest.mock:MagicMock"]


@pytest.mark.parametrize("target", [*STANDARD, "antigravity:Geohash", "this:Loss", "collections.abc:Callable"])
@pytest.mark.parametrize("kind", ["loss", "data", "game"])
def test_the_standard_library_has_no_parts_and_is_not_imported(kind, target):
    top = target.partition(":")[0].partition(".")[0]
    before = set(sys.modules)
    assert refused(kind, target).startswith(f"{top} is a module of Python's standard library, which has no parts; ")
    assert not {"antigravity", "this"} & (set(sys.modules) - before)


@pytest.mark.parametrize("name", ["Popen", "system", "run", "Unrelated", "untold", "unknown", "either", "other"])
def test_what_is_no_class_of_the_kind_is_refused(module, name):
    message = refused("loss", f"own_targets:{name}")
    expected = "a subclass of gantrain.Loss, or a function that is annotated as returning one (-> Loss)"
    assert message == f"own_targets:{name} is no loss; expected {expected}"


@pytest.mark.parametrize("name", ["os", "partial", "built", "nothing", "subprocess"])
def test_what_is_neither_class_nor_function_is_refused(module, name):
    assert refused("loss", f"own_targets:{name}").startswith(f"module 'own_targets' has no class '{name}'")


@pytest.mark.parametrize(
    "target",
    [
        "gantrain.builders:make_outer",
        "gantrain.games.losses:ABC",
        "gantrain.games.losses:nn",
        "gantrain.models.layers.spectral_norm:spectral_norm",
        "gantrain.nowhere:Loss",
        "gantrain:solve",
        "torch.nn:Module",
    ],
)
@pytest.mark.parametrize("kind", ["loss", "game", "data"])
def test_other_libraries_and_gantrain_itself_follow_the_rule(kind, target):
    refused(kind, target)


def test_a_class_that_is_not_finished_says_what_it_lacks(module):
    message = refused("loss", "own_targets:Unfinished")
    assert message.endswith("is abstract; expected a subclass of it that defines discriminator, generator")


@pytest.mark.parametrize(
    "target", ["os", ":x", "os:", "a.b", "os:path.join", "/tmp/x:Y", "gantrain./tmp/x:Y", "..os:x", "a b:c", "a:b\n"]
)
def test_the_form_of_a_target(target):
    assert refused("loss", target).startswith("expected package.module:Class, got ")


def test_a_function_that_says_what_it_returns_is_a_part(module):
    assert parts.build("loss", {"target": "own_targets:loss", "margin": 2}).margin == 2.0
    assert parts.build("loss", {"target": "own_targets:cached"}) is not None
    assert type(parts.build("penalty", {"target": "own_targets:penalty", "weight": 3})).__name__ == "R1"
    assert parts.build("generator", {"target": "own_targets:network", "width": 3}, None).out_features == 3
    with pytest.raises(UserError, match="^loss: own_targets:lies says that it returns a Hinge, got null$"):
        parts.build("loss", {"target": "own_targets:lies"})


GAME = """
run: {name: a, steps: 1}
data: digits
game: {target: "own_targets:game", classifier: {model: mlp, optimizer: sgd}}
"""


def test_the_game_of_a_function_has_the_sections_of_the_class_that_it_returns(module, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(GAME)
    config = load(path, ["evaluate.data.split=test"])
    assert parts.part_class(config.game).__name__ == "Classification" and config.evaluate.every == 500


def test_a_module_that_ends_the_program_when_it_is_imported_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "script_of_mine.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    assert refused("loss", "script_of_mine:X").startswith("cannot import 'script_of_mine' (SystemExit: 3); ")


def test_the_targets_of_a_config_are_found_wherever_they_are():
    content = {
        "data": {"name": "x", "target": "os:system"},
        "game": {"penalties": [{"target": 1.0}, {"target": "a:B"}, [{"target": "gantrain.x:Y"}]]},
        "outer": {"base": {"base": {"target": "gantrain_more:Z"}}},
        "loss": {"target": "gantrain./tmp/x:Y"},
    }
    assert foreign_targets(content) == {
        "data.target": "os:system",
        "game.penalties.1.target": "a:B",
        "outer.base.base.target": "gantrain_more:Z",
        "loss.target": "gantrain./tmp/x:Y",
    }


def test_every_registered_part_is_a_class_of_its_kind():
    for kind in registry.KINDS:
        for path in registry.kind(kind).parts.values():
            assert find_target(kind, path).__name__ == path.partition(":")[2]


METHODS = """
import gantrain as gt
from torch import nn

class Few(gt.Loss):
    def discriminator(self, fake): return fake
    def generator(self, real, fake): return fake
class Exchanged(gt.Loss):
    def discriminator(self, fake, real): return fake
    def generator(self, real, fake): return fake
class Renamed(gt.Loss):
    def discriminator(self, true, made, more=1): return made
    def generator(self, *logits): return logits
class Inherited(gt.games.losses.Hinge):
    def generator(self, fake): return fake
class Reports(gt.Callback):
    def run(self, step, network): return None
class Looks(gt.Callback):
    def run(self, *everything, **more): return None
class Plain(nn.Module):
    def forward(self, labels, z): return z
class Unconditional(nn.Module):
    def forward(self, noise): return noise
class Strict(nn.Module):
    def forward(self, z, labels): return z
class Measures(gt.Metric):
    better = {"x": "lower"}
    @staticmethod
    def measure(fake, real): return 0.0
class Plays(gt.Game):
    def objective(self, batch, player): return None
"""


@pytest.mark.parametrize(
    ("kind", "name", "wrong"),
    [
        ("loss", "Few", "Few.discriminator(fake): expected discriminator(real, fake)"),
        ("loss", "Exchanged", "Exchanged.discriminator(fake, real): expected discriminator(real, fake)"),
        ("loss", "Renamed", None),
        ("loss", "Inherited", "Inherited.generator(fake): expected generator(real, fake)"),
        ("callback", "Reports", "Reports.run(step, network): expected run(folder, monitor, step, network)"),
        ("callback", "Looks", None),
        ("generator", "Plain", "Plain.forward(labels, z): expected forward(z, labels=None)"),
        ("generator", "Unconditional", None),
        ("generator", "Strict", None),
        ("metric", "Measures", None),
        ("game", "Plays", "Plays.objective(batch, player): expected objective(player, batch)"),
    ],
)
def test_methods_are_called_in_the_order_of_their_arguments(tmp_path, monkeypatch, kind, name, wrong):
    (tmp_path / "own_methods.py").write_text(METHODS)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        if wrong is None:
            assert find_target(kind, f"own_methods:{name}").__name__ == name
        else:
            message = f"own_methods:{wrong}, called by position in this order"
            assert refused(kind, f"own_methods:{name}") == message
    finally:
        sys.modules.pop("own_methods", None)
        parts.target_model.cache_clear()
