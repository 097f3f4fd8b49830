"""A gradient oracle of your own: the gradient, clipped to a largest norm.

gantrain train configs/quickstart.yaml run.name=own_oracle \
    game.discriminator.sharpness='{target: "examples.oracle:Clipped", limit: 0.5}'
"""

import torch

import gantrain as gt


class Clipped(gt.Oracle):
    """The gradient of the player's loss, made shorter if its norm is above the limit.

    Args:
        limit: the largest norm.
    """

    def __init__(self, limit: float = 1.0):
        self.limit = limit

    def evaluate(self, context, part):
        return [context.gradient()]

    def combine(self, gradients):
        # Here the gradient is the mean over all processes, while evaluate sees a part of the batch.
        gradient = gradients[0]
        norm = torch.stack([g.norm() for g in gradient if g is not None]).norm()
        scale = (self.limit / norm).clamp(max=1)
        return [None if g is None else g * scale for g in gradient]
