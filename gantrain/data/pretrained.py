"""What is loaded from Hugging Face: from a folder, from the cache of earlier downloads, or from the hub.

Nothing that is loaded may execute code: weights are safetensors, and code beside them is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gantrain.errors import UserError


def load(who: str, what: str, name: str, files: str, **options: Any) -> Any:
    """``transformers.<what>.from_pretrained(name)``; the hub is asked only for what is in no folder and no cache.

    Args:
        who: the part that loads and its argument, for messages.
        what: an Auto class of transformers.
        name: a folder, or a name on the hub such as ``bert-base-uncased`` or ``organisation/model``.
        files: what the folder must hold, for messages.
        options: of ``from_pretrained``.

    Raises:
        UserError: transformers is not installed, there is nothing of that name, or it cannot be loaded.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(
            f"{who}: needs the package transformers, which is not installed; pip install 'gantrain[language]'"
        ) from None
    folder = Path(name).expanduser()
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UserError(
            f"{who}: no such folder as {name}; expected one with {files}, or a name on the Hugging Face hub"
        )
    cls = getattr(transformers, what)
    with _quietly(transformers.logging):
        if folder.is_dir():
            return _loaded(cls, folder, f"{who}: {name}: expected a folder with {files}", True, options)
        try:
            return _loaded(cls, name, "", True, options)
        except UserError:
            advice = (
                f"{who}: {name} is neither a folder nor in the cache, and the Hugging Face hub did not give it; "
                f"without the hub, put {files} into a folder and write its path"
            )
            return _loaded(cls, name, advice, False, options)


def _loaded(cls: Any, name: str | Path, advice: str, offline: bool, options: dict[str, Any]) -> Any:
    try:
        return cls.from_pretrained(name, local_files_only=offline, trust_remote_code=False, **options)
    except Exception as error:  # whatever a file that is not what it should be leads to
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{advice} ({type(error).__name__}: {reason})") from error


@contextmanager
def _quietly(logging: Any) -> Iterator[None]:
    """Without transformers' progress bars and reports on what was loaded: what is wrong with it is said by us."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
