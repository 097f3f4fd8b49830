"""Runs inputs of the command line in forked children of one process that has imported torch, and judges them."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# Seconds of its own after which a command hangs, and seconds on the clock after which it is not watched any longer.
HANG, PATIENCE = 5.0, 60.0
# Bytes that a command may take beyond what the imports take.
MEMORY = 3 << 30
# What only a run whose training has begun says last.
_UNDER_WAY = re.compile(r"^gantrain: (step \d+|.*(cannot be written|could not be written))")


@dataclass(frozen=True)
class Entry:
    """A file, folder, link or FIFO of the working directory.

    Attributes:
        path: its path in the working directory.
        content: the bytes of a file; the target of a link; None for a folder and a FIFO.
        kind: "file", "folder", "link", "hard link" or "fifo".
    """

    path: str
    content: bytes | str | None = None
    kind: str = "file"


@dataclass(frozen=True)
class Trial:
    """One input: files, an environment, and the command that meets them.

    Attributes:
        kind: the kind of the input.
        arguments: the arguments of gantrain.
        entries: what lies in the working directory, in the order in which it is made.
        templates: folders that are copied into the working directory first: name -> source.
        environment: variables beside those of the harness.
        damage: changes the working directory after everything else.
    """

    kind: str
    arguments: Sequence[str]
    entries: Sequence[Entry] = ()
    templates: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    damage: Sequence[Callable[[Path], None]] = ()

    def prepare(self, folder: Path) -> None:
        """Fill the working directory. What the file system refuses, such as too long a name, is left out."""
        for name, source in self.templates.items():
            shutil.copytree(source, folder / name)
        for entry in self.entries:
            with suppress(OSError, ValueError):
                _make(folder, entry)
        for change in self.damage:
            with suppress(Exception):  # an earlier change may have left nothing to change
                change(folder)


@dataclass(frozen=True)
class Outcome:
    """What became of an input.

    Attributes:
        code: the exit code; minus the signal for a command that died from one; None for one that was ended.
        seconds: the time that the command ran or slept; waiting for a processor does not count.
        problems: what it did that no command may do; empty where all is well.
        errors: what it wrote to standard error.
    """

    code: int | None
    seconds: float
    problems: Sequence[str]
    errors: str


class Child:
    """A command under way."""

    def __init__(self, trial: Trial, where: Path):
        self.trial = trial
        self.where = Path(tempfile.mkdtemp(dir=where))
        self.folder = self.where / "work"
        self.folder.mkdir()
        trial.prepare(self.folder)
        self.before = listing(self.folder)
        self.changed = ""
        sys.stdout.flush(), sys.stderr.flush()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(trial, self.where)

    def over(self) -> Outcome | None:
        """The outcome, once the command has ended, or has to be ended."""
        wall = time.monotonic() - self.began
        done = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        own = wall - _waited(self.pid)
        if done is None and own < HANG and wall < PATIENCE:
            return None
        if done is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.kill(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        with suppress(ProcessLookupError):  # what it has left running
            os.killpg(self.pid, signal.SIGKILL)
        code = None if done is None else os.waitstatus_to_exitcode(status)
        errors = (self.where / "stderr").read_text(encoding="utf-8", errors="replace")
        return Outcome(code, own, self._problems(code, errors, usage.ru_maxrss * 1024), errors)

    def clear(self) -> None:
        """Delete the working directory."""
        shutil.rmtree(self.where, ignore_errors=True)

    def _problems(self, code: int | None, errors: str, memory: int) -> list[str]:
        found = []
        if code is None:
            found.append("hang")
        elif code < 0:
            found.append(f"died from {signal.Signals(-code).name}")
        elif code not in (0, 2):
            found.append(f"exit code {code}")
        if "Traceback (most recent call last)" in errors:
            found.append("traceback")
        lines = errors.splitlines()
        if code == 2 and not lines and "doctor" not in self.trial.arguments[:1]:
            found.append("silent")
        if code == 2 and not all(line.startswith("gantrain: ") for line in lines):
            found.append("other lines")
        if any(len(line) > 4000 for line in lines):
            found.append("endless line")
        if memory > _imported + MEMORY:
            found.append("memory")
        after = listing(self.folder)
        if any(name.endswith(".tmp") for name in after.keys() - self.before.keys()):
            found.append("temporary files")
        # Samples that stay on disk are read as they are needed, and a bad one ends a run that has begun.
        late = "data.storage=disk" in self.trial.arguments and any("cannot be read" in line for line in lines[-1:])
        if code == 2 and not late and not any(map(_UNDER_WAY.match, lines[-1:])) and after != self.before:
            found.append("half-made folders")
            changed = sorted(dict(self.before.items() ^ after.items()))
            self.changed = ", ".join(changed[:5])
        return found


def listing(folder: Path) -> dict[str, str]:
    """The paths below a folder, each with what tells its content apart. Caches of statistics do not count."""
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".statistics", "__pycache__")]
        for name in (*folders, *files):
            path = Path(place, name)
            found[os.path.relpath(path, folder)] = _digest(path)
    return found


def warm(*configs: Path) -> None:
    """Import what commands import, so that children need not; freeze it, so that they share its memory.

    Args:
        configs: configs of which each is loaded, built and trained for a step, which leaves torch and the caches warm.
    """
    import gc

    import matplotlib.backends.backend_agg  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import torchvision.datasets  # noqa: F401

    import gantrain.cli  # noqa: F401
    import gantrain.commands.compare
    import gantrain.commands.diagnose
    import gantrain.commands.doctor.report
    import gantrain.commands.evaluate
    import gantrain.commands.map
    import gantrain.commands.sample
    import gantrain.commands.solve
    import gantrain.commands.train  # noqa: F401
    from gantrain.commands.train import make_trainer
    from gantrain.compute.compile import reference_arithmetic
    from gantrain.config.loading import load, load_map, load_solve

    global _imported
    torch.set_num_threads(1)
    for load_it, name in ((load_solve, "toy/forsaken"), (load_map, "theory/map")):
        load_it(f"configs/{name}.yaml")
    for config in configs:
        with reference_arithmetic():
            make_trainer(load(config), torch.device("cpu")).train_step(observe=True)
    gc.collect()
    gc.freeze()
    _imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


_imported = 0


def _become(trial: Trial, where: Path) -> None:
    """Be the command in this forked process, to its end."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for descriptor, (name, mode) in enumerate(
            ((os.devnull, os.O_RDONLY), (where / "stdout", os.O_WRONLY), (where / "stderr", os.O_WRONLY))
        ):
            os.dup2(os.open(name, mode | os.O_CREAT), descriptor)
        os.chdir(where / "work")
        socket.getaddrinfo = _nobody  # so that nothing is downloaded, wherever this runs
        home = {"HOME": str(where), "XDG_STATE_HOME": str(where / "state"), "TORCH_HOME": str(where / "hub")}
        os.environ |= {**home, **trial.environment}
        sys.argv = ["gantrain", *trial.arguments]
        from gantrain.cli import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _nobody(host: object, *_: object, **__: object) -> None:
    if host not in ("localhost", "127.0.0.1"):
        raise socket.gaierror(socket.EAI_FAIL, "no network here")
    return _getaddrinfo(host, *_, **__)  # type: ignore[arg-type, return-value]


_getaddrinfo = socket.getaddrinfo


def _waited(pid: int) -> float:
    """The seconds for which a process was ready and had no processor."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _make(folder: Path, entry: Entry) -> None:
    path = Path(os.path.normpath(folder / entry.path))
    if path != folder and not path.is_relative_to(folder):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "folder":
        path.mkdir(exist_ok=True)
    elif entry.kind == "fifo":
        os.mkfifo(path)
    elif entry.kind == "link":
        os.symlink(str(entry.content), path)
    elif entry.kind == "hard link":
        os.link(folder / str(entry.content), path)
    else:
        assert isinstance(entry.content, bytes)
        path.write_bytes(entry.content)


def _digest(path: Path) -> str:
    if path.is_symlink():
        return f"link {os.readlink(path)}"
    if not path.is_file():
        return "folder" if path.is_dir() else "special"
    return hashlib.sha1(path.read_bytes()).hexdigest()
