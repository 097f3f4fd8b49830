"""Parts: a config chooses them by name; they are checked against their constructors, and built.

A part is written as a bare ``name``, as ``{name: ..., keys}``, or as ``{target: package.module:Class, keys}`` if the
class is the user's own. The keys are the constructor's arguments.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import core_schema

from gantrain.config.base import Schema, extended, lines, nearest, one_of, problem, problem_at
from gantrain.config.initial import Init
from gantrain.config.registry import kind as kind_of
from gantrain.config.schedules import Schedule, Scheduled, ended, with_schedules
from gantrain.config.signatures import (
    REQUIRED,
    Parameter,
    Signature,
    inspect_signature,
    read_attribute,
    read_signature,
    understood,
)
from gantrain.config.targets import find_target, made_by
from gantrain.config.types import Number, Text, Written, shown
from gantrain.config.user_code import UserCode
from gantrain.errors import UserError


class Part(Schema):
    """A validated part: its name or target, and a value for every argument of its constructor.

    A part has no other public attributes, since an argument may have any name. The class attributes name the kind of
    the part, the path of its class, and the keys that stand beside the constructor's arguments.
    """

    part_kind: ClassVar[str]
    part_class: ClassVar[str]
    part_beside: ClassVar[tuple[str, ...]]


class PartOf:
    """Marks a value that is a part of a kind: ``Annotated[Any, PartOf("outer")]``."""

    def __init__(self, kind: str):
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: validate(self.kind, value),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: plain(value)),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {"$part": self.kind}


class PartOver(PartOf):
    """Marks a part that may be written as the keys in which it differs from another part of the same kind."""

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        changes = {"type": "object", "properties": {"name": False, "target": False}}
        return {"anyOf": [{"$part": self.kind}, changes]}


class NameOrPart(PartOf):
    """Marks a value that is the name of a registered part, and stays so, or a part with keys, or of the user's own."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        part = super().__get_pydantic_core_schema__(source, handler)
        return core_schema.no_info_after_validator_function(
            self._named, part, serialization=core_schema.plain_serializer_function_ser_schema(plain)
        )

    @staticmethod
    def _named(part: Any) -> Any:
        if not isinstance(part, Part) or "name" not in type(part).model_fields:
            return part
        name, *keys = type(part).model_fields
        plain_name = all(getattr(part, key) == type(part).model_fields[key].default for key in keys)
        return getattr(part, name) if plain_name else part


class PerPlayer(PartOf):
    """Marks a value that is a part for all players, or a mapping from player to part."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        part = super().__get_pydantic_core_schema__(source, handler)
        players = core_schema.dict_schema(core_schema.str_schema(), core_schema.nullable_schema(part))
        return core_schema.tagged_union_schema({"part": part, "players": players}, self._alternative)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        players = {"type": "object", "additionalProperties": {"$part": self.kind}, "properties": {"name": False}}
        return {"anyOf": [{"$part": self.kind}, players]}

    @staticmethod
    def _alternative(value: Any) -> str:
        by_player = isinstance(value, Mapping) and value and not {"name", "target"} & value.keys()
        return "players" if by_player else "part"


class PlayerSection(Schema):
    """A player: its network and the way in which the network learns."""

    model: Any
    """The network of the player."""
    optimizer: Annotated[Any, PartOf("optimizer")]
    """The optimizer: any of torch.optim by its lower-case name, with its own keys."""
    scheduler: Annotated[Any, PartOf("scheduler")] | None = None
    """The learning-rate scheduler: any of torch.optim.lr_scheduler by its lower-case name. It takes a step after each
    training step. Default none."""
    sharpness: Annotated[Any, PartOf("sharpness")] | None = None
    """A sharpness-aware gradient; null (the default) takes the plain gradient."""
    constraint: Annotated[Any, PartOf("constraint")] | None = None
    """A set or a penalty on all of the player's parameters, applied after each move. Default none."""
    clip: Annotated[float, Scheduled(Number(above=0))] | None = None
    """The largest norm of the player's gradient, all parameters together; a longer one is scaled down to it. It is
    clipped as the optimizer would see it: averaged over the processes, after the sharpness-aware gradient. Null (the
    default) clips nothing."""
    init: Init | None = None
    """The run whose weights the network begins with. Tensors of other names or shapes keep the values that the seed
    gives them. Null (the default): all values come from the seed."""
    freeze: tuple[Text, ...] = ()
    """The parameters that never change: names of parameters or of modules of the network, with * and ? as in names of
    files, such as blocks.0 or blocks.[01].*. Default none."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        return {**value, "freeze": [value["freeze"]]} if _is_text(value, "freeze") else value


def _is_text(section: Any, key: str) -> bool:
    return isinstance(section, Mapping) and isinstance(section.get(key), str)


@functools.cache
def player_section(kind: str) -> type[PlayerSection]:
    """The section of a player whose network is a part of ``kind``."""
    default = kind_of(kind).default
    meaning = f"The {'strategy' if kind == 'strategy' else 'network'} of the player."
    described = Field(description=meaning) if default is None else Field(default, description=meaning)
    network: Any = (Annotated[Any, PartOf(kind)], described)
    return extended(PlayerSection, f"{kind.title()}Player", PlayerSection.__doc__, {"model": network})


class Plays:
    """Marks an argument of a game that is the network of a player. In the config the player's section stands for it."""

    def __init__(self, kind: str):
        self.kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return handler.generate_schema(player_section(self.kind))


