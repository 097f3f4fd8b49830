"""The navigation of the site, where an entry that ends in ``/`` stands for the pages of a folder.

MkDocs calls :func:`on_config`; the tests of the documentation read the pages in their order by :func:`pages`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig


def on_config(config: MkDocsConfig) -> None:
    """Put the pages of each folder into the navigation."""
    config.nav = expanded(config.nav or [], Path(config.docs_dir))


def expanded(nav: list[Any], docs: Path) -> list[Any]:
    """The navigation with the pages of its folders: first ``index.md``, then the others by name.

    Args:
        nav: the entry ``nav`` of ``mkdocs.yml``. A folder without pages leaves no trace.
        docs: the folder of the pages.
    """
    entries: list[Any] = []
    for entry in nav:
        title, value = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(value, str) and value.endswith("/"):
            found = sorted((docs / value).glob("*.md"), key=lambda path: (path.name != "index.md", path.name))
            value = [path.relative_to(docs).as_posix() for path in found]
        elif isinstance(value, list):
            value = expanded(value, docs)
        if value:
            entries.append(value if title is None else {title: value})
    return entries


def pages(nav: list[Any]) -> Iterator[str]:
    """The pages of an expanded navigation in their order, relative to the folder of the pages."""
    for entry in nav:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, list):
            yield from pages(value)
        else:
            yield value
