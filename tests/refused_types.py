"""What type checkers must refuse. mypy checks this file with the package, and fails where a comment ignores nothing."""

from __future__ import annotations

import torch

import gantrain as gt


def solved() -> None:
    """Nobody calls this."""
    game = gt.games.Minimize(lambda x: x.sum(), x=torch.ones(1))
    gt.solve(game, steps=3)
    gt.solve(game, steps="three")  # type: ignore[arg-type]