class PlaysMany(Plays):
    """Marks an argument of a game that maps any number of names to the networks of the players of these names.

    Validated, it is a mapping from each player's name to the player's section. What a config may write instead is
    written out before, see :mod:`gantrain.config.groups`.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.dict_schema(core_schema.str_schema(), super().__get_pydantic_core_schema__(source, handler))

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        section = schema["additionalProperties"]
        return {**schema, "properties": handler.resolve_ref_schema(section)["properties"]}


# An argument that is annotated with one of these classes, or one derived from it, is a part of the kind in a config.
_PARTS = {
    interface: Annotated[Any, PartOf(kind)]
    for interface, kind in {
        "Outer": "outer",
        "Oracle": "sharpness",
        "Resolvent": "constraint",
        "Loss": "loss",
        "Penalty": "penalty",
        "Augmentation": "augmentation",
        "DataSet": "data",
        "LRScheduler": "scheduler",
        "Optimizer": "optimizer",
    }.items()
}
# An argument of a game that is annotated with one of these classes is a player's section in a config.
_PLAYERS = {
    interface: Annotated[Any, Plays(kind)]
    for interface, kind in {
        "Generator": "generator",
        "Discriminator": "discriminator",
        "Classifier": "classifier",
        "Perturber": "perturber",
        "Strategy": "strategy",
        "Module": "network",
    }.items()
}


def markers(kind: str) -> dict[str, Any]:
    """What the names of classes stand for in the annotations of a part of ``kind``."""
    return _PARTS | (_PLAYERS if kind == "game" else {})


# Values of these types describe a part, or are mistakes. A value of any other type is a part that is built already.
_NO_OBJECT = (str, bytes, Mapping, Schema, list, tuple, set, int, float, complex, type)


def model(kind: str) -> Any:
    """The type of the parts of a kind, for a field of a pydantic model."""
    return Annotated[Any, PartOf(kind)]


def build(
    kind: str, spec: Any, *supplied: Any, given: Mapping[str, Any] = MappingProxyType({}), key: str | None = None
) -> Any:
    """The object that ``spec`` describes.

    Args:
        kind: the kind of the part, such as "outer".
        spec: a name, a mapping or a validated part. None gives None, and an object that is built already is returned
            as it is.
        supplied: the constructor's first arguments, which the framework gives.
        given: arguments by name, which the framework gives in place of those in ``spec``.
        key: the key of the part in a config, for messages; by default its kind.

    Raises:
        UserError: the spec is wrong; one line for each problem. A constructor of the user's own raises an error.
    """
    part = checked(kind, spec)
    built = _built(part, kind, key or kind, supplied, given)
    return built if built is None or isinstance(part, Part) else _finished(kind, built, {})


def checked(kind: str, spec: Any) -> Any:
    """The validated part that ``spec`` describes; None and an object that is built already stay as they are.

    Raises:
        UserError: the spec is wrong; one line for each problem.
    """
    if spec is None or not isinstance(spec, _NO_OBJECT):
        return spec
    try:
        return _adapter(kind).validate_python(spec)
    except ValidationError as error:
        found = lines(error, spec)
        raise UserError("\n".join(f"{kind}{f'.{key}' if key else ''}: {what}" for key, what in found)) from None


@functools.cache
def part_model(kind: str, name: str) -> type[Part]:
    """The pydantic model of a registered part.

    Raises:
        KeyError: no part of that name is registered.
    """
    path = kind_of(kind).parts[name]
    signature = read_signature(path, markers(kind))
    fields = {}
    for p in signature.parameters[len(kind_of(kind).supplied) :]:
        accepted = _accepted(kind, p)
        if p.name in kind_of(kind).reserved:
            continue
        if accepted is not None:
            fields[p.name] = (accepted, _field(p))
        elif p.default is REQUIRED:
            raise TypeError(f"{path}: YAML cannot give the argument {p.name}")
    return _create(
        kind, path, {"name": (Literal[name], Field(description=f"The {kind_of(kind).title}."))}, fields, signature
    )


@functools.cache
def target_model(kind: str, target: str) -> type[Part]:
    """The pydantic model of a user's part. The function imports the part's module.

    Raises:
        ValidationError: the target is no class of the kind, as in :func:`~gantrain.config.targets.find_target`, or does
            not take the supplied arguments.
    """
    cls = find_target(kind, target)
    supplied = kind_of(kind).supplied
    try:
        signature = inspect_signature(cls, markers(kind))
    except (TypeError, ValueError):
        raise problem_at(("target",), f"{target} has no signature that can be read", target) from None
    for p, (name, what) in itertools.zip_longest(signature.parameters[: len(supplied)], supplied.items()):
        # What YAML can give is a key that stands where the supplied argument belongs.
        if p is None or _is_key(p):
            found = "it has none" if p is None else f"its first is {p.name}"
            message = f"{target} must take {name} as its first argument, which gantrain supplies ({what}); {found}"
            raise problem_at(("target",), message, target)
    for p in signature.parameters[len(supplied) :]:
        if p.name in ("name", "target"):
            message = f"{target} has an argument called {p.name}, by which configs choose parts; call it otherwise"
            raise problem_at(("target",), message, target)
    fields = {
        p.name: (Any if (accepted := _accepted(kind, p)) is None else accepted, _field(p))
        for p in signature.parameters[len(supplied) :]
        # YAML cannot give what stands where a function is the default.
        if p.name not in kind_of(kind).reserved and (p.default is REQUIRED or not callable(p.default))
    }
    return _create(
        kind,
        target,
        {"target": (Literal[target], Field(description=f"The {kind_of(kind).title}: package.module:Class."))},
        fields,
        signature,
    )


def validate(kind: str, value: Any) -> Any:
    """The validated part that ``value`` describes; pydantic calls this.

    Raises:
        ValidationError, PydanticCustomError: the value does not describe a part of the kind.
    """
    about = kind_of(kind)
    known = f" ({one_of(about.parts)})" if about.parts else ", as {target: package.module:Class}"
    expected = f"expected {'an' if about.title[0] in 'aeiou' else 'a'} {about.title}{known}"
    if isinstance(value, Part) and value.part_kind == kind:
        return value
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        if value is None or isinstance(value, _NO_OBJECT):
            raise problem(f"{expected}, got {shown(value)}")
        return value  # an object that is built already, from Python
    if about.default is not None and not {"name", "target"} & value.keys():
        value = {"name": about.default, **value}
    if "target" in value and "name" not in value:
        if not isinstance(value["target"], str):
            raise problem_at(("target",), f"expected package.module:Class, got {shown(value['target'])}")
        return target_model(kind, value["target"]).model_validate(dict(value))
    if "name" not in value:
        by = " by its name, or one of your own by its target" if about.parts else ""
        raise problem(f"{expected}{by}")
    name = value["name"]
    if not isinstance(name, str) or name not in about.parts:
        wanted = f"expected {one_of(about.parts)}{nearest(name, about.parts)}" if about.parts else expected
        own = f"; one of your own is {{target: {shown(name)}}}" if about.parts and ":" in str(name) else ""
        message = f"unknown {about.title} {shown(name)}; {wanted}{own}"
        raise problem_at(("name",), message, name)
    return part_model(kind, name).model_validate(dict(value))


def part_name(part: Part) -> str:
    """The part's name, or its target."""
    return str(getattr(part, next(iter(type(part).model_fields))))


