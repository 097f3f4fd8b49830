"""Links from pages to files outside ``docs/``: the site gets these files, and the links lead to them.

On a forge, ``[loss.py](../examples/loss.py)`` shows the file of the repository. In the site, Markdown files become
pages as they are, other texts become pages with their content as a block, and pictures are copied. What such a page
links to comes in, too.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FOLDER = "repository"
"""The folder of the site that holds the files from outside ``docs/``."""
PICTURES = (".png", ".gif", ".jpg", ".svg")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash", ".toml": "toml", ".json": "json"}
# Links of Markdown and of HTML, and the targets of links by reference.
_LINK = re.compile(r"""\]\(<?([^()\s>]+)|\b(?:src|href)="([^"\s]+)"|^\[[^\]\n]+\]:\s*(\S+)""", re.MULTILINE)
_CODE = re.compile(r"^( *)(```+|~~~+).*?^\1\2|(`+)(?!`).*?(?<!`)\3(?!`)|<!--.*?-->", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Link:
    """The place of a link's target in a text, from ``start`` to ``end``, and the target without its anchor."""

    start: int
    end: int
    target: str


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the files outside ``docs/`` that pages link to, and those that these link to in turn.

    Raises:
        PluginError: a target does not exist, is a folder, or lies outside the repository.
    """
    root, docs = roots(config)
    waiting = [(docs + "/" + file.src_uri, file.content_string) for file in files.documentation_pages()]
    while waiting:
        source, text = waiting.pop()
        for link in links(text):
            target = resolved(source, link.target)
            if target.startswith(docs + "/") or files.get_file_from_path(place(target)):
                continue
            found = root / target
            if target.startswith("../"):
                raise PluginError(f"{source} links to {link.target}, which lies outside the repository")
            if not found.is_file():
                missing = "is a folder; link a file in it" if found.is_dir() else "is not there"
                raise PluginError(f"{source} links to {link.target}, which {missing}")
            if found.suffix in PICTURES:
                files.append(File.generated(config, place(target), abs_src_path=str(found)))
                continue
            content = found.read_text(encoding="utf-8")
            if found.suffix == ".md":
                waiting.append((target, content))
            else:
                content = shown(target, content)
            files.append(File.generated(config, place(target), content=content, inclusion=InclusionLevel.NOT_IN_NAV))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page that leave ``docs/``, or come from outside, lead to their places in the site."""
    _, docs = roots(config)
    here = page.file.src_uri
    from_outside = here.startswith(f"{FOLDER}/")
    source = here.removeprefix(f"{FOLDER}/") if from_outside else f"{docs}/{here}"
    if from_outside:
        # Code and tables of numbers would be most of what a search finds.
        page.meta["search"] = {"exclude": True}
    parts, end = [], 0
    for link in links(markdown):
        target = resolved(source, link.target)
        goal = target.removeprefix(f"{docs}/") if target.startswith(f"{docs}/") else place(target)
        parts += [markdown[end : link.start], posixpath.relpath(goal, posixpath.dirname(here) or ".")]
        end = link.end
    return "".join([*parts, markdown[end:]])


def roots(config: MkDocsConfig) -> tuple[Path, str]:
    """The folder of the repository, and the name of the folder of the pages in it."""
    docs = Path(config.docs_dir)
    return docs.parent, docs.name


def links(text: str) -> Iterator[Link]:
    """The links of a page to other files, in their order; not those in code and comments, nor addresses and anchors."""
    bare = _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in _LINK.finditer(bare):
        group = found.lastindex or 1
        start, end = found.span(group)
        target = text[start:end].partition("#")[0]
        if target and not re.match(r"\w+:|/|#", target):
            yield Link(start, start + len(target), target)


def resolved(source: str, target: str) -> str:
    """The path of a link's target in the repository, where ``source`` is the path of the page."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def place(target: str) -> str:
    """The path in the site's sources of a file of the repository."""
    path = PurePosixPath(FOLDER, target)
    return str(path if path.suffix in (".md", *PICTURES) else path.with_name(f"{path.name}.md"))


def shown(name: str, text: str) -> str:
    """A page that shows a text."""
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text)), 3)
    language = LANGUAGES.get(os.path.splitext(name)[1], "text")
    return f"# {name}\n\n{fence}{language}\n{text}\n{fence}\n"
