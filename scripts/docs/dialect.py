"""How Markdown is read: as on a forge where the two differ, with Sphinx's roles as code.

Headings have the anchors that they have on a forge. In code in a table, a bar is written ``\\|`` there. Docstrings name
classes and functions as Sphinx does, ``:class:`Game```; pages show ``Game``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from pymdownx.slugs import slugify

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

slug = slugify(case="lower")
"""The function from the text of a heading, and the separator ``"-"``, to its anchor."""
_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc|ref|math):`(~?)([^`]+)`")


def on_config(config: MkDocsConfig) -> None:
    """Let all pages, and the docstrings in them, be read so."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slug
    config.markdown_extensions.append(Dialect())


def as_code(text: str) -> str:
    """The text with code in the place of roles; of a path after ``~``, the last name."""
    return _ROLE.sub(lambda found: f"`{found[2].rpartition('.')[2] if found[1] else found[2]}`", text)


def with_bars(line: str) -> str:
    """A row of a table with plain bars in its code, where they separate no cells anyway; other lines as they are."""
    if not line.startswith("|"):
        return line
    return re.sub(r"`[^`]+`", lambda code: code[0].replace("\\|", "|"), line)


class Dialect(Extension):
    """The extension of Markdown by :func:`as_code` and :func:`with_bars`, outside blocks of code."""

    def extendMarkdown(self, md: Markdown) -> None:
        # Blocks of code are taken out at 25.
        md.preprocessors.register(_Lines(md), "dialect", 22)


class _Lines(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return [with_bars(line) for line in as_code("\n".join(lines)).split("\n")]
