"""The page of all commands, made from the command line itself.

In a page, the comment ``<!-- commands -->`` stands for a section on each command: its usage, its help, and its options.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from schema_words import default, prose

from gantrain.cli import cli

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the commands in the place of the mark."""
    return markdown.replace(MARK, "\n\n".join(described())) if MARK in markdown else markdown


def described() -> Iterator[str]:
    """The section of each command, in Markdown with tables in HTML."""
    top = click.Context(cli, info_name="gantrain")
    for name in cli.list_commands(top):
        command = cli.commands[name]
        context = click.Context(command, parent=top, info_name=name)
        usage = command.get_usage(context).removeprefix("Usage: ")
        sections = [
            f"## gantrain {name}",
            f"```\n{' '.join(usage.split())}\n```",
            *_help(inspect.cleandoc(command.help or "")),
        ]
        yield "\n\n".join([*sections, _options(command, context)])


def _help(text: str) -> Iterator[str]:
    """The paragraphs of a help text. Those after ``\\b`` keep their lines: they are commands to copy."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = paragraph.splitlines()
        yield "```\n" + "\n".join(lines[1:]) + "\n```" if lines[0] == "\b" else prose(paragraph)


def _options(command: click.Command, context: click.Context) -> str:
    rows = []
    for option in command.get_params(context):
        if not isinstance(option, click.Option) or option.hidden:
            continue
        names = ", ".join(f"<code>{name}</code>" for name in [*option.opts, *option.secondary_opts])
        value = "" if option.is_flag else f" <code>{html.escape(option.make_metavar(context))}</code>"
        given = option.to_info_dict().get("default")
        preset = "" if option.is_flag or given is None else default(given)
        text = prose(option.help or "")
        rows.append(f'<tr><td class="key">{names}{value}</td><td class="default">{preset}</td><td>{text}</td></tr>')
    head = "<tr><th>Option</th><th>Default</th><th>Meaning</th></tr>"
    return f'<table class="keys">\n<thead>{head}</thead>\n<tbody>\n' + "\n".join(rows) + "\n</tbody>\n</table>"
