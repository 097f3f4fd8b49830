"""Loading of tokenizers, models and data from Hugging Face: a folder, the cache of earlier downloads, or the hub.

Nothing that is loaded may execute code: weights are read from safetensors, and code beside them is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from gantrain.config.paths import not_found
from gantrain.errors import UserError
from gantrain.utils.io import require_regular_files


def load(who: str, what: str, name: str, files: str, **options: Any) -> Any:
    """The result of ``transformers.<what>.from_pretrained(name, **options)``.

    The hub is asked only where ``name`` is neither a folder nor in the cache.

    Args:
        who: the part that loads and the argument with the name, with which error messages begin.
        what: the name of an Auto class of transformers.
        name: a folder, or a name on the hub such as ``bert-base-uncased`` or ``organisation/model``.
        files: the files that the folder must hold, as error messages call them.
        options: further arguments of ``from_pretrained``.

    Raises:
        UserError: transformers is not installed, nothing of that name is found, or what is found cannot be loaded.
    """
    transformers = _transformers(who)
    folder = _folder(who, name, f"a folder with {files}")
    cls = getattr(transformers, what)
    with _quietly(transformers.logging):
        if folder.is_dir():
            require_regular_files(folder, who)
            return _loaded(cls, folder, f"{who}: {name}: expected a folder with {files}", True, options)
        try:
            return _loaded(cls, name, "", True, options)
        except UserError:
            advice = (
                f"{who}: {name} is neither a folder nor in the cache, and the Hugging Face hub did not give it; "
                f"without the hub, put {files} into a folder and write its path"
            )
            return _loaded(cls, name, advice, False, options)


def data_folder(who: str, name: str, files: str, wanted: Callable[[Path], bool]) -> Path:
    """The folder of a data set: the one that is named, or a copy of some files of a data set on the hub.

    The hub is asked only where ``name`` is no folder, and the cache does not hold what is wanted. The files are data;
    none of them is executed.

    Args:
        who: the data set and the argument with the name, with which error messages begin.
        name: a folder, or a name on the hub such as ``nyu-mll/glue``.
        files: a pattern of the files on the hub that are needed, such as ``mrpc/*.parquet``.
        wanted: whether a folder holds what is wanted; asked of the cache only.

    Raises:
        UserError: transformers is not installed, or the hub does not give the files.
    """
    folder = _folder(who, name, "a folder")
    if folder.is_dir():
        require_regular_files(folder, who)
        return folder
    logging = _transformers(who).logging
    from huggingface_hub import snapshot_download

    reason = f"it has no {files}"
    with _quietly(logging):
        for offline in (True, False):
            try:
                found = Path(
                    snapshot_download(name, repo_type="dataset", allow_patterns=files, local_files_only=offline)
                )
            except Exception as error:
                reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            else:
                if wanted(found):
                    return found
    raise UserError(
        f"{who}: {name} is neither a folder nor in the cache, and the Hugging Face hub did not give it; without the "
        f"hub, copy the data set into a folder and write its path ({reason})"
    )


def _transformers(who: str) -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{who}: needs the package transformers, which is not installed; pip install 'gantrain[language]'"
        ) from None
    return transformers


def _folder(who: str, name: str, what: str) -> Path:
    """The folder of this name, which may be missing if the name may be one on the hub."""
    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise not_found(who, folder, f"expected {what}, or a name on the Hugging Face hub")
    return folder


def _loaded(cls: Any, name: str | Path, advice: str, offline: bool, options: dict[str, Any]) -> Any:
    try:
        return cls.from_pretrained(name, local_files_only=offline, trust_remote_code=False, **options)
    except Exception as error:  # a damaged file may lead to any error
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{advice} ({type(error).__name__}: {reason})") from error


@contextmanager
def _quietly(logging: Any) -> Iterator[None]:
    """Silence transformers' progress bars and reports inside the block; problems are raised as errors instead."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
