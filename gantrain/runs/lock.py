"""The lock of a run's folder: one process at a time writes into it.

The lock is a file that appears under its name with all of its content, by a hard link, which file servers do as a whole
too. It says who holds it. On the host of the holder it is known whether the holder lives. Elsewhere, in another
container, and after a reboot one watches: the holder renews the file's time every few seconds. Times of different hosts
are never compared.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
import threading
import time
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gantrain.errors import Notice, UserError
from gantrain.utils.io import explaining_write_errors, make_folder, open_regular

LOCK = "lock"
# Seconds from one renewal to the next, and for which others watch for one before they take the lock over.
RENEWAL = 5.0
PATIENCE = 30.0
_PAUSE = 0.2
_TEXTS = ("host", "since", "boot", "namespace", "started", "token")


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: the name of its host.
        process: its number there.
        since: when it took the lock, by the clock of its host.
        boot: the kernel in which it runs, from one boot to the next; empty where the system does not say.
        namespace: the set of processes in which its number counts, which is another in each container.
        started: when it began, in ticks since the boot.
        token: a number that is drawn for each lock, so that no two are the same.
        digest: a digest of the lock's content.
    """

    host: str
    process: int
    since: str
    boot: str = ""
    namespace: str = ""
    started: str = ""
    token: str = ""
    digest: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}," if self.host else "an unknown process"


class RunLock:
    """Holds the lock of a run's folder inside the context.

    Args:
        folder: the folder of the run; it is made where it is missing.

    Raises:
        UserError: another process holds the lock, or the folder cannot be written.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.path = self.folder / LOCK
        self._content = b""
        self._process = os.getpid()
        self._made = False
        self._released = threading.Event()

    def __enter__(self) -> RunLock:
        self._content = _content()
        self._process = os.getpid()
        self._made = not self.folder.exists()
        make_folder(self.folder, durable=True)
        try:
            self._acquire()
        except BaseException:
            self._remove_folder()
            raise
        self._released.clear()
        threading.Thread(target=self._renew, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A process that was forked while the lock was held does not hold it.
        if os.getpid() != self._process:
            return
        self._released.set()
        with suppress(OSError):
            if self._held():
                self.path.unlink()
        self._remove_folder()

    def require(self) -> None:
        """Check that this process still holds the lock, before it writes what others would miss.

        Raises:
            UserError: another process has taken the lock over, or the folder is gone.
        """
        if self._held():
            return
        if not self.path.exists() and _create(self.path, self._content):  # somebody has deleted the file
            return
        found = _read(self.path) or Holder("", 0, "")
        raise UserError(
            f"{self.folder}: {found} has taken this run over, since this process gave no sign of life for "
            f"{PATIENCE:.0f} seconds; this process writes nothing more"
        )

    def _acquire(self) -> None:
        while True:
            found = _read(self.path)
            if found is None:
                if _create(self.path, self._content):
                    return
            elif _lives(self.path, found, PATIENCE):
                raise _held_by(self.folder, found)
            elif self._take_over(found):
                return

    def _take_over(self, stale: Holder) -> bool:
        """Replace a stale lock; of several processes that try, the one with the claim to this very lock does."""
        claim = self.path.with_name(f"{LOCK}.{stale.digest}")
        if not _create(claim, self._content):
            other = _read(claim)
            if other is not None and not _lives(claim, other, PATIENCE):
                claim.unlink(missing_ok=True)
            time.sleep(_PAUSE)
            return False
        # Whoever had the claim before has replaced the lock by it, and what was stale is no longer there.
        found = _read(self.path)
        with explaining_write_errors(self.path):
            if found is not None and found.digest == stale.digest:
                os.replace(claim, self.path)
                return True
            claim.unlink(missing_ok=True)
        return False

    def _renew(self) -> None:
        while not self._released.wait(RENEWAL):
            with suppress(OSError, UserError):
                if self._held():
                    os.utime(self.path)

    def _held(self) -> bool:
        found = _read(self.path)
        return found is not None and found.digest == _digest(self._content)

    def _remove_folder(self) -> None:
        if self._made:
            with suppress(OSError):  # a folder that is not empty stays
                self.folder.rmdir()


def holder(folder: Path, seconds: float | None = None) -> Holder | None:
    """Who holds the lock of a run's folder; None if nobody does, or if the process that held it has ended.

    Args:
        folder: the folder of the run.
        seconds: for how long a holder whose life cannot be looked up, such as one on another host, is watched for a
            sign of life; by default the time after which its lock may be taken over.
    """
    path = Path(folder) / LOCK
    found = _read(path)
    return found if found is not None and _lives(path, found, PATIENCE if seconds is None else seconds) else None


def look(folder: Path) -> tuple[Holder, bool | None] | None:
    """Who is named in the lock of a run's folder, and whether that process lives; None where there is no lock.

    Nothing is written, and nobody is waited for: where it cannot be looked up whether the process lives, such as on
    another host, None stands for the answer.

    Raises:
        UserError: what bears the name of the lock is none, or cannot be read.
    """
    found = _read(Path(folder) / LOCK)
    return None if found is None else (found, _looked_up(found))


def require_free(folder: Path) -> None:
    """Refuse a folder into which a process of this host writes. Nothing is written, and nobody is waited for.

    Raises:
        UserError: such a process holds the lock.
    """
    found = holder(folder, seconds=0)
    if found is not None:
        raise _held_by(folder, found)


def _held_by(folder: Path, found: Holder) -> UserError:
    return UserError(f"{folder}: {found} writes into this run; wait for it or stop it, or choose another run.name")


def _lives(path: Path, found: Holder, seconds: float) -> bool:
    """Whether the process that wrote the lock at ``path`` lives: looked up where possible, and watched otherwise."""
    known = _looked_up(found)
    if known is not None:
        return known
    if seconds > 0:
        warnings.warn(
            f"{path.parent}: {found} held this folder; waiting {seconds:.0f} seconds for a sign of its life",
            Notice,
            stacklevel=2,
        )
    first, limit = _stamp(path), time.monotonic() + seconds
    while time.monotonic() < limit:
        time.sleep(min(_PAUSE, seconds))
        now = _stamp(path)
        if now != first:
            return now is not None
    return False


def _looked_up(found: Holder) -> bool | None:
    """Whether a process lives; None where its number says nothing: on another host, after a reboot, in a container."""
    boot, namespace = _place()
    if boot and (found.boot, found.namespace) == (boot, namespace):
        return _started(found.process) in (found.started, _HIDDEN)
    return None


def _create(path: Path, content: bytes) -> bool:
    """Make a file with this content; returns whether there was none."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    with explaining_write_errors(path):
        try:
            temporary.write_bytes(content)
            os.link(temporary, path)
            return True
        except FileExistsError:
            # A file server may have made the link, and have made it again when its answer was lost.
            return temporary.stat().st_nlink == 2
        except OSError:
            return _create_without_link(path, content)
        finally:
            temporary.unlink(missing_ok=True)


