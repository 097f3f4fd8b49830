"""Signatures of constructors, read from source code without an import, so that a config is checked without torch."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantrain.config import types as vocabulary

REQUIRED = inspect.Parameter.empty


class Unreadable(type):
    """The type of :class:`Foreign`, which lets an annotation such as ``torch.Tensor`` or ``Foo[int]`` be evaluated:
    attributes and subscripts of ``Foreign`` are ``Foreign`` again."""

    def __getitem__(cls, key: Any) -> type:
        return cls

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Foreign(metaclass=Unreadable):
    """Stands in an annotation for a type whose values YAML cannot give, such as ``Tensor``."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a constructor.

    Args:
        name: the name of the argument, which is also the YAML key.
        annotation: the type of the argument, as a runtime typing object; ``Foreign`` stands for types that YAML cannot
            give.
        default: the default of the argument; ``REQUIRED`` if it has none.
        doc: the entry of the argument in the docstring.
    """

    name: str
    annotation: Any
    default: Any = REQUIRED
    doc: str = ""


@dataclass(frozen=True)
class Signature:
    """A constructor: its arguments in order, and the first paragraph of the docstring of its class."""

    parameters: tuple[Parameter, ...]
    doc: str = ""


@dataclass(frozen=True)
class Source:
    """A parsed module: its classes, imported names (name -> module and name there) and constants."""

    name: str
    package: str
    tree: ast.Module
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)


class Names(dict):
    """The names that an annotation may use. Markers stand for nested parts; every unknown name is ``Foreign``."""

    def __init__(self, markers: Mapping[str, Any], scope: Mapping[str, Any] | None = None):
        super().__init__(
            {
                "Literal": typing.Literal,
                "Optional": typing.Optional,
                "Union": typing.Union,
                "Any": Any,
                "Callable": Callable,
                **{name: Sequence for name in ("Sequence", "Iterable", "Collection", "List")},
                **{name: dict for name in ("Mapping", "Dict")},
                "Tuple": tuple,
                **{name: value for name, value in vars(vocabulary).items() if typing.get_origin(value) is not None},
                **(scope or {}),
                **markers,
            }
        )
        self.markers = markers

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Foreign)


def read_signature(path: str, markers: Mapping[str, Any] | None = None) -> Signature:
    """The signature of the constructor of ``module:Class``, read from the module's source.

    An inherited constructor is read from the base class, if that lies in a module of the same package.

    Args:
        path: ``package.module:Class``.
        markers: the types that class names such as ``Outer`` stand for in annotations.

    Raises:
        LookupError: there is no such module or class.
    """
    module, _, name = path.partition(":")
    source, node = _find_class(module, name)
    doc, constructor, owner = ast.get_docstring(node) or "", None, source
    seen = [node]
    while constructor is None:
        constructor = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if constructor is None:
            found = _first_base(owner, node)
            if found is None:
                return Signature((), _summary(doc))
            owner, node = found
            seen.append(node)
    docs: dict[str, str] = {}
    for n in seen:
        docs = argument_docs(ast.get_docstring(n) or "") | docs
    names = Names(markers or {})
    arguments = constructor.args
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return Signature(
        tuple(
            Parameter(
                a.arg,
                _evaluated(a.annotation, names),
                REQUIRED if d is None else _default(d, owner.constants),
                docs.get(a.arg, ""),
            )
            for a, d in pairs
        ),
        _summary(doc),
    )


def read_attribute(path: str, attribute: str) -> Any:
    """The value of a class attribute of ``module:Class``, read from the module's source; None if there is none.

    Args:
        path: ``package.module:Class``.
        attribute: the attribute's name. Its value must be a literal. A base class in a module of the same package may
            define the attribute.

    Raises:
        LookupError: there is no such module or class.
    """
    module, _, name = path.partition(":")
    found: tuple[Source, ast.ClassDef] | None = _find_class(module, name)
    while found is not None:
        source, node = found
        for n in node.body:
            if isinstance(n, ast.AnnAssign | ast.Assign) and n.value is not None:
                target = n.target if isinstance(n, ast.AnnAssign) else n.targets[0]
                if isinstance(target, ast.Name) and target.id == attribute:
                    return ast.literal_eval(n.value)
        found = _first_base(source, node)
    return None


def inspect_signature(target: Callable[..., Any], markers: Mapping[str, Any] | None = None) -> Signature:
    """The signature of a class or a function that is already imported.

    Annotations are read in the module of the constructor, which a class may inherit from another module.
    """
    parameters = inspect.signature(target).parameters.values()
    doc = inspect.getdoc(target) or ""
    classes: Sequence[type] = target.__mro__ if isinstance(target, type) else ()
    at = next((i for i, c in enumerate(classes) if "__init__" in vars(c)), 0)
    docs = argument_docs(doc)
    for cls in classes[: at + 1]:
        docs = argument_docs(cls.__doc__ or "") | docs
    module = inspect.getmodule(target)
    constructor = inspect.unwrap(vars(classes[at]).get("__init__", target) if classes else target)
    scope = (vars(module) if module else {}) | getattr(constructor, "__globals__", {})
    names = Names(markers or {}, scope)
    return Signature(
        tuple(
            Parameter(p.name, _runtime(p.annotation, names), p.default, docs.get(p.name, ""))
            for p in parameters
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ),
        _summary(doc),
    )


def understood(annotation: Any, default: Any = REQUIRED) -> Any:
    """The type that checks a YAML value for an argument, or None if YAML cannot give such a value.

    If the annotation names no type that YAML can give, the type of the default is taken.
    """
    found = _understood(annotation)
    if found is None and default is not REQUIRED and default is not None:
        found = _understood(type(default)) if not isinstance(default, (list, tuple)) else _understood(list)
    return found


def _understood(annotation: Any) -> Any:
    scalars = {bool: vocabulary.Bool, int: vocabulary.Int, float: vocabulary.Float, str: vocabulary.Text}
    if annotation in (Any, dict) or annotation is type(None):
        return annotation
    if isinstance(annotation, type) and annotation in scalars:
        return scalars[annotation]
    if annotation in (list, tuple):
        return list[Any]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        members = [m for m in map(_understood, arguments) if m is not None]
        return typing.Union[tuple(members)] if set(members) - {type(None)} else None  # noqa: UP007 - built at run time
    if origin is typing.Literal and all(type(a) is int for a in arguments):
        return typing.Annotated[int, vocabulary.Choice(*arguments)]
    if origin is typing.Literal or origin is typing.Annotated:
        return annotation
    if origin in (dict, Mapping):
        member = _understood(arguments[1])
        return dict if member is None else dict.__class_getitem__((str, member))
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        members = [_understood(a) for a in arguments]
        return None if None in members else tuple.__class_getitem__(tuple(members))
    if origin in (list, tuple, Sequence, Iterable, Collection):
        member = _understood(arguments[0])
        return None if member is None else list.__class_getitem__(member)
    return None


def argument_docs(doc: str) -> dict[str, str]:
    """The entries of a docstring's ``Args:`` section by argument, each on one line."""
    docs: dict[str, str] = {}
    section = re.search(r"^[ ]*Args:\n(.*?)(?=^\S|\Z)", inspect.cleandoc(doc), re.M | re.S)
    if section is None:
        return docs
    name = None
    for line in inspect.cleandoc("\n" + section[1]).splitlines():
        entry = re.match(r"(\w+)(?: \([^)]*\))?:\s*(.*)", line)
        if entry:
            name = entry[1]
            docs[name] = entry[2]
        elif name and line.startswith(" "):
            docs[name] += f" {line.strip()}"
        elif line.strip():
            name = None
    return {name: text.strip() for name, text in docs.items()}


