"""How far the weights of a run have come from those with which it began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gantrain.outer.learner import Learner
from gantrain.utils.shards import joint_norm, local
from gantrain.utils.tensors import copy_, snapshot


class InitialDistance:
    """The Euclidean distance of each player's trained parameters, all together, from those at the beginning.

    Args:
        learners: the learners of the players, at the beginning.
    """

    def __init__(self, learners: Sequence[Learner]):
        self.learners = list(learners)
        self.initial = {learner.name: snapshot(learner.parameters) for learner in learners}

    @torch.no_grad()
    def scalars(self) -> dict[str, float]:
        """The distances by the names ``initial_distance/PLAYER``."""
        distances = []
        for each in self.learners:
            pairs = zip(local(each.parameters), local(self.initial[each.name]), strict=True)
            distances.append(joint_norm([torch.dist(p, q) for p, q in pairs], each.parameters))
        names = [f"initial_distance/{each.name}" for each in self.learners]
        return dict(zip(names, torch.stack(distances).tolist(), strict=True))

    def state_dict(self) -> dict[str, list[Tensor]]:
        """The parameters at the beginning by player."""
        return self.initial

    def load_state_dict(self, state: Mapping[str, list[Tensor]]) -> None:
        """Take back what :meth:`state_dict` returned."""
        for name, tensors in self.initial.items():
            copy_(tensors, state[name])
