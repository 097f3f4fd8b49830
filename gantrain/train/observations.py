"""What the log says about a step: the losses, scores and gradient norms that its gradients left behind."""

from __future__ import annotations

import math
from itertools import islice

import torch

from gantrain.distributed.processes import Processes
from gantrain.gradients.evaluator import Evaluator


def read_observations(evaluator: Evaluator, processes: Processes) -> tuple[dict[str, float], dict[str, list[float]]]:
    """The losses, mean scores and gradient norms of the last observed step, and its scores one by one.

    All processes must call this together.

    Returns:
        The scalars by the names of the log, averaged over the processes; and this process' scores by name, as far as
        the evaluator keeps them.
    """
    observed = evaluator.observed
    values = {(player, name): value for player, scalars in observed.items() for name, value in scalars.items()}
    scores: dict[str, list[torch.Tensor]] = {}
    for player in observed:
        scores = evaluator.scores.get(player, {}) | scores
    # Everything that is logged comes from the device at once, since the step waits for it.
    means = torch.stack([v.double() for v in values.values()])
    read = torch.cat([means, *(part.double() for parts in scores.values() for part in parts)]).tolist()
    rest = iter(read[len(values) :])
    distributions = {name: list(islice(rest, sum(map(len, parts)))) for name, parts in scores.items()}
    numbers = processes.gather_means(dict(zip(values, read[: len(values)], strict=True)))
    observations: dict[str, float] = {}
    for player in observed:
        for (owner, name), number in numbers.items():
            if owner == player:
                # Several players may report the same score; the value of the first player is taken.
                observations.setdefault(name if name.startswith("score/") else f"{name}/{player}", number)
    norms = [number for (_, name), number in numbers.items() if name == "gradient_norm"]
    return observations | {"gradient_norm/joint": math.hypot(*norms)}, distributions
