"""A constraint of your own: the rows of all matrices have a largest norm.

gantrain train configs/quickstart.yaml run.name=own_constraint \
    game.discriminator.constraint='{target: "examples.constraint:MaxNorm", limit: 2}'
"""

import torch

import gantrain as gt


class MaxNorm(gt.Resolvent):
    """Projection onto the weights whose rows, one for each unit, have at most a norm.

    Args:
        limit: the largest norm of a row.
    """

    def __init__(self, limit: float = 1.0):
        self.limit = limit

    @torch.no_grad()
    def apply_(self, parameters, step_size):
        for p in parameters:
            if p.dim() > 1:
                p.copy_(p.flatten(1).renorm(2, 0, self.limit).view_as(p))