def part_arguments(part: Part) -> dict[str, Any]:
    """The constructor's arguments by name, without those that the framework supplies. Nested parts are validated."""
    _, *keys = type(part).model_fields
    return {key: getattr(part, key) for key in keys if key not in part.part_beside}


def game_players(game: Part) -> dict[str, PlayerSection]:
    """The sections of a game's players by name, in the order of the constructor's arguments."""
    return {name: section for players in player_arguments(game).values() for name, section in players.items()}


def player_arguments(game: Part) -> dict[str, dict[str, PlayerSection]]:
    """The sections of a game's players by name, for each argument of the constructor that stands for players.

    An argument for one player holds its section under the argument's own name.
    """
    found: dict[str, dict[str, PlayerSection]] = {}
    for key, value in part_arguments(game).items():
        if isinstance(value, PlayerSection):
            found[key] = {key: value}
        elif isinstance(value, Mapping) and value and all(isinstance(v, PlayerSection) for v in value.values()):
            found[key] = dict(value)
    return found


def part_maker(part: Part) -> Any:
    """The class or the function that a validated part names. Its module is imported."""
    return find_target(part.part_kind, part.part_class)


def part_class(part: Part) -> Any:
    """The class of the object that a validated part describes, also where a function makes the object."""
    return made_by(part.part_kind, part_maker(part))


