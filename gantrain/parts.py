"""Parts by name: what can be chosen in a config, and how it is built.

A part's YAML keys are its constructor's arguments. A part is written ``name``, ``{name: ..., key: ...}``, or, for one
of the user's own, ``{target: package.module:Class, key: ...}``.
"""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Any, ForwardRef, Literal, Optional, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from gantrain import types
from gantrain.errors import UserError
from gantrain.explain import explained
from gantrain.signatures import REQUIRED, UNREADABLE, Signature, classes, imported_signature, read_signature

REGISTRY: dict[str, dict[str, str]] = {
    "outer": {
        "gda": "gantrain.outer.gda:GDA",
        "extragradient": "gantrain.outer.rapp:Extragradient",
        "extragradient_plus": "gantrain.outer.rapp:ExtragradientPlus",
        "optimistic": "gantrain.outer.optimistic:Optimistic",
        "rapp": "gantrain.outer.rapp:RAPP",
        "lookahead": "gantrain.outer.lookahead:Lookahead",
        "ceg_plus": "gantrain.outer.ceg_plus:CEGPlus",
    },
    "sharpness": {"sam": "gantrain.sharpness.sam:SAM", "sampa": "gantrain.sharpness.sampa:SAMPa"},
    "constraint": {
        "box": "gantrain.constraints:Box",
        "l2_ball": "gantrain.constraints:L2Ball",
        "simplex": "gantrain.constraints:Simplex",
        "l1": "gantrain.constraints:L1",
    },
    "loss": {
        "minimax": "gantrain.losses:Minimax",
        "non_saturating": "gantrain.losses:NonSaturating",
        "hinge": "gantrain.losses:Hinge",
        "wasserstein": "gantrain.losses:Wasserstein",
        "least_squares": "gantrain.losses:LeastSquares",
        "relativistic": "gantrain.losses:Relativistic",
    },
    "penalty": {
        "wgan_gp": "gantrain.penalties:WGANGP",
        "r1": "gantrain.penalties:R1",
        "r2": "gantrain.penalties:R2",
    },
    "generator": {"conv": "gantrain.models.conv:ConvGenerator", "mlp": "gantrain.models.mlp:MLPGenerator"},
    "discriminator": {"conv": "gantrain.models.conv:ConvDiscriminator", "mlp": "gantrain.models.mlp:MLPDiscriminator"},
    "data": {"digits": "gantrain.data.digits:Digits", "gaussian_ring": "gantrain.data.gaussian_ring:GaussianRing"},
    "toy": {
        "bilinear": "gantrain.games.toy:Bilinear",
        "quadratic": "gantrain.games.toy:Quadratic",
        "forsaken": "gantrain.games.toy:Forsaken",
        "global_forsaken": "gantrain.games.toy:GlobalForsaken",
        "polar_game": "gantrain.games.toy:PolarGame",
    },
}
KINDS = (*REGISTRY, "optimizer", "scheduler")

