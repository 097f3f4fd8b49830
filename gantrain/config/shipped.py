"""The files that gantrain brings along beside its code: example configs, classifiers for metrics, and a generator."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel has them inside the package, see setup.py; in a clone they lie beside it.
ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent
CLASSIFIERS = ("checkpoints/digits-classifier", "checkpoints/photos-classifier")
SHIPPED_RUNS = (*CLASSIFIERS, "checkpoints/cifar10-sngan")
RUNS = "checkpoints"
"""The folder that holds runs, unless run.folder says otherwise."""


def find(path: str | Path, folder: str | Path = "") -> Path:
    """The path in a folder if it exists there, otherwise the shipped file or folder of that name.

    Args:
        path: the path of a file or folder. ``configs/quickstart.yaml`` and ``checkpoints/digits-classifier`` are names
            of shipped ones.
        folder: the folder to which the path is relative; by default the current directory.

    Returns:
        The path in the folder if there is neither.
    """
    here = Path(folder, path)
    return ROOT / path if is_missing(here) and may_be_shipped(path) and not is_missing(ROOT / path) else here


def find_run(run: str | Path, folder: str | Path = "") -> Path:
    """The folder of a run that a config or the command line names.

    Args:
        run: a path, or a bare name such as ``digits-classifier``. A name is searched in the folder, then in
            ``checkpoints`` in the current directory, then among those shipped.
        folder: the folder to which the path is relative; by default the current directory.

    Returns:
        The path in the folder if the run is nowhere.
    """
    path = Path(run)
    places = [Path(folder, path)]
    if len(path.parts) == 1:
        path = Path(RUNS, path)
        places.append(Path.cwd() / path)
    if may_be_shipped(path):
        places.append(ROOT / path)
    elif path.is_absolute() and str(Path(*path.parts[-2:])) in SHIPPED_RUNS:
        places.append(ROOT / Path(*path.parts[-2:]))  # shipped with another installation, whose path a config has kept
    return next((place for place in places if not is_missing(place)), places[0])


def is_missing(path: str | Path) -> bool:
    """Whether nothing lies at a path. A path that cannot be read for another reason is not missing."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def may_be_shipped(path: str | Path) -> bool:
    """Whether a path can be the name of a shipped file or folder."""
    path = Path(path)
    return ".." not in path.parts and any(path.is_relative_to(folder) for folder in ("configs", *SHIPPED_RUNS))


def outputs(run: Path) -> Path:
    """The folder for what a command makes of a run.

    Args:
        run: the folder of the run.

    Returns:
        The folder of the run; for a shipped run outside the current directory, in whose folder nothing belongs that a
        command writes, the current directory. A folder of the run's name there would be taken for the run.
    """
    elsewhere = run in [ROOT / name for name in SHIPPED_RUNS] and not run.is_relative_to(Path.cwd())
    return Path() if elsewhere else run


def configs() -> list[str]:
    """Returns the names of all shipped configs, such as ``configs/quickstart.yaml``."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))