def path_model(kind: str, path: str) -> type[Part]:
    """The pydantic model of the part ``module:Class``: a registered one, or the user's own, whose module is imported.

    Raises:
        ValidationError: the user's class is no part of the kind.
    """
    name = next((name for name, known in kind_of(kind).parts.items() if known == path), None)
    return target_model(kind, path) if name is None else part_model(kind, name)


def class_attribute(kind: str, path: str, attribute: str) -> Any:
    """A class attribute of a part ``module:Class``, or None if the class has no such attribute.

    A registered class is not imported: the attribute is read from the source. The class of a target is imported.

    Raises:
        ValidationError: the target is no class of the kind.
    """
    if path in kind_of(kind).parts.values():
        return read_attribute(path, attribute)
    return getattr(made_by(kind, find_target(kind, path)), attribute, None)


def at_the_end(part: Part) -> Part:
    """The part with the last values of its own schedules; the same part if it has none."""
    own = part_arguments(part)
    last = {key: value for key in own if (value := ended(own[key])) is not own[key]}
    return part.model_copy(update=last) if last else part


def plain(value: Any) -> Any:
    """A validated part as plain data."""
    return value.model_dump(mode="json") if isinstance(value, Part) else value


def _is_key(parameter: Parameter) -> bool:
    """Whether the annotation or the default of an argument is a number, a word or a switch, which configs give."""
    kind, scalars = parameter.annotation, (bool, int, float, str)
    return (get_args(kind) or (kind,))[0] in scalars or isinstance(parameter.default, scalars)


def _accepted(kind: str, parameter: Parameter) -> Any:
    """The type that checks a YAML value for an argument, or None if YAML cannot give such a value."""
    accepted, schedules = understood(parameter.annotation, parameter.default), kind_of(kind).schedules
    if schedules is not None:
        accepted = with_schedules(accepted, schedules.get(parameter.name))
    marks = getattr(get_args(accepted)[1], "__metadata__", ()) if get_origin(accepted) is dict else ()
    return Annotated[Any, PlaysMany(marks[0].kind)] if marks and isinstance(marks[0], Plays) else accepted


def _field(parameter: Any) -> Any:
    default = ... if parameter.default is REQUIRED else parameter.default
    return Field(default, description=parameter.doc or None)


def _create(kind: str, path: str, chosen_by: dict, fields: dict, signature: Signature) -> type[Part]:
    beside = {p.name: (p.annotation, _field(p)) for p in kind_of(kind).beside(signature) if p.name not in fields}
    keys = {**chosen_by, **fields, **beside}
    created = extended(Part, path.partition(":")[2], signature.doc or None, keys)
    created.part_kind, created.part_class, created.part_beside = kind, path, tuple(beside)
    return created


@functools.cache
def _adapter(kind: str) -> TypeAdapter:
    return TypeAdapter(model(kind))


def _built(
    value: Any, kind: str, at: str, supplied: tuple[Any, ...], given: Mapping[str, Any] = MappingProxyType({})
) -> Any:
    """The object that a part describes, at a key of a config. Nested parts are built first; those of the same kind get
    the same ``supplied`` arguments."""
    if isinstance(value, Part):
        first = supplied if value.part_kind == kind else ()
        own = {key: argument for key, argument in part_arguments(value).items() if key not in given}
        arguments = {key: _built(argument, kind, f"{at}.{key}", first) for key, argument in own.items()}
        maker = part_maker(value)
        last = at_the_end(value)
        if last is not value and value.part_kind not in ("game", "optimizer"):
            _built(last, kind, at, supplied, given)  # which may refuse the last values
        with UserCode(at, maker):
            built = maker(*first, **arguments, **given)
        if not isinstance(built, part_class(value)):
            # A class makes its own; a function may return something else than it says.
            expected = part_class(value).__name__
            raise UserError(f"{at}: {part_name(value)} says that it returns a {expected}, got {shown(built)}")
        return _finished(value.part_kind, built, {key: getattr(value, key) for key in value.part_beside})
    if isinstance(value, dict):
        return {key: _built(v, kind, f"{at}.{key}", supplied) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_built(v, kind, f"{at}.{i}", supplied) for i, v in enumerate(value))
    if isinstance(value, Schedule):
        return value.at_key(at)
    return str(value) if isinstance(value, Written) else value


def _finished(kind: str, built: Any, beside: dict[str, Any]) -> Any:
    """The part that an object becomes; see :class:`~gantrain.config.registry.Kind`."""
    finish = kind_of(kind).finish
    if finish is None:
        return built
    module, _, name = finish.partition(":")
    return getattr(importlib.import_module(module), name)(built, **beside)
