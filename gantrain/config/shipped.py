"""The files that gantrain brings along beside its code: example configs, and the classifier of digits."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel has them inside the package, see setup.py; in a clone they lie beside it.
ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent
FOLDERS = ("configs", "checkpoints/digits-classifier")


def find(path: str | Path) -> Path:
    """The path itself if it exists, otherwise the shipped file or folder of that name; the path if there is neither.

    Args:
        path: the path of a file or folder. ``configs/quickstart.yaml`` and ``checkpoints/digits-classifier`` are names
            of shipped ones; a file or folder of that name in the working directory is preferred.
    """
    path = Path(path)
    return ROOT / path if is_missing(path) and _may_be_shipped(path) and not is_missing(ROOT / path) else path


def is_missing(path: Path) -> bool:
    """Whether nothing lies at a path. A path that cannot be read for another reason is not missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def places(path: str | Path) -> str:
    """Returns ``in FOLDER or FOLDER``, the places that :func:`find` has searched, to go on with in a message.

    It is empty for a path that can only be meant as it stands.
    """
    return f" in {Path.cwd()} or {ROOT}" if _may_be_shipped(Path(path)) else ""


def configs() -> list[str]:
    """Returns the names of all shipped configs, such as ``configs/quickstart.yaml``."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))


def _may_be_shipped(path: Path) -> bool:
    return ".." not in path.parts and any(path.is_relative_to(folder) for folder in FOLDERS)
