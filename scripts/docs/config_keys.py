"""Tables of all keys that a config may have, made from the JSON schemas that ``gantrain schema`` prints.

In a page, the comment ``<!-- keys: Run -->`` stands for the table of a definition of the schemas, and
``<!-- parts: outer -->`` for a heading and a table for each part of a kind. Every definition must have one place, to
which the types in other tables lead.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dialect import slug
from mkdocs.exceptions import PluginError
from mkdocs.utils import get_relative_url
from schema_words import Link, default, prose, words
from torch_keys import address, meanings

from gantrain.config.loading import Command, json_schema
from gantrain.config.registry import kind

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FILES: tuple[Command, ...] = ("train", "solve", "map")
"""The commands whose configs have schemas. Their names stand for the keys at the top of a config."""
_MARK = re.compile(r"^<!-- (keys|parts): (.+?) -->$|^(#+) (.+)$", re.MULTILINE)
_places: dict[str, Place] = {}


@dataclass(frozen=True)
class Place:
    """Where a definition stands: the file of the page, the anchor, and the level of its heading."""

    page: str
    anchor: str
    level: int = 1


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Find the place of every definition.

    Raises:
        PluginError: a definition has no place or two, or a page names one that is not there.
    """
    _places.clear()
    for file in files.documentation_pages():
        for name, place in marks(file.content_string, file.src_uri):
            if name not in definitions():
                raise PluginError(f"{file.src_uri}: the schemas of gantrain have no {name}")
            if name in _places:
                raise PluginError(f"{file.src_uri} and {_places[name].page} both show {name}; leave it out of one")
            _places[name] = place
    missing = sorted(definitions().keys() - _places.keys())
    if missing:
        raise PluginError(f"no page shows {', '.join(missing)}; add <!-- keys: NAME --> or <!-- parts: KIND --> to one")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put tables in the place of the marks of a page."""

    def link(name: str) -> str:
        found = files.get_file_from_path(_places[name].page)
        assert found is not None
        return f"{get_relative_url(found.url, page.url)}#{_places[name].anchor}"

    def filled(mark: re.Match[str]) -> str:
        if mark[1] is None:
            return mark[0]
        if mark[1] == "keys":
            return table(mark[2].split(", "), link)
        return "\n\n".join(part(mark[2], name, _places[mark[2]].level + 1, link) for name in kind(mark[2]).parts)

    return _MARK.sub(filled, markdown)


def marks(text: str, page: str) -> Iterator[tuple[str, Place]]:
    """The definitions that a page shows, each with its place."""
    place = Place(page, "")
    for mark in _MARK.finditer(text):
        if mark[1] is None:
            place = Place(page, slug(mark[4], "-"), len(mark[3]))
        elif mark[1] == "keys":
            # Several definitions share a table where they differ in the types of their keys alone.
            yield from ((name, place) for name in mark[2].split(", "))
        else:
            yield mark[2], place
            for name in kind(mark[2]).parts:
                yield f"{mark[2]}.{name}", Place(page, f"{mark[2]}-{name}", place.level + 1)


@functools.cache
def definitions() -> Mapping[str, Any]:
    """All definitions of the schemas, and the keys at the top of the config of each command under its name."""
    schemas = {command: json_schema(command) for command in FILES}
    inner = [schema.pop("$defs") for schema in reversed(schemas.values())]
    return {name: found for several in inner for name, found in several.items()} | schemas


def part(kind_name: str, name: str, level: int, link: Link) -> str:
    """The heading of a part, what it is, and the table of its keys."""
    full = f"{kind_name}.{name}"
    path = kind(kind_name).parts[name]
    said = [prose(definitions()[full].get("description", ""))]
    entries: Mapping[str, str] = {}
    if path.startswith("torch."):
        entries = meanings(path)
        said.append(f'<p>This is torch\'s <a href="{address(path)}"><code>{path.replace(":", ".")}</code></a>.</p>')
    if set(properties(full)) == {"name"}:
        said.append("<p>It has no keys of its own.</p>")
    heading = f"{'#' * level} {name} {{ #{kind_name}-{name} data-toc-label='{name}' }}"
    return "\n\n".join([heading, "\n".join(filter(None, said)), table([full], link, entries)])


def table(names: Sequence[str], link: Link, entries: Mapping[str, str] = MappingProxyType({})) -> str:
    """The table of the keys of some definitions as HTML, which becomes a list on a narrow screen.

    Args:
        names: the definitions. A key of several of them has one row with all its types.
        link: the function from the name of a definition to the address of its place.
        entries: what keys mean that the schemas do not describe.
    """
    anchor = names[0].replace(".", "-")
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        for key, schema in properties(name).items():
            # The name of a part is its heading.
            if "const" not in schema:
                rows.setdefault(key, []).append(schema)
    lines = []
    for key, schemas in rows.items():
        first = schemas[0]
        kinds = {"anyOf": [{k: v for k, v in s.items() if k not in ("default", "description")} for s in schemas]}
        cells = (
            f"<code>{key}</code>",
            words(kinds, link),
            _default(names[0], key, first),
            prose(first.get("description") or entries.get(key, "")),
        )
        marked = zip(("key", "type", "default", "meaning"), cells, strict=True)
        lines.append(f'<tr id="{anchor}.{key}">{"".join(f"<td class={c!r}>{cell}</td>" for c, cell in marked)}</tr>')
    head = "<tr><th>Key</th><th>Values</th><th>Default</th><th>Meaning</th></tr>"
    rows_of = "\n".join(lines)
    return f'<table class="keys">\n<thead>{head}</thead>\n<tbody>\n{rows_of}\n</tbody>\n</table>' if lines else ""


def _default(name: str, key: str, schema: dict[str, Any]) -> str:
    """The default of a key, or whether it is required; at the top of a config, that may depend on the game."""
    options = [schema] if "default" in schema else schema.get("anyOf", [{}])
    if all("default" in option and option["default"] == options[0]["default"] for option in options):
        return default(options[0]["default"])
    if name not in FILES or key in definitions()[name]["then"]["required"]:
        return "required"
    some = (rule["then"]["required"] for rule in definitions()[name]["then"].get("allOf", []))
    return "required by some games" if any(key in keys for keys in some) else ""


def properties(name: str) -> dict[str, Any]:
    """The keys of a definition; where it consists of alternatives, those that all mappings among them have."""
    schema = definitions()[name]
    if "properties" in schema:
        return {key: value for key, value in schema["properties"].items() if value is not False}
    mappings = [found["properties"] for found in schema["anyOf"] if "properties" in found]
    shared = set.intersection(*(set(found) for found in mappings)) - {"name", "target"}
    return {key: value for key, value in mappings[0].items() if key in shared}
