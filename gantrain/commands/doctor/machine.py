"""The checks of the machine and of what is installed on it, without a config."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import shutil
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from gantrain import __version__
from gantrain.commands.doctor.findings import Finding
from gantrain.distributed.environment import LAUNCHER, cores, launched_place

_PYTHONS = ((3, 10), (3, 13))
# Everything that a launcher sets. WORLD_SIZE is what tells gantrain that it is one of several processes.
_FEW_FILES = 1024
_LITTLE_SHARED = 256 << 20
_LITTLE_MEMORY = 2 << 30
# Any time before this one is wrong: the package is younger.
_YOUNGEST = 1_750_000_000


def python() -> Iterator[Finding]:
    """The versions of Python and of gantrain."""
    text = f"{platform.python_version()} in {sys.prefix}, gantrain {__version__}"
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        yield Finding("ok", "python", text)
    else:
        supported = " to ".join(".".join(map(str, version)) for version in _PYTHONS)
        yield Finding("note", "python", text, f"gantrain is tested with Python {supported}")


def packages() -> Iterator[Finding]:
    """Whether every package that gantrain requires is there in a version that it supports."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("gantrain") or ()
    except metadata.PackageNotFoundError:
        yield Finding(
            "note", "packages", "gantrain runs without being installed, so nothing was compared", "pip install ."
        )
        return
    wrong = 0
    needed = [Requirement(line) for line in lines]
    needed = [requirement for requirement in needed if requirement.marker is None or requirement.marker.evaluate()]
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = None
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong += 1
            yield Finding(
                "FAIL",
                "packages",
                f"{requirement.name}: {'not installed' if version is None else version}, and {requirement} is needed",
                f"pip install '{requirement}'",
            )
    if not wrong:
        yield Finding("ok", "packages", ", ".join(f"{r.name} {metadata.version(r.name)}" for r in needed))


def torch_and_torchvision() -> Iterator[Finding]:
    """Whether torch and torchvision can be imported, and were built for each other."""
    together = "pip install --upgrade --force-reinstall torch torchvision, both in one command and from one index"
    try:
        import torch
    except Exception as error:
        yield Finding("FAIL", "torch", f"cannot be imported: {_line(error)}", together)
        return
    try:
        import torchvision

        torch.ops.torchvision.nms  # noqa: B018, asking for an operator that is not there raises an error
    except Exception as error:
        installed = _version("torchvision")
        yield Finding(
            "FAIL", "torchvision", f"{installed} does not match torch {torch.__version__}: {_line(error)}", together
        )
        return
    yield Finding("ok", "torch", f"{torch.__version__}, and torchvision {torchvision.__version__} matches")


def gpu() -> Iterator[Finding]:
    """The GPUs that torch can use with their memory and half precision, or why there is none."""
    import torch

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    driver = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
    for index in range(count):
        gpu = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        bf16 = "bf16 and fp16" if gpu.major >= 8 else "fp16; bf16 is slow"
        text = f"{index}: {gpu.name}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free, {bf16}"
        yield Finding("ok", "gpu", f"{text}, CUDA {torch.version.cuda}")
    if count:
        return
    if torch.version.cuda is None and torch.version.hip is None:
        reason = f"torch {torch.__version__} was built without CUDA"
        remedy = "install torch and torchvision from pytorch.org's index for CUDA" if driver else ""
    elif heard:
        reason, remedy = _line(heard[0].message), "update the driver, or install torch for an older CUDA"
    elif os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        reason, remedy = "CUDA_VISIBLE_DEVICES hides all", "unset CUDA_VISIBLE_DEVICES"
    elif driver:
        reason, remedy = "a driver is installed, and torch finds no GPU behind it", "see nvidia-smi"
    else:
        reason, remedy = "this machine has no driver for one", ""
    yield Finding("note", "gpu", f"none: {reason}; runs train on the CPU", remedy)


def compiler() -> Iterator[Finding]:
    """Whether ``run.compile`` would find a C++ compiler and Python's headers."""
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "g++", "g++", "clang++", "clang"))), None)
    headers = Path(sysconfig.get_paths()["include"], "Python.h").is_file()
    if found and headers:
        yield Finding("ok", "compiler", f"{found}, for run.compile")
    else:
        missing = " and ".join(["no C++ compiler"] * (not found) + ["no headers of Python"] * (not headers))
        yield Finding("note", "compiler", f"{missing}: run.compile cannot be true", "apt-get install g++ python3-dev")


