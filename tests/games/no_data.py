"""Runs of games without data, for tests."""

from __future__ import annotations

from typing import Any

import torch

from gantrain.commands.train import make_trainer
from gantrain.config.schema import Config
from gantrain.train.trainer import Trainer

ROCK_PAPER_SCISSORS = [[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]


def config_of(game: dict[str, Any], **sections: Any) -> Config:
    run = {"name": "game", "steps": 1000, "device": "cpu"}
    return Config.model_validate({"run": run, "game": game, **sections})


def trainer_of(game: dict[str, Any], **sections: Any) -> Trainer:
    """The trainer of a config; nothing is written before ``fit``."""
    return make_trainer(config_of(game, **sections), torch.device("cpu"))


def moved(trainer: Trainer, steps: int) -> dict[str, float]:
    """The game's scalars after some steps."""
    for _ in range(steps):
        trainer.train_step()
    with torch.no_grad():
        found = trainer.game.scalars(trainer.game.evaluated_network)
    return {name: float(value) for name, value in found.items()}


def matrix(
    payoff: Any = ROCK_PAPER_SCISSORS, lr: float = 0.3, optimizer: str = "mirror", **player: Any
) -> dict[str, Any]:
    one = {"optimizer": {"name": optimizer, "lr": lr}, **player}
    return {"name": "matrix", "payoff": payoff, "row": one, "column": one}
