"""Adversarial and domain-adversarial training on digits, each beside plain training.

    python scripts/bench/classifying_games.py [--games adversarial domain] [--output FILE]

Each game's shipped config is trained with three seeds, and so is the game `classification` on the plain source with the
same network, optimizer, loop and steps; adversarial training also with a network that perturbs, domain-adversarial
training also without Lookahead, and with inverted digits as its target. All are measured on the test part that the
config names, and the classifiers of adversarial training also under its attack. The seeds are not those with which the
settings were chosen. The folder `games_bench` keeps the runs; finished ones are not trained again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from timing import machine

from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.train import train
from gantrain.config import load, shipped
from gantrain.config.parts import build, plain
from gantrain.games import AdversarialTraining
from gantrain.runs import saved as runs
from gantrain.runs.folder import is_run
from gantrain.train.callbacks.accuracy import AccuracyEvaluation

CONFIGS = {"adversarial": "configs/adversarial/digits.yaml", "domain": "configs/domain/digits.yaml"}
# The ways to train, and what makes the config of the game that of the way.
WAYS: dict[str, dict[str, list[str]]] = {
    "adversarial": {
        "plain": [],
        "game": [],
        "perturber": ["game.perturber={model: {name: conv}, optimizer: {name: adam, lr: 1.0e-3, betas: [0.5, 0.9]}}"],
    },
    "domain": {
        "plain": [],
        "game": [],
        "gda": ["outer={name: gda, order: alternating}"],
        "inverted": [f"{key}={{invert: true, shift: 0}}" for key in ("game.target_data", "evaluate.data")],
    },
}
FOLDER = Path("games_bench")
SEEDS = (1, 2, 3)


def run_of(name: str, way: str, seed: int) -> Path:
    """The folder of a run, trained if it is not there yet."""
    path, folder = shipped.find(CONFIGS[name]), FOLDER / f"{name}_{way}-seed{seed}"
    config = load(path)
    overrides = [f"run.folder={FOLDER}", f"run.name={folder.name}", f"run.seed={seed}", "evaluate.every=100000"]
    overrides += WAYS[name][way]
    if way == "plain":
        player = {"model": plain(config.game.classifier.model), "optimizer": plain(config.game.classifier.optimizer)}
        player["scheduler"] = plain(config.game.classifier.scheduler)
        overrides.append(f"game={{name: classification, classifier: {player}}}".replace("None", "null"))
    if not (is_run(folder) and (folder / f"step_{config.run.steps}").is_dir()):
        train(load(path, overrides), overwrite=True)
    return folder


def accuracies(folder: Path, name: str) -> dict[str, float]:
    """The accuracies of a run's classifier."""
    if name == "domain":
        return {"accuracy on the target": evaluate_run(str(folder), Request())["accuracy"]}
    saved, config = runs.load(folder), load(shipped.find(CONFIGS[name]))
    game = config.game
    attacks = AdversarialTraining(saved.network, game.radius, game.norm, None, game.ascent_steps).attacks()
    return AccuracyEvaluation(build("data", config.evaluate.data), 1, attacks=attacks).measure(saved.network)


def main() -> None:
    """Print a line for each accuracy: the mean over the seeds, and its standard error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [f"$ python scripts/bench/classifying_games.py {' '.join(sys.argv[1:])}".rstrip(), machine()]
    lines.append(f"test accuracy in %, mean ± standard error over the seeds {', '.join(map(str, SEEDS))}")
    for name in options.games:
        lines.append(f"\n{CONFIGS[name]}")
        for way in WAYS[name]:
            found = [accuracies(run_of(name, way, seed), name) for seed in SEEDS]
            for key in (key for key in found[0] if key.startswith("accuracy")):
                values = [100 * values[key] for values in found]
                error = statistics.stdev(values) / len(values) ** 0.5
                lines.append(f"{way:10} {key:24} {statistics.fmean(values):5.1f} ± {error:.1f}")
    text = "\n".join(lines)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
