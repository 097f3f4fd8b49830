"""Commands that take a config and KEY=VALUE: to an option that they do not have, they answer with what to write."""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING, Any

import click

from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.loading import Command

# Options that other programs have, and the settings that do the same.
_SETTINGS = {
    "cuda": ("device", "cuda"),
    "gpu": ("device", "cuda"),
    "cpu": ("device", "cpu"),
    "half": ("precision", "fp16"),
    "fp16": ("precision", "fp16"),
    "amp": ("precision", "bf16"),
    "bf16": ("precision", "bf16"),
}
_EPOCHS = ("epochs", "epoch", "num_epochs", "n_epochs", "max_epochs")
# The largest number of keys that a message names.
_MOST = 4


class ConfigCommand(click.Command):
    """A command with the arguments CONFIG and KEY=VALUE.

    Args:
        schema: the command whose configs it takes: "train", "solve" or "map".
    """

    def __init__(self, *arguments: Any, schema: Command = "train", **settings: Any):
        super().__init__(*arguments, **settings)
        self.schema: Command = schema

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            UserError: one of them is an option that the command does not have, but the config has such a key.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            written = self._written(error, words)
            if written is None:
                raise
            raise UserError(f"{self.name} has no option {error.option_name}; {written}") from None

    def _written(self, error: click.NoSuchOption, words: list[str]) -> str | None:
        """What to write instead of an option, as the end of a message; None if no key is like it."""
        from gantrain.config.keys import fill, meant, similar
        from gantrain.config.loading import known_keys

        option = error.option_name.lstrip("-").replace("-", "_")
        config = next((word for word in words if word.endswith((".yaml", ".yml"))), None)
        value = _value(error.option_name, words, config)
        if option in _EPOCHS and self.schema == "train":
            return "write run.steps=STEPS, or run.kimg=N for N thousand samples, counted over all epochs"
        setting = _SETTINGS.get(option)
        if setting is not None:
            option, value = setting
        keys = known_keys(self.schema, config, [w for w in words if "=" in w and not w.startswith("-")])
        negated = option.startswith("no_") and not meant(option, keys)
        found = meant(option.removeprefix("no_") if negated else option, keys)
        verb = "write"
        if not found:
            found, likeness = similar(option, keys)
            options = (name for parameter in self.params for name in parameter.opts)
            if any(_likeness(error.option_name, name) > likeness for name in options):
                return None
            verb = "did you mean"
        if not found:
            return None
        shown = fill(keys, found[:_MOST], None if value is None else shlex.quote(value), negated)
        more = " ..." if len(found) > _MOST else ""
        return f"{verb} {' or '.join(shown)}{more}" + ("?" if verb != "write" else "")


def _value(option: str, words: list[str], config: str | None) -> str | None:
    """The value that was given to an option: after "=", or as the next word unless that is something else."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name == option:
            if equals:
                return value
            number = after[1:2].isdigit() or after[1:2] == "."
            other = not after or after == config or "=" in after or (after.startswith("-") and not number)
            return None if other else after
    return None


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lstrip("-"), other.lstrip("-")).ratio()
