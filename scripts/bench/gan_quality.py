"""Fréchet distance and Inception score of several methods at an equal number of gradients, over several seeds.

    python scripts/bench/gan_quality.py [CONFIG ...] [--seeds 5] [--gradients 1500] [--workers 2] [key=value ...]

Each config is a method. The methods see the same data, networks and loss as far as their files agree, and their players
take the same number of gradients. The samples are judged by the features of checkpoints/digits-classifier, so the
distance is not the FID of papers. If the command was stopped, the same command goes on from there.

The learning rates of the seven methods in configs/digits/sgd and configs/digits/adam were searched with equal effort:
four values for each method, the same for both players, were tried in one run of 500 gradients with seed 100, and the
value with the lowest distance at the end was kept (results/gan_quality_search.txt). Nothing else was tuned. The average
of the weights looks back 200 training steps, which are more gradients for a method that takes several of them a step.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from timing import machine

from gantrain.cli import main as command_line
from gantrain.commands.comparison.compare import compare
from gantrain.commands.comparison.pictures import curves
from gantrain.commands.comparison.tables import groups_table
from gantrain.commands.sweep import is_finished, plan, train
from gantrain.config.loading import load
from gantrain.plotting.images import figure_to_png

CONFIGS = [
    *("configs/digits/sgd/gda.yaml", "configs/digits/sgd/extragradient.yaml", "configs/digits/sgd/lookahead.yaml"),
    *("configs/digits/sgd/lookahead_extragradient.yaml", "configs/digits/sgd/rapp.yaml"),
    *("configs/digits/adam/gda.yaml", "configs/digits/adam/lookahead.yaml"),
]
FEATURES = "checkpoints/digits-classifier"
EVALUATIONS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arguments", nargs="*", metavar="CONFIG or KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--gradients", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", default="checkpoints/gan_quality")
    parser.add_argument("--picture", help="a PNG file; FOLDER.png by default")
    arguments = parser.parse_intermixed_args()
    configs = [word for word in arguments.arguments if "=" not in word] or CONFIGS
    overrides = [word for word in arguments.arguments if "=" in word]

    common = [
        f"run.gradients={arguments.gradients}",
        *("run.steps=null", "run.kimg=null", "run.device=cpu", "run.threads=1", "samples=null"),
        f"evaluate={json.dumps({'metrics': ['fid', 'isc'], 'samples': 1797, 'features': FEATURES})}",
    ]
    points = {}
    for path in configs:
        given = [*common, *overrides]
        config = load(path, given)
        every = max(1, arguments.gradients // (EVALUATIONS * gradients_a_step(config.outer)))
        points[config.run.name] = path, [*given, f"evaluate.every={every}", f"checkpoint.every={every}"]
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    planned = plan(Path(arguments.folder), points, seeds)
    code = train(planned, arguments.workers, lambda line: print(line, flush=True), command_line)
    if code > 1:
        sys.exit(code)

    # A run that diverged is not finished and is left out; the table shows how many seeds are left.
    comparison = compare([run.folder for run in planned if is_finished(run)])
    print(machine())
    print("python", " ".join(sys.argv))
    print(groups_table(comparison))
    figure_to_png(curves(comparison), arguments.picture or f"{arguments.folder}.png")
    sys.exit(code)


def gradients_a_step(outer: Any) -> int:
    """The gradients that each player takes in a step of the innermost loop of a config's ``outer``."""
    while hasattr(outer, "base"):
        outer = outer.base
    return {"extragradient": 2, "extragradient_plus": 2, "ceg_plus": 2}.get(
        outer.name, getattr(outer, "inner_steps", 1)
    )


if __name__ == "__main__":
    main()
