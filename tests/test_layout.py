"""The layout: folders import only from folders below them, and no files import each other in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import gantrain

PACKAGE = Path(gantrain.__file__).parent
# From the lowest to the highest. A name is a folder, or a loose file of the package.
ORDER = [
    *("errors", "config", "utils", "compute", "distributed"),
    *("data.readers", "data", "data.datasets", "plotting", "models.layers", "models"),
    *("games", "games.toy", "gradients", "sharpness", "optim", "outer", "builders", "solver"),
    *("analysis", "runs", "exporting"),
    *("metrics.extractors", "metrics.sources", "metrics.accumulators", "metrics"),
    *("train.callbacks", "train", "commands", "cli", "__main__"),
]
# Part by part it may use everything, and nothing uses it.
ASIDE = {"testing", "__init__"}
LOOSE_FILES = 10


def modules() -> dict[str, Path]:
    """All modules by their dotted names without the package's; a folder's ``__init__`` bears the folder's name."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return names


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of the package that a module imports anywhere in it, also in functions and for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for full in wanted:
            own, _, rest = full.partition(".")
            while own == "gantrain" and rest and rest not in known:
                rest = rest.rpartition(".")[0]
            if own == "gantrain":
                found.add(rest or "__init__")
    return found - {name}


def room(name: str) -> str:
    """The folder or loose file that a module belongs to, as the order names it."""
    parts = name.split(".")
    return next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in {*ORDER, *ASIDE})


def height(name: str) -> int:
    """The place in the order; an ``__init__`` has that of the highest in its folder, whose names it hands on."""
    if name in ORDER and (PACKAGE / Path(*name.split("."))).is_dir():
        return max(i for i, other in enumerate(ORDER) if f"{other}.".startswith(f"{name}."))
    return ORDER.index(room(name))


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def test_folders_import_only_downwards():
    upwards = [
        f"{name} -> {used}"
        for name, uses in graph().items()
        if room(name) not in ASIDE
        for used in sorted(uses)
        if used != "__init__" and (room(used) in ASIDE or height(used) > height(name))
    ]
    assert not upwards, "\n".join(upwards)


def test_no_files_import_each_other_in_a_circle():
    # Whoever imports a module also runs the __init__ of the folders above it that are not its own.
    uses = {
        name: {
            folder
            for used in direct
            for n in range(1, used.count(".") + 2)
            if (folder := ".".join(used.split(".")[:n])) and not f"{name}.".startswith(f"{folder}.")
        }
        for name, direct in graph().items()
        if name != "__init__"
    }
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for used in sorted(uses.get(name, ())):
                visit(used, [*path, name])
            done.add(name)

    for name in uses:
        visit(name, [])


def test_few_files_lie_loose_and_every_folder_says_what_belongs_there():
    assert len(list(PACKAGE.glob("*.py"))) <= LOOSE_FILES
    for path in PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        assert ast.get_docstring(tree) and "__all__" in names, path
