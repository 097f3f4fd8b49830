"""Completion in the shell: of configs, of runs, and of KEY=VALUE. Commands and options click completes by itself."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, ZshComplete, add_completion_class

if TYPE_CHECKING:
    from gantrain.config.loading import Command

# How deep folders are searched for configs and runs below the one that is typed, and the most entries looked at.
_DEPTH, _MOST = 4, 20_000
# Names that mean themselves wherever a shell inserts them; all others are left to it.
_PLAIN = re.compile(r"[\w@%+=:,.-]+")


def complete_config(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The configs whose paths begin so: YAML files of the working directory, and those shipped; else any files."""
    from gantrain.config import shipped

    def is_config(path: Path) -> bool:
        return path.suffix in (".yaml", ".yml") and path.name != "config.yaml"

    found = {*_below(incomplete, is_config), *(name for name in shipped.configs() if name.startswith(incomplete))}
    return _items(sorted(found)) or [CompletionItem(incomplete, type="file")]


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The runs whose paths begin so, or whose names in the folder of runs do; else any folders."""
    from gantrain.config import shipped

    def is_run(path: Path) -> bool:
        return (path / "config.yaml").is_file()

    paths = {*_below(incomplete, is_run), *(name for name in shipped.SHIPPED_RUNS if name.startswith(incomplete))}
    folder = f"{shipped.RUNS}/"
    if "/" not in incomplete:
        paths |= {name for name in _below(folder, is_run) if name.startswith(incomplete)}
        names = {name.removeprefix(folder) for name in (*_below(folder, is_run), *shipped.SHIPPED_RUNS)}
        paths |= {name for name in names if incomplete and "/" not in name and name.startswith(incomplete)}
    return _items(sorted(paths)) or [CompletionItem(incomplete, type="dir")]


def complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The keys of the config that is named before, one part after the other, and after = the values that a key has."""
    words = list(ctx.params.get(param.name or "") or ())
    key, equals, value = incomplete.partition("=")
    # To bash an equals sign is a word of its own, so that a word without one may be a key whose value comes next.
    if not equals and words and (words[-1] == "=" or "=" not in words[-1] and words[-2:-1] != ["="]):
        *words, key = words[: len(words) - (words[-1] == "=")]
        return _items(word for word in _choices(ctx, words, key) if word.startswith(incomplete))
    if equals:
        return _items(f"{key}={word}" for word in _choices(ctx, words, key) if word.startswith(value))
    from gantrain.config.loading import known_keys

    known = known_keys(_schema(ctx), ctx.params.get("config"), _settings(words))
    above = incomplete[: len(incomplete) - len(incomplete.rpartition(".")[2])]
    names = dict.fromkeys(key[len(above) :].partition(".")[0] for key in known if key.startswith(incomplete))
    return _items([_unfinished(known, above + name) for name in names])


def _unfinished(known: Mapping[str, Any], key: str) -> str:
    """A key as far as it is certain: a section or a part has keys of its own, anything else has a value."""
    inner = any(other.startswith(f"{key}.") for other in known)
    return f"{key}." if inner and not isinstance(known.get(key), list | tuple) else f"{key}="


def _choices(ctx: click.Context, words: Sequence[str], key: str) -> list[str]:
    from gantrain.config.choices import choices
    from gantrain.config.loading import load_any
    from gantrain.errors import UserError

    for given in (_settings(words), ()):
        try:
            return choices(load_any(_schema(ctx), ctx.params["config"], given), key)
        except UserError:
            continue
    return []


def _settings(words: Sequence[str]) -> list[str]:
    """The arguments KEY=VALUE of a line that bash may have taken apart at its equals signs."""
    line = "\n".join(words).replace("\n=\n", "=").split("\n")
    return [word for word in line if "=" in word.strip("=")]


def _schema(ctx: click.Context) -> Command:
    schema: Command = getattr(ctx.command, "schema", "train")
    return schema


def _items(words: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words]


def _below(incomplete: str, wanted: Callable[[Path], bool]) -> list[str]:
    """The paths that begin with a text and are wanted, in the text's folder and in those below it that fit the text."""
    folder, _, beginning = incomplete.rpartition("/")
    left, found = _MOST, []
    todo = [(Path(os.path.expanduser(folder) or ("/" if incomplete.startswith("/") else ".")), beginning, 0)]
    while todo and left > 0:
        place, start, depth = todo.pop(0)
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                left -= 1
                hidden = entry.name.startswith(".") and not start.startswith(".")
                if hidden or not entry.name.startswith(start) or not _PLAIN.fullmatch(entry.name):
                    continue
                path = place / entry.name
                if wanted(path):
                    found.append(path)
                elif depth < _DEPTH and entry.is_dir():
                    todo.append((path, "", depth + 1))
    base = Path(os.path.expanduser(folder)) if folder else None
    written = f"{folder}/" if folder else "/" if incomplete.startswith("/") else ""
    return sorted(written + str(path.relative_to(base or ("/" if written else "."))) for path in found)


class _Bash(BashComplete):
    """Completion in bash, which writes no space after what is still to be gone on with."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value); [[ $value == *[=.] ]] && compopt -o nospace"
    )


class _Zsh(ZshComplete):
    """Completion in zsh, which writes no space after what is still to be gone on with."""

    source_template = ZshComplete.source_template.replace(
        "compadd -U -V unsorted -a completions",
        """local -a ending=(); [[ ${completions[1]} == *[=.] ]] && ending=(-S '')
        compadd -U -V unsorted "${ending[@]}" -a completions""",
    )


add_completion_class(_Bash)
add_completion_class(_Zsh)
