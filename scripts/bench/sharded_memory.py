"""Memory of each of two processes that train a generator of 100 M parameters for ten steps, whole and divided.

    python scripts/bench/sharded_memory.py [--width 4096] [--depth 7] [--processes 2] [--steps 10]

The run is GDA with Adam and an average of the weights, and writes a checkpoint and samples at its end. For each value
of ``run.sharding`` it says the most memory that each process had resident, by the system's count, and the seconds of
the whole run for a step. The memory has the programs in it. The processes share this machine's cores, so the seconds
are no promise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import machine

KINDS = ("none", "full")
ADAM = {"name": "adam", "lr": 1e-4, "betas": [0.0, 0.9]}


def work(arguments: argparse.Namespace) -> None:
    """Train in this process, which is one of several, and print what it took."""
    from gantrain.commands.train import train
    from gantrain.config.schema import Config

    model = {"name": "mlp", "width": arguments.width}
    config = Config.model_validate(
        {
            "run": {
                "name": arguments.kind,
                "folder": arguments.folder,
                "steps": arguments.steps,
                "device": "cpu",
                "threads": 1,
                "timeout": 3600,
                "sharding": arguments.kind,
            },
            "data": {"name": "gaussian_ring", "batch_size": 32, "samples": 1000},
            "game": {
                "name": "gan",
                "loss": "non_saturating",
                "generator": {"model": model | {"depth": arguments.depth}, "optimizer": ADAM},
                "discriminator": {"model": {"name": "mlp", "width": 256}, "optimizer": ADAM},
            },
            "ema": {"decay": 0.999},
            "samples": {"every": 1000, "count": 16},
            "checkpoint": {"every": 1000},
            "log": {"every": arguments.steps},
        }
    )
    begin = time.perf_counter()
    train(config)
    seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = {"peak": peak * 1024, "seconds": seconds / arguments.steps}
    Path(arguments.folder, f"{arguments.kind}-{os.environ['RANK']}.json").write_text(json.dumps(answer))


def measured(kind: str, folder: str, arguments: argparse.Namespace) -> list[dict[str, float]]:
    """What each process took."""
    with socket.socket() as held:
        held.bind(("", 0))
        port = held.getsockname()[1]
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": str(arguments.processes)}
    words = [sys.executable, __file__, "--kind", kind, "--folder", folder]
    words += [f"--{key}={getattr(arguments, key)}" for key in ("width", "depth", "steps", "processes")]
    started = [
        subprocess.Popen(
            words, env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stdout=subprocess.DEVNULL
        )
        for rank in range(arguments.processes)
    ]
    if any([process.wait() for process in started]):
        sys.exit(f"the run with sharding {kind} failed")
    return [json.loads(Path(folder, f"{kind}-{rank}.json").read_text()) for rank in range(arguments.processes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for key, value in {"width": 4096, "depth": 7, "processes": 2, "steps": 10}.items():
        parser.add_argument(f"--{key}", type=int, default=value)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind is not None:
        work(arguments)
        return
    width, depth = arguments.width, arguments.depth
    parameters = width * 64 + (depth - 1) * width**2 + width * 2 + depth * width + 2
    print(machine())
    print(f"generator of {parameters / 1e6:.1f} M parameters, {arguments.processes} processes, {arguments.steps} steps")
    print(f"its state in all (parameters, Adam, average): {16 * parameters / 1e6:.0f} MB\n")
    print(f"{'sharding':10s}{'peak memory of a process, MB':>30s}{'seconds of a step, all counted':>34s}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            found = measured(kind, folder, arguments)
            peaks = "  ".join(f"{each['peak'] / 1e6:.0f}" for each in found)
            print(f"{kind:10s}{peaks:>30s}{max(each['seconds'] for each in found):34.2f}", flush=True)


if __name__ == "__main__":
    main()
