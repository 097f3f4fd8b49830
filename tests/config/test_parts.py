"""Parts are checked against their constructors without importing them, and built from the same description."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Sequence

import pytest
import torch
from forked import SECONDS
from pydantic import BaseModel, TypeAdapter, ValidationError

from gantrain.config import parts, types
from gantrain.config.parts import markers
from gantrain.config.registry import KINDS, kind
from gantrain.config.signatures import REQUIRED, argument_docs, inspect_signature, read_signature, understood
from gantrain.data import DataSpec
from gantrain.errors import UserError
from gantrain.games.losses import Loss
from gantrain.games.penalties import Penalty

ALL = [(k, name) for k in KINDS for name in kind(k).parts]
OURS = [(k, name) for k, name in ALL if kind(k).parts[name].startswith("gantrain")]


def imported(path):
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def required(model):
    """A value for every key that has no default."""
    examples = {"T_max": 5, "T_0": 5, "base_lr": 0.1, "max_lr": 0.2, "milestones": [3], "gamma": 0.5, "step_size": 3}
    examples |= {"schedulers": ["linearlr", "constantlr"], "path": "images", "size": 64}
    examples |= {"train": "train.tsv", "tokenizer": "bert-base-uncased", "checkpoint": "bert-base-uncased"}
    player = {"model": "conv", "optimizer": "adam"}
    examples |= {"generator": player, "discriminator": player, "classifier": player, "loss": "hinge"}
    examples |= {"domain_classifier": player, "target_data": "digits", "radius": 0.1}
    solo = {"optimizer": "adam"}
    examples |= {
        "row": solo,
        "column": solo,
        "payoff": [[1]],
        "firms": {"firm1": solo},
        "costs": [1],
        "task": "cola",
        "regressor": player,
    }
    return {key: examples[key] for key, field in model.model_fields.items() if field.is_required() and key != "name"}


@pytest.mark.parametrize(("k", "name"), ALL)
def test_what_is_read_from_source_is_what_python_sees(k, name):
    path = kind(k).parts[name]
    read = read_signature(path, markers(k))
    real = [p for p in inspect.signature(imported(path)).parameters.values() if p.kind is not p.VAR_KEYWORD]
    assert [p.name for p in read.parameters] == [p.name for p in real]
    assert [p.default for p in read.parameters] == [REQUIRED if p.default is p.empty else p.default for p in real]


@pytest.mark.parametrize(("k", "name"), ALL)
def test_the_defaults_of_every_part_are_valid_and_plain(k, name):
    model = parts.part_model(k, name)
    part = TypeAdapter(parts.model(k)).validate_python({"name": name, **required(model)})
    plain = parts.plain(part)
    assert set(plain) == {"name", *parts.part_arguments(part), *part.part_beside}
    assert TypeAdapter(parts.model(k)).validate_python(plain) == part


@pytest.mark.parametrize(("k", "name"), OURS)
def test_every_argument_of_our_own_parts_is_a_key_with_a_description(k, name):
    given = (*kind(k).supplied, *kind(k).reserved)
    arguments = [a for a in inspect.signature(imported(kind(k).parts[name])).parameters if a not in given]
    fields = parts.part_model(k, name).model_fields
    beside = [p.name for p in kind(k).beside(read_signature(kind(k).parts[name]))]
    assert list(fields) == ["name", *arguments, *beside]
    assert [key for key in arguments if not fields[key].description] == []


@pytest.mark.parametrize("k", ["outer", "sharpness", "constraint", "loss", "penalty", "data", "augmentation", "toy"])
def test_every_part_that_needs_nothing_can_be_built(k):
    for name, path in kind(k).parts.items():
        if not {"root", "path", "train"} & parts.part_model(k, name).model_fields.keys():  # those need files
            assert type(parts.build(k, name)) is imported(path)


@pytest.mark.parametrize("k", ["generator", "discriminator", "classifier", "perturber"])
def test_every_network_can_be_built_from_the_spec_of_the_data(k):
    spec = DataSpec((3, 32, 32), 10)
    with torch.device("meta"):
        for name, path in kind(k).parts.items():
            if not required(parts.part_model(k, name)):
                assert type(parts.build(k, name, spec)) is imported(path)
    blocks = parts.build("classifier", {"name": "densenet", "blocks": [2, 2], "growth": 4}, spec)
    assert blocks(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", kind("optimizer").parts)
def test_every_optimizer_can_be_built_and_stepped(name):
    start = torch.tensor([[0.2, 0.8], [0.5, 0.5]])  # rows that mirror moves too
    p = torch.nn.Parameter(start.clone())
    optimizer = parts.build("optimizer", {"name": name, "lr": 1}, [p])
    assert type(optimizer) is imported(kind("optimizer").parts[name])
    assert optimizer.param_groups[0]["lr"] == 1.0 and isinstance(optimizer.param_groups[0]["lr"], float)
    p.grad = torch.tensor([[0.5, 0.25], [0.5, 0.5]])
    optimizer.step()
    assert not torch.equal(p.detach(), start)


@pytest.mark.parametrize("name", kind("scheduler").parts)
def test_every_scheduler_can_be_built_over_sgd(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    spec = {"name": name, **required(parts.part_model("scheduler", name))}
    if name == "onecyclelr":
        spec["total_steps"] = 10
    scheduler = parts.build("scheduler", spec, optimizer)
    assert scheduler.optimizer is optimizer


LEFT_OUT = {"optimizer", "lbfgs", "sparseadam"}


def test_the_optimizers_are_those_of_torch_that_a_move_can_step():
    classes = {
        n.lower() for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)
    }
    assert set(kind("optimizer").parts) == classes - {"optimizer", "lbfgs", "sparseadam"} | {
        "mirror",
        "optimistic_adam",
    }


def test_a_warm_up_before_a_decay():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    warm = {"name": "linearlr", "start_factor": 0.5, "total_iters": 2}
    decay = {"name": "exponentiallr", "gamma": 0.1}
    scheduler = parts.build(
        "scheduler", {"name": "sequentiallr", "schedulers": [warm, decay], "milestones": [2]}, optimizer
    )
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(4):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 0.75, 1.0, 0.1, 0.01])


def test_nested_parts_are_built_first():
    loop = parts.build("outer", {"name": "lookahead", "base": {"name": "lookahead", "base": "extragradient"}})
    assert [type(x).__name__ for x in (loop, loop.base, loop.base.base)] == ["Lookahead", "Lookahead", "Extragradient"]


def test_objects_and_none_pass_through_also_as_nested_parts():
    import gantrain as gt

    loop = gt.outer.GDA()
    assert parts.build("outer", loop) is loop
    assert parts.build("outer", {"name": "lookahead", "base": loop}).base is loop
    assert parts.build("sharpness", None) is None


def test_betas_of_whole_numbers_become_what_adam_wants():
    optimizer = parts.build("optimizer", {"name": "adam", "betas": [0, 0.9]}, [torch.nn.Parameter(torch.ones(1))])
    assert optimizer.defaults["betas"] == (0.0, 0.9)
    assert all(type(b) is float for b in optimizer.defaults["betas"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rap", r"outer: unknown outer loop 'rap'; expected one of gda, .*; did you mean 'rapp'\?"),
        ({"name": "Rapp"}, r"outer.name: unknown outer loop 'Rapp'.* did you mean 'rapp'\?"),
        (
            {"name": "rapp", "inner_step": 3},
            r"outer.inner_step: unknown key; expected .*; did you mean 'inner_steps'\?",
        ),
        ({"name": "rapp", "inner_steps": True}, "outer.inner_steps: expected a whole number of at least 1, got true"),
        ({"name": "rapp", "inner_steps": "3"}, "outer.inner_steps: expected a whole number of at least 1, got '3'"),
        ({"name": "rapp", "inner_steps": 2.5}, "outer.inner_steps: expected a whole number of at least 1, got 2.5"),
        ({"name": "rapp", "relaxation": 0}, "outer.relaxation: expected a number above 0, got 0"),
        ({"name": "rapp", "relaxation": float("nan")}, "outer.relaxation: expected a number above 0, got nan"),
        ({"name": "rapp", "relaxation": float("inf")}, "outer.relaxation: expected a number above 0, got inf"),
        ({"name": "rapp", "relaxation": 10**400}, "outer.relaxation: expected a number above 0, got 1000"),
        ({"name": "ceg_plus", "adaptive": 1}, "outer.adaptive: expected true or false, got 1"),
        (
            {"name": "gda", "order": "alternate"},
            r"outer.order: expected .* got 'alternate'; did you mean 'alternating'\?",
        ),
        ({"name": "lookahead", "base": {"name": "rapp", "tau": 3}}, "outer.base.tau: unknown key"),
        ({"relaxation": 1}, "outer: expected an outer loop .* by its name, or one of your own by its target"),
        (3, "outer: expected an outer loop .*, got 3"),
        ([], r"outer: expected an outer loop .*, got \[\]"),
        ({"target": "nowhere:X"}, "outer.target: cannot import 'nowhere' .*No module named 'nowhere'"),
        (
            {"target": "gantrain.outer:RAP"},
            r"outer.target: module 'gantrain.outer' has no class 'RAP'; did you mean 'RAPP'\?",
        ),
        ({"target": "gantrain.outer"}, "outer.target: expected package.module:Class, got 'gantrain.outer'"),
        ({"target": 3}, "outer.target: expected package.module:Class, got 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(spec, message):
    with pytest.raises(UserError, match=f"^{message}") as error:
        parts.build("outer", spec)
    assert "\n" not in str(error.value)


def test_a_validated_section_is_not_mistaken_for_an_object():
    with pytest.raises(UserError, match="expected a data set"):
        parts.build("data", parts.part_model("outer", "gda")(name="gda"))


def test_all_problems_are_said_at_once():
    with pytest.raises(UserError) as error:
        parts.build("outer", {"name": "rapp", "inner_steps": 0, "relaxation": "a", "foo": 1})
    assert len(str(error.value).splitlines()) == 3


USER = '''
from __future__ import annotations
from typing import TYPE_CHECKING
import torch
from torch import nn
from gantrain.outer import GDA
if TYPE_CHECKING:
    from gantrain.config.types import PositiveInt

class Critic(nn.Module):
    """A critic.

    Args:
        spec: the data.
        width: how wide.
    """
    def __init__(self, spec, width: PositiveInt = 4, scale=1.0, shape: tuple[int, int] = (1, 2)):
        super().__init__()
        self.args = (spec, width, scale, shape)

class Wide(nn.Module):
    def __init__(self, width: int): pass

class Eager(torch.optim.SGD):
    def __init__(self, lr=0.1): pass

class Every(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, every: PositiveInt = 1): pass

class Named(torch.optim.SGD):
    def __init__(self, params, name: str = ""): pass

class Empty(nn.Module):
    def __init__(self): pass

class Wrapped(GDA):
    def __init__(self, inner: Outer | None = None, *, needed: str):
        self.inner, self.needed = inner, needed
'''


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "users_own.py").write_text(USER)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("users_own", None)
    parts.target_model.cache_clear()


def test_a_users_part_is_checked_and_built_like_ours(user_module):
    critic = parts.build(
        "discriminator", {"target": "users_own:Critic", "width": 1e1, "scale": 2, "shape": [3, 4]}, "data"
    )
    assert critic.args == ("data", 10, 2.0, (3, 4))
    with pytest.raises(UserError, match=r"^discriminator.widht: unknown key; .* did you mean 'width'\?$"):
        parts.build("discriminator", {"target": "users_own:Critic", "widht": 3}, "data")
    with pytest.raises(UserError, match="discriminator.width: expected a whole number of at least 1, got 0"):
        parts.build("discriminator", {"target": "users_own:Critic", "width": 0}, "data")
    with pytest.raises(UserError, match="discriminator.target: users_own:Empty must take spec as its first argument"):
        parts.build("discriminator", {"target": "users_own:Empty"}, "data")
    for k, target, found in (
        ("discriminator", "Wide", "must take spec as its first argument, .* its first is width$"),
        ("optimizer", "Eager", "must take params as its first argument, .* its first is lr$"),
        ("scheduler", "Every", "must take optimizer as its first argument, .* its first is every$"),
        ("optimizer", "Named", "has an argument called name, by which configs choose parts; call it otherwise$"),
    ):
        with pytest.raises(UserError, match=f"^{k}.target: users_own:{target} {found}"):
            parts.build(k, {"target": f"users_own:{target}"})
    assert parts.target_model("discriminator", "users_own:Critic").model_fields["width"].description == "how wide."


def test_a_users_part_may_nest_ours_and_must_be_given_what_it_needs(user_module):
    built = parts.build("outer", {"target": "users_own:Wrapped", "inner": "rapp", "needed": "x"})
    assert type(built.inner).__name__ == "RAPP"
    with pytest.raises(UserError, match="^outer.needed: is missing$"):
        parts.build("outer", {"target": "users_own:Wrapped"})


def test_an_argument_called_target_belongs_to_the_named_part():
    assert parts.build("penalty", {"name": "wgan_gp", "target": 0}).target == 0.0


def test_reading_signatures_imports_no_torch():
    code = (
        "import sys; from gantrain.config import parts; from gantrain.config.registry import KINDS, kind\n"
        "[parts.part_model(k, n).model_json_schema() for k in KINDS for n in kind(k).parts]\n"
        "sys.exit('torch' in sys.modules or 'gantrain.outer' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=SECONDS).returncode == 0


@pytest.mark.parametrize("value", [True, 2, "3", 3.5, None, [3]])
def test_a_choice_of_numbers_takes_no_other_value(value):
    with pytest.raises(UserError, match=r"^data.channels: expected 1, 3 or 4, got "):
        parts.build("data", {"name": "image_folder", "path": "images", "channels": value})
    model = parts.part_model("data", "image_folder")
    taken = model.model_validate({"name": "image_folder", "path": "images", "channels": 3.0}).channels
    assert taken == 3 and type(taken) is int
    assert model.model_json_schema()["properties"]["channels"]["enum"] == [1, 3, 4]


def test_numbers_are_taken_at_their_word():
    class Values(BaseModel):
        i: types.Int = 0
        p: types.PositiveInt = 1
        n: types.NonNegativeInt = 0
        f: types.Float = 0.0
        nf: types.NonNegativeFloat = 0.0
        q: types.Fraction = 0.0

    good = Values(i=-1e3, p=1e3, n=0.0, f=1, nf=0, q=1)
    assert good.model_dump() == {"i": -1000, "p": 1000, "n": 0, "f": 1.0, "nf": 0.0, "q": 1.0}
    assert {k: type(v) for k, v in good} == {"i": int, "p": int, "n": int, "f": float, "nf": float, "q": float}
    bad = {"i": (True, "1", 1.5, None), "p": (0,), "n": (-1,), "f": (False, "1e-3"), "nf": (-1e-9,), "q": (1.1, -0.1)}
    for key, values in bad.items():
        for value in values:
            with pytest.raises(ValidationError):
                Values(**{key: value})


def test_argument_docs_join_lines_and_stop_at_the_next_section():
    doc = "One.\n\nArgs:\n    a (int, optional): first\n        line.\n    b: second.\n\nRaises:\n    c: no.\n"
    assert argument_docs(doc) == {"a": "first line.", "b": "second."}


def test_markers_within_real_annotations_are_parts():
    def make(penalties=(), pair=()):
        return penalties, pair

    make.__annotations__ = {"penalties": Sequence[Penalty], "pair": tuple[Loss, ...]}
    read = {p.name: p.annotation for p in inspect_signature(make, markers("game")).parameters}
    for name, kind_of_part, spec in (("penalties", "penalty", "r1"), ("pair", "loss", "hinge")):
        (part,) = TypeAdapter(understood(read[name])).validate_python([spec])
        assert part.part_kind == kind_of_part and part.name == spec


def test_a_size_is_a_number_or_a_height_and_a_width():
    size = TypeAdapter(types.ImageSize)
    assert size.validate_python(32.0) == 32 and size.validate_python([32, 48]) == (32, 48)
    for wrong in ([32], [32, 48, 3], [32, 0], 0, "32", True):
        with pytest.raises(ValueError, match=r"of at least 1, or two of them, \[height, width\], got"):
            size.validate_python(wrong)
