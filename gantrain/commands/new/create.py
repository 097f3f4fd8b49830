"""Writes the files of a new run, and says what was found and chosen."""

from __future__ import annotations

import importlib.util
import keyword
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from gantrain.commands.new import choices, templates
from gantrain.commands.new.images import KNOWN, Images, look
from gantrain.commands.new.machine import Machine, this_machine
from gantrain.config.loading import validate
from gantrain.config.schema import Config
from gantrain.config.sections import FolderName
from gantrain.config.types import one_line
from gantrain.errors import UserError
from gantrain.runs.folder import is_run
from gantrain.utils.io import make_folder, write_file

Template = Literal["quickstart", "few-photos", "photos", "classifier", "own-game"]
_SUFFIXES = (".yaml", ".yml")


def create(name: str, data: str | None, template: Template | None) -> str:
    """Write the config of a new run.

    Args:
        name: the name of the run and of the file, with folders before it or without.
        data: the path of the images, or the name of a data set; None for digits.
        template: the kind of config; None chooses by the data.

    Returns:
        What was found and chosen, and what to do next, in lines.

    Raises:
        UserError: the name cannot be used, a file of it exists, or the data cannot be used.
    """
    file = _file(name)
    run = file.stem
    module = file.with_suffix(".py") if template == "own-game" else None
    if module is not None:
        _require_module(name, module)
    for path in filter(None, (file, module)):
        if os.path.lexists(path):
            raise UserError(f"{one_line(path)}: exists already; choose another name, or remove the file")
    if is_run(Path("checkpoints", run)):
        raise UserError(f"checkpoints/{run}: holds a run of this name already; choose another name")

    images, machine = KNOWN["digits"] if data is None else look(data), this_machine()
    digits = images is KNOWN["digits"]
    if template == "quickstart" and not digits:
        raise UserError("--from quickstart: trains on digits; leave out --data, or --from for a config for your data")
    if template is None and digits:
        template = "quickstart"
    if template == "classifier" and len(images.classes) < 2:
        raise UserError(f"--from classifier: {images.where} has no classes; expected a folder for each class")
    template = template or ("few-photos" if choices.are_few(images, machine) else "photos")
    text, reasons = _text(template, file, _written(images, file), machine)
    if module is None:
        validate(Config, yaml.safe_load(text), str(file))
    _write(file, text, module)
    return "\n".join(_report(file, module, images, machine, template, reasons))


def _text(template: Template, file: Path, images: Images, machine: Machine) -> tuple[str, tuple[str, ...]]:
    """The config, and the reasons for what it says."""
    run = file.stem
    if template == "quickstart":
        return templates.quickstart(run, str(file)), ()
    if template == "classifier":
        chosen = choices.for_classifier(images, machine)
        return templates.classifier(run, images, machine, chosen, str(file)), chosen.reasons
    chosen = choices.for_gan(images, machine, few=template == "few-photos")
    if template == "own-game":
        chosen = choices.for_own_game(images, chosen)
        return templates.own_game(run, images, machine, chosen, str(file)), chosen.reasons
    return templates.gan(run, images, machine, chosen, str(file)), chosen.reasons


def _file(name: str) -> Path:
    """The path of the config.

    Raises:
        UserError: no run can have this name.
    """
    path = Path(name)
    if path.suffix in _SUFFIXES:
        path = path.with_suffix("")
    kind = FolderName()
    try:
        run = kind.convert(path.name)
    except ValueError:
        raise UserError(f"NAME: expected {kind.expected}, got {one_line(name)!r}") from None
    if path.parent.exists() and not path.parent.is_dir():
        raise UserError(f"NAME: {one_line(path.parent)} is no folder, and so {run}.yaml cannot lie in it")
    return path.with_name(f"{run}.yaml")


def _require_module(name: str, module: Path) -> None:
    """Refuse a name of a module that Python could not import, or would mistake for another.

    Raises:
        UserError: the name is such a one.
    """
    stem = module.stem
    if module.parent != Path("."):
        raise UserError(f"--from own-game: {stem}.py must lie in the working directory; leave the folder out of {name}")
    if not stem.isidentifier() or keyword.iskeyword(stem):
        raise UserError(
            f"--from own-game: {stem}.py is to be imported; expected a name of letters, digits and _ that is "
            f"no word of Python, got {name!r}"
        )
    if stem in sys.stdlib_module_names or (not module.exists() and _is_installed(stem)):
        raise UserError(f"--from own-game: {stem} is the name of another Python module; choose another name")


def _is_installed(module: str) -> bool:
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return True
    # A folder that is no package does not keep a module of its name from being imported.
    return found is not None and found.origin is not None


def _written(images: Images, file: Path) -> Images:
    """The images with their path as the config names it: relative to the config if they lie beside or below it."""
    if "path" not in images.keys:
        return images
    path, folder = Path(os.path.abspath(images.keys["path"])), Path(os.path.abspath(file.parent))
    plain = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    plain = f"./{plain}" if plain.startswith("~") else plain
    return replace(images, keys=images.keys | {"path": plain})


def _write(file: Path, text: str, module: Path | None) -> None:
    """Write the config, and the module of a game; both or none."""
    if not file.parent.is_dir():
        make_folder(file.parent)
    if module is not None:
        write_file(module, Path(__file__).with_name("game_template.py").read_text(encoding="utf-8"))
    try:
        write_file(file, text)
    except BaseException:
        if module is not None:
            module.unlink(missing_ok=True)
        raise


def _report(
    file: Path, module: Path | None, images: Images, machine: Machine, template: Template, reasons: tuple[str, ...]
) -> list[str]:
    lines = [f"data     {images.described()}", f"machine  {machine.described()}"]
    files = f"{file} and {module}" if module else str(file)
    lines.append(f"wrote    {files} ({template})")
    lines += [f"         {reason}" for reason in reasons]
    if images.keys["name"] in KNOWN and images.keys["name"] != "digits":
        lines.append("         the data set is downloaded into the folder data, unless it lies there")
    config = shlex.quote(str(file))
    run = shlex.quote(f"checkpoints/{file.stem}")
    after = f"gantrain eval {run}" if template == "classifier" else f"gantrain sample {run}"
    return [
        *lines,
        "next",
        f"  gantrain doctor {config}",
        f"  gantrain train {config}",
        f"  {after}",
        "  tensorboard --logdir checkpoints",
        f"  gantrain report {run}",
    ]
