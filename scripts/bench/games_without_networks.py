"""Where the shipped matrix game and the Cournot competition end.

    python scripts/bench/games_without_networks.py [--output FILE]

The matrix game is played under several loops, which all have the config's learning rate, and with projected steps. The
rows of the runs' logs say the duality gap after the last step, the gradients that each player took, and the distance
from Cournot's equilibrium after some steps. The runs are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from timing import machine

from gantrain.commands.train import train
from gantrain.config import load, shipped
from gantrain.runs.monitor import read_metrics

PROJECTED = [
    f"game.{player}={{optimizer: {{name: sgd, lr: 0.3}}, constraint: simplex}}" for player in ("row", "column")
]
WAYS = {
    "mirror, gda simultaneous": ["outer={name: gda, order: simultaneous}"],
    "mirror, extragradient": [],
    "mirror, optimistic": ["outer={name: optimistic}"],
    "mirror, rapp": ["outer={name: rapp}"],
    "projected, extragradient": PROJECTED,
}
COURNOT = (20, 80, 140)


def rows(config: str, *overrides: str) -> list[dict[str, float]]:
    """The rows of the log of a run."""
    with tempfile.TemporaryDirectory() as folder:
        train(load(shipped.find(f"configs/games/{config}.yaml"), [f"run.folder={folder}", *overrides]))
        return list(read_metrics(Path(folder) / config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [f"$ python scripts/bench/games_without_networks.py {' '.join(sys.argv[1:])}".rstrip(), machine()]
    lines.append("\nconfigs/games/matrix.yaml, seed 0            duality gap   gradients of a player")
    for way, overrides in WAYS.items():
        last = dict(pair for row in rows("matrix", *overrides) for pair in row.items())
        lines.append(f"{way:40} {last['game/duality_gap']:15.3g} {last['gradients/row']:15.0f}")
    lines.append("\nconfigs/games/cournot.yaml, seed 0             distance")
    distances = {row["step"]: row["game/distance"] for row in rows("cournot") if "game/distance" in row}
    lines += [f"after {step} steps{distances[step]:40.3g}" for step in COURNOT]
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
