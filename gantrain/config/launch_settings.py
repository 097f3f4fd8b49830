"""The settings of ``accelerate config``, which ``accelerate launch`` hands on in the environment, as keys of a config.

A setting that means what a key means is the key's value, unless the config sets the key. All others are named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from gantrain.config.merge import Setting
from gantrain.config.schema import Config

# Where the settings stand, for messages.
_PLACE = "accelerate launch"
_ON = ("1", "true", "yes", "on")
# The values of other settings that ask for nothing.
_NOTHING = ("", "no", "1", "auto", "default")
# The switches for which gantrain has no key, and what they switch on.
_SWITCHES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "parallelism",
    "ACCELERATE_CPU_AFFINITY": "CPU affinity",
}
# By setting: what it is called, the key, and the key's value for each value that means the same there.
_CHOICES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ACCELERATE_MIXED_PRECISION": ("mixed precision", "run.precision", {"bf16": "bf16", "fp16": "fp16"}),
    "ACCELERATE_DYNAMO_BACKEND": ("compiler", "run.compile", {"inductor": True}),
    "ACCELERATE_DYNAMO_MODE": ("compiler mode", "", {}),
}
# What FSDP may be asked for besides, and gantrain's sharding does not do.
_FSDP_SWITCHES = {
    "FSDP_OFFLOAD_PARAMS": "FSDP's offloading",
    "FSDP_ACTIVATION_CHECKPOINTING": "FSDP's activation checkpointing",
}


class _Asked(NamedTuple):
    """Something that the environment asks for; ``key`` is empty where no key of a config means the same."""

    words: str
    key: str = ""
    value: Any = None


def settings_for(config: Config) -> list[Setting]:
    """The settings that hold in a run, since they mean what keys mean that its config does not set.

    Args:
        config: the validated config, as its file and the command line make it.
    """
    return [Setting(each.key, each.value, _PLACE) for each in _asked() if each.key and not _sets(config, each.key)]


def spelt(setting: Setting) -> str:
    """A setting as an argument ``key=value`` of the command line."""
    value = setting.value if isinstance(setting.value, str) else json.dumps(setting.value)
    return f"{setting.key}={value}"


def ignored(config: Config, cpu: bool) -> str | None:
    """One line that names the settings that change nothing: the config says otherwise, or has no such key; or None.

    Args:
        config: the config of the run, in which the settings that hold are keys.
        cpu: whether the run computes on the CPU.
    """
    named = []
    for each in _asked():
        if not each.key:
            named.append(each.words)
        elif _value(config, each.key) != each.value and not (cpu and each.value == "cpu"):
            own = spelt(Setting(each.key, _value(config, each.key), _PLACE))
            named.append(f"{each.words} (the config has {own})")
    return f"settings of accelerate that change nothing: {', '.join(named)}" if named else None


def _asked() -> Iterator[_Asked]:
    """What the environment asks for."""
    if _is_on("ACCELERATE_USE_CPU"):
        yield _Asked("the CPU", "run.device", "cpu")
    for name, (words, key, meanings) in _CHOICES.items():
        value = _given(name)
        if value in meanings:
            yield _Asked(f"{words} {value}", key, meanings[value])
        elif value not in _NOTHING:
            yield _Asked(f"{words} {value}")
    parts = _given("ACCELERATE_GRADIENT_ACCUMULATION_STEPS")
    if parts not in _NOTHING:
        whole = parts.isascii() and parts.isdecimal() and 1 < int(parts[:10]) < 10**9
        words = f"gradient accumulation {parts}"
        yield _Asked(words, "data.accumulation", int(parts)) if whole else _Asked(words)
    if _is_on("ACCELERATE_USE_FSDP"):
        yield from _asked_of_fsdp()
    for name, words in _SWITCHES.items():
        if _is_on(name):
            yield _Asked(words)


def _asked_of_fsdp() -> Iterator[_Asked]:
    version, frees = _given("FSDP_VERSION") or "1", _given("FSDP_RESHARD_AFTER_FORWARD") or "true"
    if version != "2":
        yield _Asked(f"FSDP {version} (of FSDP 2 run.sharding: full is the counterpart)")
        return
    if frees not in _ON:
        yield _Asked("FSDP 2 without resharding after the forward pass (run.sharding: full always does)")
        return
    yield _Asked("FSDP 2", "run.sharding", "full")
    for name, words in _FSDP_SWITCHES.items():
        if _is_on(name):
            yield _Asked(words)


def _given(name: str) -> str:
    return os.environ.get(name, "").strip().lower()


def _is_on(name: str) -> bool:
    return _given(name) in _ON


def _value(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)


def _sets(config: Config, key: str) -> bool:
    """Whether the file or the command line sets a key."""
    section, _, name = key.partition(".")
    return name in getattr(config, section).model_fields_set
