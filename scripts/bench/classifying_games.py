"""Adversarial and domain-adversarial training on digits, each beside plain training: python classifying_games.py

Each game's shipped config is trained with three seeds, and so is the game `classification` on the plain source with the
same network, optimizer, loop and steps; domain-adversarial training also without Lookahead. All are measured on the
test part that the config names, and the classifiers of adversarial training also under its attack. The seeds are not
those with which the settings were chosen. The folder `games_bench` keeps the runs; finished ones are not trained again.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.train import train
from gantrain.config import load, shipped
from gantrain.config.parts import build, plain
from gantrain.games import AdversarialTraining
from gantrain.runs import saved as runs
from gantrain.runs.folder import is_run
from gantrain.train.callbacks.accuracy import AccuracyEvaluation

CONFIGS = {"adversarial": "configs/adversarial/digits.yaml", "domain": "configs/domain/digits.yaml"}
WAYS = {"adversarial": ("plain", "game"), "domain": ("plain", "game", "gda")}
FOLDER = Path("games_bench")
SEEDS = (1, 2, 3)


def run_of(name: str, way: str, seed: int) -> Path:
    """The folder of a run, trained if it is not there yet."""
    path, folder = shipped.find(CONFIGS[name]), FOLDER / f"{name}_{way}-seed{seed}"
    config = load(path)
    overrides = [f"run.folder={FOLDER}", f"run.name={folder.name}", f"run.seed={seed}", "evaluate.every=100000"]
    if way == "plain":
        player = {"model": plain(config.game.classifier.model), "optimizer": plain(config.game.classifier.optimizer)}
        player["scheduler"] = plain(config.game.classifier.scheduler)
        overrides.append(f"game={{name: classification, classifier: {player}}}".replace("None", "null"))
    if way == "gda":
        overrides.append("outer={name: gda, order: alternating}")
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


def main(names: list[str]) -> None:
    """Print a line for each accuracy: the mean over the seeds, and its standard error."""
    for name in names or CONFIGS:
        for way in WAYS[name]:
            found = [accuracies(run_of(name, way, seed), name) for seed in SEEDS]
            for key in (key for key in found[0] if key.startswith("accuracy")):
                values = [100 * values[key] for values in found]
                error = statistics.stdev(values) / len(values) ** 0.5
                print(f"{name}, {way}: {key} {statistics.fmean(values):.1f} ± {error:.1f} %")


if __name__ == "__main__":
    main(sys.argv[1:])
