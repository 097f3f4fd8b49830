"""The section of a player whose network begins with the weights of another run."""

from __future__ import annotations

from typing import Any, Literal

from gantrain.config.base import Schema
from gantrain.config.types import NonNegativeInt, RunPath, Text


class Init(Schema):
    """The run whose weights a network begins with, instead of those of the seed."""

    run: RunPath
    """The folder of the run, or of one of its checkpoints: RUN, RUN/best or RUN/step_500. A bare name is also searched
    in checkpoints in the current directory. Only the tensors of the checkpoint are read, and only when this run
    begins."""
    step: NonNegativeInt | Literal["newest", "best"] = "newest"
    """The checkpoint: that of a step, the newest, or that of the best evaluation. Default newest."""
    weights: Text | None = None
    """The weights: live, which are those that were trained, or the name of an average, such as ema. null (the default)
    takes the first average of this network that the run keeps, and live if it keeps none."""
    player: Text | None = None
    """The player of that run whose network is taken. null (the default): the player of the same name."""

    @classmethod
    def normalised(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str) else value