@functools.cache
def read_source(module: str) -> Source:
    """Parse a module without importing it or its package.

    Raises:
        LookupError: there is no such module.
    """
    root, *rest = module.split(".")
    spec = importlib.util.find_spec(root)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"no package {root}")
    path = Path(list(spec.submodule_search_locations)[0], *rest)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        raise LookupError(f"no module {module}")
    package = module if path.is_dir() else module.rpartition(".")[0]
    source = Source(module, package, ast.parse(file.read_text(encoding="utf-8")))
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef):
            source.classes[node.name] = node
        elif isinstance(node, ast.ImportFrom):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            source.imported.update({a.asname or a.name: (origin, a.name) for a in node.names})
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _default(node.value, source.constants)
            if value is not Foreign:
                source.constants[node.targets[0].id] = value
    return source


def _find_class(module: str, name: str) -> tuple[Source, ast.ClassDef]:
    source = read_source(module)
    if name in source.classes:
        return source, source.classes[name]
    origin, original = source.imported.get(name, ("", ""))
    if origin.split(".")[0] != module.split(".")[0]:
        raise LookupError(f"no class {name} in {module}")
    return _find_class(origin, original)


def _first_base(source: Source, node: ast.ClassDef) -> tuple[Source, ast.ClassDef] | None:
    for base in node.bases:
        if isinstance(base, ast.Name):
            try:
                return _find_class(source.name, base.id)
            except LookupError:
                continue
    return None


def _evaluated(node: ast.expr | None, names: Names) -> Any:
    if node is None:
        return Foreign
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _runtime(node.value, names)
    try:
        return eval(compile(ast.Expression(node), "<annotation>", "eval"), {}, names)
    except Exception:
        return Foreign


def _runtime(annotation: Any, names: Names) -> Any:
    if annotation is REQUIRED:
        return Foreign
    if isinstance(annotation, str):
        try:
            return _runtime(_evaluated(ast.parse(annotation, mode="eval").body, names), names)
        except SyntaxError:
            return Foreign
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.Union[tuple(_runtime(a, names) for a in typing.get_args(annotation))]  # noqa: UP007
    if typing.get_origin(annotation) in (list, tuple, Sequence, Iterable, Collection):
        arguments = tuple(a if a is Ellipsis else _runtime(a, names) for a in typing.get_args(annotation))
        return typing.get_origin(annotation).__class_getitem__(arguments)
    if typing.get_origin(annotation) in (dict, Mapping):
        return dict.__class_getitem__(tuple(_runtime(a, names) for a in typing.get_args(annotation)))
    # A marker such as Outer is known by its class's name, whether imported or not, and so are classes derived from it.
    if isinstance(annotation, type):
        marked = (names.markers[base.__name__] for base in annotation.__mro__ if base.__name__ in names.markers)
        return next(marked, names.get(annotation.__name__, annotation))
    return annotation


def _default(node: ast.expr, constants: dict[str, Any]) -> Any:
    scope = {"math": math, "float": float, "__builtins__": {}, **constants}
    try:
        return eval(compile(ast.Expression(node), "<default>", "eval"), scope)
    except Exception:
        return Foreign


def _summary(doc: str) -> str:
    return " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
