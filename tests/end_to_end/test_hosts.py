"""Several hosts without a file system in common: each command runs in a folder of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from forked import SECONDS, hold_port, hosts, until
from PIL import Image
from tiny import DIGITS, RING, config_of, rows, same, state, write

from gantrain.commands.train import train
from gantrain.runs import checkpoint
from gantrain.runs.folder import is_run

HERE = socket.gethostname()


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    found = [tmp_path / "first", tmp_path / "second"]
    for folder in found:
        folder.mkdir()
    return found


def errors(folders: list[Path], *arguments: str) -> tuple[str, str]:
    """What the hosts say when they give up, once all have."""
    commands = hosts(folders, "train", "config.yaml", *arguments)
    assert [command.wait() for command in commands] == [2, 2]
    first, second = (command.errors for command in commands)
    return first, second


def test_only_the_first_host_has_the_run_which_goes_on_there(folders):
    first, second = folders
    for folder in folders:
        write(folder, RING, "checkpoint.every=4", "run.steps=4")
    commands = hosts(folders, "train", "config.yaml")
    assert [command.wait() for command in commands] == [0, 0], commands[0].errors + commands[1].errors
    assert not (second / "ring").exists() and commands[1].output == ""
    commands = hosts(folders, "train", "config.yaml", "--resume", "run.steps=8")
    assert [command.wait() for command in commands] == [0, 0], commands[0].errors + commands[1].errors
    assert commands[0].output.startswith("going on from step 4\n") and commands[1].output == ""
    straight = hosts(folders, "train", "config.yaml", "run.name=straight", "run.steps=8")
    assert [command.wait() for command in straight] == [0, 0]
    assert same(state(first / "ring"), state(first / "straight"))
    assert rows(first / "ring") == rows(first / "straight")
    assert not (second / "ring").exists()


@pytest.mark.slow
def test_what_the_first_host_finds_is_said_once_on_each(folders):
    for folder in folders:
        write(folder, RING)
    train(config_of(RING, folders[0]))
    expected = "gantrain: ring: this run exists; add --resume to go on, --overwrite to start over, or run.name=NEW\n"
    assert errors(folders) == (expected, expected)
    said = errors(folders, "--resume", "run.seed=1")
    assert said[0] == said[1] and said[0].startswith("gantrain: run.seed: the run in ring has 0, this config 1; ")
    (newest,) = (folders[0] / "ring").glob("step_*")
    shutil.rmtree(newest)
    commands = hosts(folders, "train", "config.yaml", "--resume")
    assert [command.wait() for command in commands] == [0, 0]
    assert commands[0].output.startswith("nothing to resume: ring has no checkpoint, so the run starts anew\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.yaml").unlink(), "config.yaml: there is nothing at config.yaml in "),
        (lambda folder: write(folder, RING, "run.stepz=3"), "config.yaml: run.stepz: unknown key; "),
        (lambda folder: write(folder, RING, "run.seed=3"), "run.seed: 3 here, and 0 in the first process; start all "),
    ],
)
def test_what_is_wrong_on_the_second_host_is_said_on_both(folders, change, message):
    for folder in folders:
        write(folder, RING)
    change(folders[1])
    first, second = errors(folders)
    assert first == second and first.startswith(f"gantrain: process 1 on {HERE}: {message}") and first.count("\n") == 1
    assert not (folders[0] / "ring").exists()


IMAGES = ("data={name: image_folder, path: images, channels: 1, batch_size: 8}",)


def test_data_that_are_missing_or_others_on_the_second_host(folders):
    for folder in folders:
        write(folder, DIGITS, *IMAGES, "evaluate=null")
        (folder / "images").mkdir()
        for index in range(16):
            Image.new("L", (8, 8), 10 * index).save(folder / "images" / f"{index:02}.png")
    (folders[1] / "images" / "05.png").unlink()
    first, second = errors(folders)
    assert first == second and first.count("\n") == 1
    found = "15 samples instead of 16, 05.png is missing, compared with the first process; all hosts need the same data"
    assert first == f"gantrain: process 1 on {HERE}: data: {found}\n"
    shutil.rmtree(folders[1] / "images")
    said = f"gantrain: process 1 on {HERE}: data.path: there is nothing at images in {folders[1]}\n"
    assert errors(folders) == (said, said)
    assert not (folders[0] / "digits").exists()


LAUNCH = Path(__file__).parents[2] / "scripts" / "launch"


class Host:
    """A host on which ``scripts/launch/two_hosts.sh`` is run in a folder of its own, inside ``network`` if given."""

    def __init__(self, number: int, first: str, port: int, folder: Path, *arguments: str, network: str | None = None):
        self.errors_file = Path(tempfile.mkstemp(dir=folder, prefix="errors_")[1])
        environment = os.environ | {
            "PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "FIRST": first,
            "PORT": str(port),
            "PROCESSES": "1",
            "OMP_NUM_THREADS": "1",
        }
        inside = [] if network is None else ["ip", "netns", "exec", network]
        with self.errors_file.open("w") as errors:
            self.process = subprocess.Popen(
                [*inside, str(LAUNCH / "two_hosts.sh"), str(number), "config.yaml", *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def kill(self) -> None:
        """End all of it at once, as a power cut would."""
        launcher = psutil.Process(self.process.pid)
        for process in (*launcher.children(recursive=True), launcher):
            process.kill()
        self.process.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        return self.process.wait(seconds)

    @property
    def said(self) -> list[str]:
        """What gantrain, rather than torchrun, wrote to standard error."""
        return [line for line in self.errors_file.read_text().splitlines() if line.startswith("gantrain: ")]


def loopback():
    """Two launches on this host, each with a folder of its own."""
    yield "127.0.0.1", (None, None)


def namespaces():
    """Two network namespaces, joined by a pair of virtual interfaces."""
    names = tuple(f"gantrain{os.getpid()}{side}" for side in "ab")
    ends = tuple(f"gt{os.getpid() % 10**6}{side}" for side in "ab")
    commands = [f"netns add {name}" for name in names]
    commands += [f"link add {ends[0]} netns {names[0]} type veth peer name {ends[1]} netns {names[1]}"]
    for number, (name, end) in enumerate(zip(names, ends, strict=True), start=1):
        commands += [f"-n {name} addr add 10.213.7.{number}/24 dev {end}"]
        commands += [f"-n {name} link set {device} up" for device in ("lo", end)]
    try:
        for command in commands:
            made = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if made.returncode:
                pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
        yield "10.213.7.1", names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.fixture(params=[pytest.param(loopback, marks=pytest.mark.slow), namespaces])
def launched(request, folders):
    """Starts both hosts with the same arguments."""
    if request.param is namespaces and shutil.which("ip") is None:
        pytest.skip("no network namespaces here: there is no command ip")
    started, ports = [], []
    networks = request.param()
    first, names = next(networks)

    def start(*arguments: str) -> list[Host]:
        held, port = hold_port()
        ports.append(held)
        pairs = zip(range(2), folders, names, strict=True)
        both = [Host(number, first, port, folder, *arguments, network=name) for number, folder, name in pairs]
        started.extend(both)
        return both

    yield start
    for host in started:
        if host.process.poll() is None:
            host.kill()
    for held in ports:
        held.close()
    networks.close()


def under_way(folders, launched):
    """Both hosts of a run without end, once there is something to go on from."""
    for folder in folders:
        write(folder, RING, "checkpoint.every=5")
    first, second = launched("run.steps=1000000")
    until(lambda: (folders[0] / "ring" / "step_10").exists() or first.process.poll() is not None)
    return first, second


@pytest.mark.slow
def test_a_host_that_is_killed_ends_the_other_and_the_run_goes_on(folders, launched):
    first, second = under_way(folders, launched)
    second.kill()
    assert first.wait() != 0
    (line,) = first.said
    assert re.fullmatch(
        rf"gantrain: process 0 on {HERE}: process 1 on {HERE} has ended \(.+\); go on with --resume", line
    )
    newest = int(checkpoint.newest(folders[0] / "ring").name.removeprefix("step_"))
    resumed = hosts(folders, "train", "config.yaml", "--resume", f"run.steps={newest + 4}")
    assert [command.wait() for command in resumed] == [0, 0] and not (folders[1] / "ring").exists()
    straight = hosts(folders, "train", "config.yaml", "run.name=straight", f"run.steps={newest + 4}")
    assert [command.wait() for command in straight] == [0, 0]
    assert same(state(folders[0] / "ring"), state(folders[0] / "straight"))


@pytest.mark.slow
def test_the_end_of_the_host_with_the_run_ends_the_other(folders, launched):
    first, second = under_way(folders, launched)
    first.kill()
    assert second.wait() != 0
    (line,) = second.said
    assert line.startswith(f"gantrain: process 1 on {HERE}: process 0, or its launcher, has ended (")
    assert checkpoint.newest(folders[0] / "ring") is not None


@pytest.mark.slow
def test_hosts_whose_network_is_cut_end_within_the_timeout_and_the_run_goes_on(folders):
    networks = namespaces()
    address, names = next(networks)
    held, port = hold_port()
    started = []
    try:
        for folder in folders:
            write(folder, RING, "checkpoint.every=5", "run.timeout=20")
        for number in range(2):
            arguments = (number, address, port, folders[number], "run.steps=1000000")
            started.append(Host(*arguments, network=names[number]))
        first, second = started
        until(lambda: (folders[0] / "ring" / "step_10").exists() or first.process.poll() is not None)
        for name in names:
            device = next(line for line in _links(name) if line.startswith("gt"))
            subprocess.run(["ip", "-n", name, "link", "set", device, "down"], check=True)
        assert first.wait() != 0 and second.wait() != 0
        waited = "did not answer for 20 s; go on with --resume, or wait longer"
        assert [len(host.said) for host in started] == [1, 1]
        assert first.said[0].startswith(f"gantrain: process 0 on {HERE}: process 1 on {HERE} {waited}")
        assert second.said[0].startswith(f"gantrain: process 1 on {HERE}: process 0, or its launcher, {waited}")
    finally:
        for host in started:
            if host.process.poll() is None:
                host.kill()
        held.close()
        networks.close()
    newest = int(checkpoint.newest(folders[0] / "ring").name.removeprefix("step_"))
    resumed = hosts(folders, "train", "config.yaml", "--resume", f"run.steps={newest + 4}")
    assert [command.wait() for command in resumed] == [0, 0]


def _links(network: str) -> list[str]:
    """The names of the network interfaces in a network namespace."""
    said = subprocess.run(["ip", "-n", network, "-brief", "link"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0].partition("@")[0] for line in said.splitlines()]


TOLD = """
import signal
from pathlib import Path
from gantrain.outer import GDA