def _create_without_link(path: Path, content: bytes) -> bool:
    try:
        stream = path.open("xb")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(content)
    except BaseException:
        path.unlink(missing_ok=True)  # others would take what is half-written for the lock of an unknown process
        raise
    return True


def _read(path: Path) -> Holder | None:
    try:
        # Looked at once: between two looks another process may take the lock away.
        with open_regular(path) as stream:
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.EINVAL):
            raise UserError(f"{path}: {error.strerror}, which would be the lock of the run; move it away") from error
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        entries = json.loads(content)
        texts = {name: _printable(entries[name]) for name in _TEXTS}
        return Holder(process=int(entries["process"]), **texts, digest=_digest(content))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        # A system that does not know hard links was interrupted, or somebody has edited the file.
        return Holder("", 0, "", digest=_digest(content))


def _printable(text: Any) -> str:
    return "".join(character for character in str(text)[:100] if character.isprintable())


def _content() -> bytes:
    boot, namespace = _place()
    since = time.strftime("%Y-%m-%d %H:%M:%S %z")
    own = Holder(
        socket.gethostname(), os.getpid(), since, boot, namespace, _started(os.getpid()) or "", secrets.token_hex(8)
    )
    entries = asdict(own)
    del entries["digest"]
    return json.dumps(entries, indent=1).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _stamp(path: Path) -> tuple[int, int] | None:
    # Opened, since a file server's client then asks the server and not its memory.
    try:
        with path.open("rb") as stream:
            found = os.fstat(stream.fileno())
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _place() -> tuple[str, str]:
    """The boot of this kernel, and the namespace in which numbers of processes count; empty where unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot}", os.readlink("/proc/self/ns/pid")
    except OSError:
        return "", ""


# Stands for the start of a process of another user that the system hides.
_HIDDEN = "hidden"


def _started(process: int) -> str | None:
    """When a process of this host began, in ticks since the boot; None if it has ended."""
    if process < 1:  # stands for several processes
        return None
    try:
        os.kill(process, 0)
    except PermissionError:
        pass
    except (ProcessLookupError, OverflowError):
        return None
    try:
        state, *entries = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return _HIDDEN
    return None if state in "ZX" else entries[18]