def processors() -> Iterator[Finding]:
    """The cores, the threads of torch and the free memory."""
    import psutil
    import torch

    free = psutil.virtual_memory().available
    text = f"{cores()} cores, {torch.get_num_threads()} threads of torch, {free / 2**30:.1f} GiB of memory free"
    if torch.get_num_threads() > cores():
        yield Finding("note", "processors", text, f"export OMP_NUM_THREADS={cores()}, or set run.threads")
    elif free < _LITTLE_MEMORY:
        yield Finding("note", "processors", text, "end other programs")
    else:
        yield Finding("ok", "processors", text)


def environment() -> Iterator[Finding]:
    """Whether the variables of a launcher are whole, or left over from one."""
    place = launched_place()  # as every command asks, and with the same error where the variables are wrong
    if place is not None:
        shown = " ".join(f"{name}={value}" for name, value in place.variables.items())
        if place.world_size > 1:
            text = f"{shown}: a run waits for {place.world_size} processes"
            remedy = f"if no launcher started this one: unset {' '.join(LAUNCHER)}"
            yield Finding("note", "environment", text, remedy)
        else:
            yield Finding("ok", "environment", f"{shown}: a launcher's, for one process")
        return
    yield Finding("ok", "environment", "no variables of a launcher")


def limits() -> Iterator[Finding]:
    """Open files, shared memory, temporary files and the clock."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < _FEW_FILES:
        yield Finding("note", "limits", f"{files} open files: few for workers that read data", "ulimit -n 4096")
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < _LITTLE_SHARED:
        text = f"{free >> 20} MiB of shared memory: little for workers that read data"
        yield Finding("note", "limits", text, "docker run --shm-size 1g, or data.workers: 0")
    try:
        with tempfile.TemporaryFile() as stream:
            stream.write(b"0")
    except OSError as error:
        yield Finding("FAIL", "limits", f"no temporary file: {error.strerror}", "free some space, or set TMPDIR")
    else:
        yield Finding("ok", "limits", f"{files} open files, temporary files in {tempfile.gettempdir()}")
    if time.time() < _YOUNGEST:
        yield Finding("note", "limits", f"the clock says {time.strftime('%Y-%m-%d')}", "set the clock")


def state_folder() -> Iterator[Finding]:
    """Whether it can be recorded which runs were trained here."""
    from gantrain.runs.trust import state_folder

    try:
        place = state_folder()
        with tempfile.TemporaryFile(dir=next(p for p in (place, *place.parents) if p.is_dir())):
            yield Finding("ok", "state", f"{place} can be written")
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        text = f"no record can be kept of the runs that are trained here ({reason}); those with targets need --trust"
        yield Finding("note", "state", text, "set XDG_STATE_HOME to a folder that can be written")


def inception() -> Iterator[Finding]:
    """Whether the weights of InceptionV3 are where torch-fidelity keeps them, and are the published ones."""
    from gantrain.metrics.extractors.inception import WEIGHTS

    path = WEIGHTS.cached
    remedy = (
        f"evaluations download it; without a network put {WEIGHTS.url} into {path.parent}, or take "
        "features: photos-classifier, which is shipped"
    )
    if not path.is_file():
        yield Finding("note", "inception", f"{path} is missing, which FID, IS and KID need", remedy)
        return
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    if digest.hexdigest().startswith(WEIGHTS.digest):
        yield Finding("ok", "inception", f"the published weights in {path}")
    else:
        yield Finding("note", "inception", f"{path} is damaged, and evaluations refuse it", f"delete it: {remedy}")


def _version(package: str) -> str:
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} (not installed)"


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]


CHECKS = {
    "python": python,
    "packages": packages,
    "torch": torch_and_torchvision,
    "gpu": gpu,
    "compiler": compiler,
    "processors": processors,
    "environment": environment,
    "state": state_folder,
    "limits": limits,
    "inception": inception,
}