class Told(GDA):
    def step(self, field):
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:  # no more the step that is tried before the run
            Path("step").touch()
        return super().step(field)
"""


@pytest.mark.slow
def test_a_signal_to_one_host_stops_both_with_one_checkpoint(folders, launched):
    for folder in folders:
        # Steps far apart: the hosts agree on the signal between them.
        write(
            folder, RING, "checkpoint.every=1000000", "log.every=1000000", "samples=null", "outer={target: told:Told}"
        )
        (folder / "told.py").write_text(TOLD)
    both = launched("run.steps=1000000")
    until(lambda: all((f / "step").exists() for f in folders) or any(b.process.poll() is not None for b in both))
    both[1].process.send_signal(signal.SIGTERM)
    assert all(host.wait() != 0 for host in both)
    assert [host.said for host in both] == [[], []]
    (kept,) = (folders[0] / "ring").glob("step_*")
    assert checkpoint.load(kept)[0] > 0 and not (folders[1] / "ring").exists()


@pytest.mark.slow
def test_slurm_starts_one_launcher_on_each_node(folders, tmp_path):
    """srun and scontrol are stand-ins that do what Slurm's do with the script's arguments."""
    for folder in folders:
        write(folder, RING)
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    (stand_ins / "scontrol").write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && printf "localhost\\nother\\n"\n'
    )
    (stand_ins / "srun").write_text(
        "#!/bin/bash\nshift\n"
        f'(cd {folders[1]} && SLURM_NODEID=1 "$@") & cd {folders[0]} && SLURM_NODEID=0 "$@" && wait $!\n'
    )
    for file in stand_ins.iterdir():
        file.chmod(0o755)
    held, port = hold_port()
    environment = os.environ | {
        "PATH": f"{stand_ins}{os.pathsep}{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "2",
        "PORT": str(port),
    }
    for steps in (20, 24):
        command = [str(LAUNCH / "slurm.sh"), "config.yaml", f"run.steps={steps}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        assert checkpoint.newest(folders[0] / "ring").name == f"step_{steps}"
    held.close()
    assert "going on from step 20" in done.stdout and not (folders[1] / "ring").exists()


@pytest.mark.slow
def test_one_host(tmp_path):
    write(tmp_path, RING)
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [str(LAUNCH / "one_host.sh"), "config.yaml", "run.name=many"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "finished at step 20" in done.stdout and is_run(tmp_path / "many")
