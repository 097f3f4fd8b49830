"""The keys of a config that a user may have meant who wrote another one, or the option of another program."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gantrain.config.base import Schema

# Names that other programs have for the last parts of keys.
_SYNONYMS = {
    word: key
    for key, words in {
        "steps": "iterations iters iter niter max_steps max_iter num_steps n_steps total_steps",
        "folder": "output out outdir out_dir output_dir logdir log_dir save_dir checkpoint_dir",
        "name": "run_name exp_name experiment",
        "seed": "random_seed manual_seed",
        "lr": "learning_rate",
        "batch_size": "batch bs",
        "workers": "num_workers n_workers",
        "processes": "gpus num_gpus num_processes nproc nproc_per_node",
        "sharding": "fsdp zero shard sharded fully_shard",
        "path": "data dataroot data_dir data_path",
    }.items()
    for word in words.split()
}
# Sections whose keys are meant before all others of the same name.
_FIRST = ("run", "data")
# The least similarity of two spellings, from 0 to 1, with which one may be meant by the other.
_SIMILAR = 0.7


def all_keys(config: Schema) -> dict[str, Any]:
    """All keys of a config with their values: the leaves, the sections and parts that hold them, and unused sections.

    Args:
        config: a validated config. The keys of a section that is null are listed with their defaults.
    """
    keys = dict(_nodes(config.model_dump(mode="json")))
    for section, schema in _sections(type(config)):
        if keys[section] is None:
            keys |= {f"{section}.{name}": field.default for name, field in schema.model_fields.items()}
    return keys


def section_keys(config: type[Schema]) -> dict[str, Any]:
    """The keys at the top of a class of configs and in its sections, with their defaults."""
    keys = {name: field.default for name, field in config.model_fields.items()}
    for section, schema in _sections(config):
        keys |= {f"{section}.{name}": field.default for name, field in schema.model_fields.items()}
    return keys


def meant(word: str, keys: Iterable[str]) -> list[str]:
    """The keys that end with a word, or with the name that the word has here; empty if there are none.

    A key of the section ``run``, or else of ``data``, is meant before others of the same name.

    Args:
        word: the last parts of a key. Parts in between may be left out; a dash or an underscore may stand for a dot.
        keys: all keys.

    Examples:
        >>> keys = ["run.steps", "data.batch_size", "game.generator.optimizer.lr", "game.critic.optimizer.lr"]
        >>> meant("batch-size", keys), meant("critic.lr", keys), meant("width", keys)
        (['data.batch_size'], ['game.critic.optimizer.lr'], [])
        >>> meant("learning-rate", keys)
        ['game.generator.optimizer.lr', 'game.critic.optimizer.lr']
    """
    word = word.lower().replace("-", "_")
    keys = list(keys)
    for wanted in (word, _SYNONYMS.get(word)):
        if wanted:
            for fits in (_ends, _ends_with_gaps, _ends_joined):
                if found := [key for key in keys if fits(key.lower(), wanted)]:
                    return _foremost(wanted, found)
    return []


def similar(word: str, keys: Iterable[str]) -> tuple[list[str], float]:
    """The keys whose last part is spelt most like a word, and how alike the two are, from 0 to 1."""
    word = word.lower().replace("-", "_").rpartition(".")[2]
    by_name: dict[str, list[str]] = {}
    for key in keys:
        by_name.setdefault(key.rpartition(".")[2], []).append(key)
    close = difflib.get_close_matches(word, by_name, n=1, cutoff=_SIMILAR) if len(word) < 100 else []
    if not close:
        return [], 0.0
    return _foremost(close[0], by_name[close[0]]), difflib.SequenceMatcher(None, close[0], word).ratio()


def _foremost(word: str, found: list[str]) -> list[str]:
    for section in _FIRST:
        if f"{section}.{word}" in found:
            return [f"{section}.{word}"]
    whole = [key for key in found if key == word]
    return whole or found


def _ends(key: str, word: str) -> bool:
    return f".{key}".endswith(f".{word}")


def _ends_with_gaps(key: str, word: str) -> bool:
    *before, last = word.split(".")
    *parts, end = key.split(".")
    rest = iter(parts)
    return end == last and all(part in rest for part in before)


def _ends_joined(key: str, word: str) -> bool:
    return f"_{key.replace('.', '_')}".endswith(f"_{word.replace('.', '_')}")


def _nodes(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All keys inside nested mappings and lists of them, with their values."""
    entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    for name, value in entries:
        yield f"{prefix}{name}", value
        yield from _nodes(value, f"{prefix}{name}.")


def _sections(config: type[Schema]) -> Iterator[tuple[str, type[Schema]]]:
    """The sections of a config that are no parts, also those that may be null."""
    for name, field in config.model_fields.items():
        for option in typing.get_args(field.annotation) or (field.annotation,):
            if isinstance(option, type) and issubclass(option, Schema):
                yield name, option


def fill(keys: Mapping[str, Any], found: list[str], value: str | None, negated: bool = False) -> list[str]:
    """The arguments ``KEY=VALUE`` that set keys.

    Args:
        keys: all keys with their present values.
        found: the keys that are set.
        value: the value as it was written; None if there was none.
        negated: whether the user wants to be without them.
    """

    def filled(key: str) -> str:
        if negated:
            return "false" if isinstance(keys[key], bool) else "null"
        if isinstance(keys[key], list | tuple) and value is not None and not value.startswith(("[", "'[")):
            return f"'[{value}]'"  # not as it is: to a shell, brackets stand for names of files
        return value if value is not None else "true" if isinstance(keys[key], bool) else "VALUE"

    return [f"{key}={filled(key)}" for key in found]
