"""Reading and writing of YAML 1.2: ``1e-3`` is a number, ``on`` is text, keys are unique, errors are one line.

Merge keys (``<<``) are YAML 1.1's, and are read too. What is read is bounded in size and depth, aliases written out, so
that whatever handles it later need not bound anything.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from gantrain.config.types import one_line, shown
from gantrain.errors import UserError

LARGEST = 256 * 1024
"""The largest size of a file in bytes, and of a document in characters where its aliases are written out."""
DEEPEST = 64
"""The largest number of mappings and lists inside each other."""
# Python reads no whole number of more digits, and a float holds no larger one.
_LONGEST_NUMBER = 310
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_SCALARS = {
    "merge": ("<<", "<"),
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


class CoreLoader(yaml.SafeLoader):
    """Reads the core schema of YAML 1.2 and merge keys, and requires keys to be text and unique."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _measure(node)
            self._merged: set[yaml.Node] = set()
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind not in _KINDS or not isinstance(node, _KINDS[kind]):
            wrong = f"the tag {_shortened(node.tag)} cannot be read"
            raise _error(node, f"{wrong}; leave it out, and write text, numbers, true, false, null, lists or mappings")
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, KeyError):
            raise _error(node, f"{shown(node.value)} cannot be read as {kind}") from None

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace merge keys by the keys of the mappings that they name; the mapping's own keys go before those."""
        if node in self._merged:
            return
        self._merged.add(node)
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for other in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                    if not isinstance(other, yaml.MappingNode):
                        raise _error(value_node, "<<: expected a mapping or a list of mappings whose keys are merged")
                    self.flatten_mapping(other)
                    merged = {k.value: (k, v) for k, v in other.value} | merged
                continue
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                raise _error(key_node, f"keys must be text, got {shown(key)}")
            if key in own:
                raise _error(key_node, f"duplicate key {shown(key)}")
            own[key] = key_node, value_node
        node.value = list((merged | own).values())

    def construct_yaml_str(self, node: yaml.ScalarNode) -> str:
        text = super().construct_yaml_str(node)
        text.encode()  # an escape may stand for half a character, which cannot be written
        return text

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value
        if len(text) > _LONGEST_NUMBER:
            raise ValueError
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


class CoreDumper(yaml.SafeDumper):
    """Writes YAML that :class:`CoreLoader` reads back to the same values.

    Text that YAML 1.1 reads as another type is quoted as well.
    """

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, (_pattern, _first) in _SCALARS.items():
    for _class in (CoreLoader, CoreDumper):
        _firsts = [c if c != "\0" else "" for c in _first]
        _class.add_implicit_resolver(f"{_TAG}{_kind}", re.compile(f"(?:{_pattern})$"), _firsts)
CoreLoader.add_constructor(f"{_TAG}int", CoreLoader.construct_yaml_int)
CoreLoader.add_constructor(f"{_TAG}float", CoreLoader.construct_yaml_float)
CoreLoader.add_constructor(f"{_TAG}str", CoreLoader.construct_yaml_str)
# Where nothing can be merged, << is text.
CoreLoader.add_constructor(_MERGE, CoreLoader.construct_yaml_str)
_KINDS = {kind: yaml.ScalarNode for kind in (*_SCALARS, "str")} | {"seq": yaml.SequenceNode, "map": yaml.MappingNode}


def parse(text: str, where: str) -> Any:
    """The value of a YAML document.

    Args:
        text: the document.
        where: the file or other source of the text, for the error message.

    Raises:
        UserError: the text is not valid YAML, or too large or too deep.

    Examples:
        >>> parse("{lr: 1e-3, steps: 1000, flag: on, ema: null}", "command line")
        {'lr': 0.001, 'steps': 1000, 'flag': 'on', 'ema': None}
    """
    if len(text) > LARGEST:
        raise UserError(f"{where}: too large for a config; expected at most {LARGEST:,} characters")
    try:
        return yaml.load(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(f"{where}{place}: {' '.join((error.problem or error.context or 'not YAML').split())}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # an escape may name no character
        raise UserError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{where}: nested too deeply") from None


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Raises:
        UserError: the file does not exist, is no regular file, is too large or cannot be read, is not valid YAML, or
            holds no mapping.
    """
    where = one_line(path)
    content = parse(_text_of(path, where), where)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a mapping of keys to values, got {shown(content)}")
    return content


def first_line(path: Path) -> str:
    """The first line of a text file, up to 200 characters; an empty text if there is no such file."""
    if not path.is_file():
        return ""
    # An editor may have put a byte order mark before the first line.
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return lines.readline(200).rstrip("\n")


def text(content: Any) -> str:
    """Dicts, lists and scalars as YAML text, with the keys in their order."""
    return yaml.dump(content, Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=110)


def _text_of(path: Path, where: str) -> str:
    """The text of a regular file; a pipe or a device is not read, since it might never end."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UserError(f"{where}: is a pipe or a device; expected a file of YAML text")
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{where}: too large for a config; expected at most {LARGEST:,} bytes")
        return content.decode("utf-8")
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{where}: cannot be read: not UTF-8 text") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{where}: cannot be read: {reason}") from None


def _measure(root: yaml.Node) -> None:
    """Refuse a document that is too large or too deep once its aliases are written out, or that contains itself."""
    measured: dict[yaml.Node, tuple[int, int]] = {}
    above: set[yaml.Node] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        if node in measured:
            return measured[node]
        if isinstance(node, yaml.ScalarNode):
            size, depth = len(node.value) + 1, 0
        else:
            if node in above:
                raise _error(node, "a value that contains itself cannot be read")
            above.add(node)
            children = [child for item in node.value for child in (item if isinstance(item, tuple) else (item,))]
            inside = [measure(child) for child in children]
            size, depth = 2 + sum(s for s, _ in inside), 1 + max((d for _, d in inside), default=0)
            above.remove(node)
        if size > LARGEST:
            raise _error(node, f"too large with its aliases written out; expected at most {LARGEST:,} characters")
        if depth > DEEPEST:
            raise _error(node, f"nested too deeply; expected at most {DEEPEST} mappings and lists inside each other")
        measured[node] = size, depth
        return size, depth

    measure(root)


def _error(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _shortened(tag: str) -> str:
    return shown(f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag)
