"""The pages of the documentation: the README, and those of docs in the order of the site's navigation."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "scripts" / "docs"))

import nav  # noqa: E402

_CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = ["README.md", *(f"docs/{page}" for page in nav.pages(nav.expanded(_CONFIG["nav"], DOCS)))]
# A line in the place of which the site has a file.
INCLUDE = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


def read(page: str) -> str:
    """The text of a page, whose path is relative to the repository, as it is written."""
    return (ROOT / page).read_text(encoding="utf-8")


def with_files(page: str) -> str:
    """The text of a page with the files that it includes."""
    return INCLUDE.sub(lambda line: read(line[1]).rstrip("\n"), read(page))
