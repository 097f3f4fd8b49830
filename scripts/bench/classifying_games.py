"""Adversarial and domain-adversarial training on digits beside training on the plain source: python classifying_games.py

Each game's shipped config is trained with seeds 0, 1, 2, and so is the game `classification` with the same network,
optimizer and steps. Both are measured on the test part that the config names; the classifiers of adversarial training
also under its attack. The folder `games_bench` keeps the runs, and finished ones are not trained again.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from gantrain.commands.evaluate import Request, evaluate_run
from gantrain.commands.train import train
from gantrain.config import load, shipped
from gantrain.config.parts import build
from gantrain.games import AdversarialTraining
from gantrain.runs.folder import is_run
from gantrain.runs.saved import open_saved_run
from gantrain.train.callbacks.accuracy import AccuracyEvaluation

CONFIGS = {"adversarial": "configs/adversarial/digits.yaml", "domain": "configs/domain/digits.yaml"}
FOLDER = Path("games_bench")
SEEDS = (0, 1, 2)


def run_of(name: str, seed: int, plain: bool) -> Path:
    """The folder of a run, trained if it is not there yet."""
    folder = FOLDER / f"{name}{'_plain' if plain else ''}-seed{seed}"
    config = load(shipped.find(CONFIGS[name]))
    overrides = [f"run.folder={FOLDER}", f"run.name={folder.name}", f"run.seed={seed}", "evaluate.every=100000"]
    if plain:
        player = config.game.classifier.model_dump(mode="json")
        overrides.append(f"game={{name: classification, classifier: {player}}}".replace("None", "null"))
    if not (is_run(folder) and (folder / f"step_{config.run.steps}").is_dir()):
        train(load(shipped.find(CONFIGS[name]), overrides), overwrite=True)
    return folder


def accuracies(folder: Path, name: str) -> dict[str, float]:
    """The accuracies of a run's classifier."""
    if name == "domain":
        return {"target": evaluate_run(str(folder), Request())["accuracy"]}
    saved, config = open_saved_run(folder), load(shipped.find(CONFIGS[name]))
    game = config.game
    attack = AdversarialTraining(saved.network, game.radius, game.norm, None, game.ascent_steps).attacks()
    return AccuracyEvaluation(build("data", config.evaluate.data), 1, attacks=attack).measure(saved.network)


def main(names: list[str]) -> None:
    for name in names or CONFIGS:
        for plain in (True, False):
            found = [accuracies(run_of(name, seed, plain), name) for seed in SEEDS]
            for key in (key for key in found[0] if not key.startswith("loss")):
                values = [100 * values[key] for values in found]
                error = statistics.stdev(values) / len(values) ** 0.5
                print(f"{name}, {'plain' if plain else 'game'}: {key} {statistics.fmean(values):.1f} ± {error:.1f} %")


if __name__ == "__main__":
    main(sys.argv[1:])
