"""How Markdown is read: headings have the anchors that they have on a forge, and Sphinx's roles are shown as code.

Docstrings name classes and functions as Sphinx does, ``:class:`Game```; pages show ``Game``.
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
    config.markdown_extensions.append(Roles())


def as_code(text: str) -> str:
    """The text with code in the place of roles; of a path after ``~``, the last name."""
    return _ROLE.sub(lambda found: f"`{found[2].rpartition('.')[2] if found[1] else found[2]}`", text)


class Roles(Extension):
    """The extension of Markdown by :func:`as_code`."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Roles(md), "roles", 30)


class _Roles(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return as_code("\n".join(lines)).split("\n")