# How many leading arguments the framework supplies: parameters, an optimizer, the shape of the data.
SUPPLIED = {"optimizer": 1, "scheduler": 1, "generator": 1, "discriminator": 1}
# Constructor annotations that stand for a part.
NESTED = {"Outer": "outer"}
# Schedulers that need a function or a metric, which YAML cannot give.
NO_YAML = {"LambdaLR", "MultiplicativeLR", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler", "LRScheduler"}


@lru_cache(maxsize=None)
def names(kind: str) -> dict[str, str]:
    """The built-in parts of a kind: name -> ``"module:Class"``."""
    if kind == "optimizer":
        return _torch_names("torch.optim", lambda c: "Optimizer" in _bases(c) or c.name in ("AdamW",))
    if kind == "scheduler":
        return _torch_names("torch.optim.lr_scheduler", lambda c: "LRScheduler" in _bases(c) and c.name not in NO_YAML)
    return REGISTRY[kind]


class PartConfig(BaseModel):
    """A part's configuration: its name, and its constructor's arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class TargetConfig(PartConfig):
    """A part of the user's own: ``target: package.module:Class``, and its constructor's arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")
    target: str


@lru_cache(maxsize=None)
def model(kind: str, name: str) -> type[PartConfig]:
    """The pydantic model of one built-in part.

    Raises:
        LookupError: its class cannot be found.
    """
    return _model(kind, f"{kind}_{name}", read_signature(names(kind)[name]), name=(Literal[name], name))


@lru_cache(maxsize=None)
def part(kind: str) -> Any:
    """The annotated union of all parts of a kind, for use as the type of a pydantic field."""
    members = [Annotated[model(kind, name), Tag(name)] for name in names(kind)]
    own = Annotated[TargetConfig, BeforeValidator(_target_validator(kind)), Tag("target")]
    union = Annotated[Union[(*members, own)], Discriminator(_tag)]  # noqa: UP007 - a union of a computed list
    whole = Annotated[union, BeforeValidator(_expand), Field(title=kind)]
    for name in names(kind):
        model(kind, name).model_rebuild(_types_namespace={"Nested": whole})
    return whole


def validate(kind: str, spec: Any, key: str | None = None) -> PartConfig:
    """The validated form of a part's specification; ``key`` is where it stands, for the error.

    Raises:
        UserError: an unknown name or key, a wrong type or an impossible value.
    """
    try:
        return _adapter(kind).validate_python(spec)
    except ValidationError as error:
        raise UserError("\n".join(explained(error, spec, key or kind, lambda _: kind))) from None


def build(kind: str, spec: Any, *supplied: Any) -> Any:
    """The object that ``spec`` describes, its nested parts built first.

    Args:
        kind: what it is: one of ``KINDS``.
        spec: a name, a mapping, a validated model, None (which returns None) or an object, returned as it is.
        supplied: the leading arguments that do not come from the config.

    Raises:
        UserError: see :func:`validate`; or the part refuses its values.
    """
    if spec is None or not isinstance(spec, (str, Mapping, PartConfig)):
        return spec
    config = spec if isinstance(spec, PartConfig) else validate(kind, spec)
    target = config.target if isinstance(config, TargetConfig) else names(kind)[config.name]
    arguments = {key: value for key, value in config if key not in ("name", "target") and value is not UNREADABLE}
    for key, value in arguments.items():
        if isinstance(value, PartConfig):
            arguments[key] = build(kind, value)
    return _import(target)(*supplied, **arguments)


@lru_cache(maxsize=None)
def _adapter(kind: str) -> TypeAdapter:
    return TypeAdapter(part(kind))


def _expand(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, (Mapping, PartConfig)):
        raise PydanticCustomError("type", "expected a name, or a mapping with a name")
    return value


def _tag(value: Any) -> str | None:
    if isinstance(value, PartConfig):
        return "target" if isinstance(value, TargetConfig) else value.name
    return "target" if "target" in value else value.get("name")


def _model(kind: str, title: str, signature: Signature, **first: Any) -> type[PartConfig]:
    fields = dict(first)
    for argument in signature.arguments[SUPPLIED.get(kind, 0) :]:
        annotation = _annotation(argument.annotation, argument.default)
        default = ... if argument.default is REQUIRED else argument.default
        fields[argument.name] = (annotation, Field(default, description=argument.description or None))
    created = create_model(title, __base__=PartConfig, __doc__=signature.summary, **fields)
    return created


def _annotation(node: ast.expr | None, default: Any) -> Any:
    """The pydantic type for an annotation, or, where it says nothing to YAML, for the default."""
    converted = None if node is None else _convert(node)
    if converted is None:
        kinds = {bool: types.Bool, int: types.Int, float: types.Float, str: types.Text}
        converted = kinds.get(type(default), Any)
    return Optional[converted] if default is None else converted  # noqa: UP045 - of a computed type


def _convert(node: ast.expr) -> Any:
    """The pydantic type of an annotation expression, None where it means nothing to YAML."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            return type(None)
        return _convert(ast.parse(node.value, mode="eval").body) if isinstance(node.value, str) else None
    if isinstance(node, ast.Attribute):
        return _convert(ast.Name(node.attr))
    if isinstance(node, ast.Name):
        plain = {"int": types.Int, "float": types.Float, "bool": types.Bool, "str": types.Text, "Any": Any}
        if node.id in NESTED:
            return ForwardRef("Nested")
        return plain.get(node.id) or getattr(types, node.id, None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_convert(node.left), _convert(node.right)])
    if isinstance(node, ast.Subscript):
        return _convert_generic(node)
    return None


def _convert_generic(node: ast.Subscript) -> Any:
    origin = getattr(node.value, "id", getattr(node.value, "attr", ""))
    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if origin == "Literal":
        return Literal[tuple(ast.literal_eval(i) for i in inner)]
    if origin in ("Union", "Optional"):
        return _union([_convert(i) for i in inner] + ([type(None)] if origin == "Optional" else []))
    if origin in ("tuple", "Tuple", "list", "List"):
        endless = len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is ...
        members = [_convert(i) for i in inner[: 1 if endless else None]]
        if any(m is None for m in members):
            return None
        if origin.lower() == "list":
            return list[members[0]]
        return tuple[(*members, ...)] if endless else tuple[tuple(members)]
    return None


def _union(members: Iterable[Any]) -> Any:
    known = list(dict.fromkeys(m for m in members if m is not None))
    # A number or a Tensor is a number to YAML.
    return Union[tuple(known)] if known and known != [type(None)] else None  # noqa: UP007 - of a computed list


def _target_validator(kind: str) -> Any:
    def validated(value: Any) -> Any:
        if isinstance(value, TargetConfig):
            return value
        rest = {key: v for key, v in value.items() if key != "target"}
        try:
            signature = imported_signature(_import(value["target"]))
        except UserError as error:
            raise PydanticCustomError("target", "{line}", {"line": str(error)}) from None
        checked = _model(kind, "target", signature).model_validate(rest)
        return {"target": value["target"], **dict(checked)}

    return validated


def _import(target: Any) -> type:
    if not isinstance(target, str) or target.count(":") != 1:
        raise UserError(f"expected package.module:Class, got {target!r}")
    module, _, name = target.partition(":")
    if os.getcwd() not in sys.path:  # the console script does not look where the user is
        sys.path.append(os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UserError(f"{module} does not import: {error}") from error
    except AttributeError:
        raise UserError(f"{module} has no class {name}") from None
    if not isinstance(found, type):
        raise UserError(f"{target} is not a class")
    return found


def _torch_names(package: str, wanted: Any) -> dict[str, str]:
    """The public classes that a module of torch, or the modules of a package of it, define."""
    from gantrain.signatures import module_path

    path = module_path(package)
    modules = [package]
    if path.name == "__init__.py":
        modules = [f"{package}.{p.stem}" for p in sorted(path.parent.glob("[a-z]*.py"))]
    found = {
        c.name.lower(): f"{module}:{c.name}"
        for module in modules
        if not module.endswith(("lr_scheduler", "swa_utils", "optimizer")) or len(modules) == 1
        for c in classes(module).values()
        if not c.name.startswith("_") and wanted(c)
    }
    return found


def _bases(node: ast.ClassDef) -> set[str]:
    return {getattr(b, "id", getattr(b, "attr", "")) for b in node.bases}


