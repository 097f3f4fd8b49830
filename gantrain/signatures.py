"""Constructors read from source: their arguments, defaults and descriptions, without importing the module.

That is how ``--help`` and every complaint about a config come at once: torch takes seconds to import.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

REQUIRED = object()
UNREADABLE = object()


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor.

    Args:
        name: the argument's name, which is the YAML key.
        annotation: its annotation as an expression, or None.
        default: its value, ``REQUIRED``, or ``UNREADABLE`` for an expression that is no literal.
        description: its entry in the docstring's ``Args:``.
    """

    name: str
    annotation: ast.expr | None
    default: Any
    description: str = ""


@dataclass(frozen=True)
class Signature:
    """A class's constructor: summary of the docstring, and arguments in order, without ``self``."""

    summary: str
    arguments: list[Argument] = field(default_factory=list)


@lru_cache(maxsize=None)
def read_signature(target: str) -> Signature:
    """The signature of ``"package.module:Class"``, read from its source.

    A class without ``__init__`` has that of its first base. Arguments ``*args`` and ``**kwargs`` are left out.

    Raises:
        LookupError: there is no such module or class.
    """
    module, _, name = target.partition(":")
    tree = _parse(module)
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        raise LookupError(f"{module} has no class {name}")
    doc = ast.get_docstring(node) or ""
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:
        inherited = _base_signature(module, tree, node)
        return Signature(_summary(doc), inherited.arguments if inherited else [])
    return Signature(_summary(doc), list(_arguments(init.args, describe(doc))))


def imported_signature(cls: type) -> Signature:
    """The same for a class that is imported already, as a user's own may be."""
    source = f"def __init__{_signature_text(cls)}: ..."
    init = ast.parse(source).body[0]
    doc = inspect.getdoc(cls) or ""
    return Signature(_summary(doc), list(_arguments(init.args, describe(doc))))


def classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes that a module defines, by name."""
    return {n.name: n for n in _parse(module).body if isinstance(n, ast.ClassDef)}


def module_path(module: str) -> Path:
    """The source file of a module, found without importing it or its packages.

    Raises:
        LookupError: there is none.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        raise LookupError(f"there is no module {top}")
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.is_file():
        raise LookupError(f"there is no module {module}")
    return path


def describe(doc: str) -> dict[str, str]:
    """The entries of a docstring's ``Args:`` section, as one line each."""
    match = re.search(r"^Args:[^\n]*\n((?:[ \t]+[^\n]*\n?|\n)*)", doc, re.MULTILINE)
    if match is None:
        return {}
    entries, name = {}, None
    for line in textwrap.dedent(match[1]).splitlines():
        begins = re.match(r"(\w+)(?: \([^)]*\))?:\s*(.*)", line)
        if begins:
            name = begins[1]
            entries[name] = begins[2]
        elif name and line.strip():
            entries[name] += " " + line.strip()
    return entries


@lru_cache(maxsize=None)
def _parse(module: str) -> ast.Module:
    return ast.parse(module_path(module).read_text())


def _base_signature(module: str, tree: ast.Module, node: ast.ClassDef) -> Signature | None:
    for base in node.bases:
        if not isinstance(base, ast.Name) or base.id == "ABC":
            continue
        if any(isinstance(n, ast.ClassDef) and n.name == base.id for n in tree.body):
            return read_signature(f"{module}:{base.id}")
        for statement in ast.walk(tree):
            if isinstance(statement, ast.ImportFrom) and any(a.name == base.id for a in statement.names):
                return read_signature(f"{statement.module}:{base.id}")
    return None


def _arguments(args: ast.arguments, descriptions: dict[str, str]) -> Iterator[Argument]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    pairs = list(zip(positional, defaults, strict=True))[1:] + list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
    for argument, default in pairs:
        value = REQUIRED if default is None else _literal(default)
        yield Argument(argument.arg, argument.annotation, value, descriptions.get(argument.arg, ""))


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    try:  # 1 / 3, 2**0.5 and the like
        return eval(compile(ast.Expression(node), "default", "eval"), {"__builtins__": {}})
    except Exception:
        return UNREADABLE


def _summary(doc: str) -> str:
    return " ".join(doc.split("\n\n")[0].split())


def _signature_text(cls: type) -> str:
    parts = ["self"]
    keyword_only = False
    for p in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.kind is p.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
            keyword_only = True
        annotation = p.annotation
        text = p.name
        if annotation is not p.empty:
            text += f": {annotation if isinstance(annotation, str) else _annotation_text(annotation)}"
        if p.default is not p.empty:
            text += f" = {p.default!r}" if _is_literal(p.default) else " = object()"
        parts.append(text)
    return f"({', '.join(parts)})"


def _annotation_text(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return "object"
    return text


def _is_literal(value: Any) -> bool:
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False
