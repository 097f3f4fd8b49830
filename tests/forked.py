"""Real processes without the seconds that importing torch takes: each is forked from a server that has imported it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import connection
from pathlib import Path
from typing import Any

import psutil

from gantrain.compute.compiler_import import postpone_compiler

_context = multiprocessing.get_context("forkserver")
_IMPORTED = [
    "gantrain.cli",
    "gantrain.commands.train",
    "torch.utils.tensorboard",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    # What many processes would import each by itself: with the module of the test that starts them, for a gradient that
    # begins with more than one number, and for shards.
    "pytest",
    "torch.fx.experimental.symbolic_shapes",
    "torch.distributed.fsdp",
]
_context.set_forkserver_preload(_IMPORTED)
# As the command line sets it before it imports torch, which reads it once.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
# After so long something is waited for in vain, however busy the machine is.
SECONDS = 240
_started: list[Command] = []


class Command:
    """``gantrain ARGUMENTS`` in the working directory ``folder``, with more variables in its environment.

    ``target`` is called in the process with the arguments of :func:`run_command`, which it is by default.
    """

    def __init__(self, folder: Path, *arguments: str, target: Callable[..., None] | None = None, **environment: str):
        self.files = [Path(tempfile.mkstemp(dir=folder, suffix=suffix)[1]) for suffix in (".out", ".err")]
        files = [str(file) for file in self.files]
        self.process = _context.Process(target=target or run_command, args=(str(folder), arguments, files, environment))
        self.process.start()
        _started.append(self)

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.process.pid, number)

    def running(self) -> bool:
        return self.process.is_alive()

    def wait(self) -> int:
        """The exit code; minus the signal for a process that died from one."""
        self.process.join(SECONDS)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {SECONDS} seconds:\n{self.output}{self.errors}")
        return self.process.exitcode

    @property
    def output(self) -> str:
        return self.files[0].read_text()

    @property
    def errors(self) -> str:
        return self.files[1].read_text()


def end_commands() -> None:
    """End what a test that failed has left running, which would slow down other tests and never let pytest end."""
    while _started:
        process = _started.pop().process
        if process.is_alive():
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for child in children:
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
        process.join(SECONDS)


def gantrain(folder: Path, *arguments: str) -> Command:
    """The command, once it has ended well."""
    command = Command(folder, *arguments)
    code = command.wait()
    assert code == 0, f"exit code {code}:\n{command.output}{command.errors}"
    return command


def decoys(folder: Path) -> None:
    """Modules in a working directory that end every process which takes them for those that bear their names."""
    for name in ("gantrain", "random", "json", "socket", "selectors", "tempfile", "logging", "numpy", "torch"):
        (folder / f"{name}.py").write_text(
            "import os\nos.write(2, b'a module of the working directory ran\\n')\nos._exit(3)\n"
        )


def hosts(folders: Sequence[Path], *arguments: str, target: Callable[..., None] | None = None) -> list[Command]:
    """The command, or ``target``, once in each folder, as a launcher starts it on hosts with one process each."""
    held, port = hold_port()
    commands = [
        Command(folder, *arguments, target=target, LOCAL_RANK="0", **_place(rank, len(folders), port))
        for rank, folder in enumerate(folders)
    ]
    commands[0].port = held  # as long as the first process may listen there
    return commands


def together(function: Callable[..., Any], *arguments: Any, world: int = 2) -> list[Any]:
    """What ``function(*arguments)`` returns in each of several processes that a launcher might have started."""
    held, port = hold_port()
    pipes, processes = [], []
    for rank in range(world):
        receiver, sender = _context.Pipe(duplex=False)
        processes.append(_context.Process(target=_rank, args=(sender, rank, world, port, function, arguments)))
        processes[-1].start()
        sender.close()
        pipes.append(receiver)
    try:
        answers = {}
        while len(answers) < world:
            ready = connection.wait([pipe for pipe in pipes if pipe not in answers], SECONDS)
            assert ready, "no answer"
            for pipe in ready:
                try:
                    answers[pipe], failure = pickle.loads(pipe.recv_bytes())
                except EOFError:
                    failure = "ended without an answer"
                assert failure is None, f"process {pipes.index(pipe)}:\n{failure}"
        return [answers[pipe] for pipe in pipes]
    finally:
        for process in processes:
            process.join(1)
            process.kill()
        held.close()


def place_on_host(local_world: int) -> None:
    """Make this process, which :func:`together` started, one of so many on its host."""
    os.environ["LOCAL_WORLD_SIZE"] = str(local_world)
    os.environ["LOCAL_RANK"] = str(int(os.environ["RANK"]) % local_world)


def hold_port() -> tuple[socket.socket, int]:
    """A socket, and its port, which nobody else is given while the socket lives. Whoever is told of it may listen."""
    held = socket.socket()
    # As the listener sets it too, the two may share the port, for only one of them listens.
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("", 0))
    return held, held.getsockname()[1]


def until(condition: Callable[[], bool]) -> None:
    """Wait for the condition."""
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, f"waited in vain for {SECONDS} seconds"
        time.sleep(0.002)


def ended(process: psutil.Process) -> bool:
    """Whether the process has ended, be it that nobody has asked for its exit code."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def workers_of(command: Command, count: int) -> list[psutil.Process]:
    """The processes that read the data of a running command, once they have given themselves their name."""
    found: list[psutil.Process] = []

    def named() -> bool:
        found[:] = [p for p in psutil.Process(command.process.pid).children() if p.name() == "pt_data_worker"]
        return len(found) == count

    until(named)
    return found


def _place(rank: int, world: int, port: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}


def run_command(
    folder: str, arguments: tuple[str, ...], files: Sequence[str | int], environment: dict[str, str]
) -> None:
    """Run the command in this process, its output and its errors going into files or open descriptors."""
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(file if isinstance(file, int) else os.open(file, os.O_WRONLY), descriptor)
    os.setsid()
    os.chdir(folder)
    os.environ |= environment
    sys.argv = ["gantrain", *arguments]
    from gantrain.cli import main

    main()


def _rank(pipe: Any, rank: int, world: int, port: int, function: Callable[..., Any], arguments: tuple) -> None:
    os.environ |= {"LOCAL_RANK": str(rank)} | _place(rank, world, port)
    postpone_compiler()  # as gantrain does before it trains, and the tests' own process
    result, failure = None, None
    try:
        result = function(*arguments)
    except BaseException:
        failure = traceback.format_exc()
    # Pickled here, since multiprocessing shares a tensor's memory only for as long as its owner lives.
    pipe.send_bytes(pickle.dumps((result, failure)))
