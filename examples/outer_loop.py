"""An outer loop of your own: gradient descent ascent that restarts from the mean of its iterates.

gantrain train configs/quickstart.yaml run.name=own_outer outer.target=examples.outer_loop:Restarted outer.period=50
"""

import torch

import gantrain as gt


class Restarted(gt.Outer):
    """Takes ``period`` simultaneous steps, and goes on from the mean of the points that it has reached.

    Args:
        period: the number of steps from one restart to the next.
    """

    def __init__(self, period: int = 100):
        self.period = period
        self.taken = 0
        self.means: list[torch.Tensor] = []

    def step(self, field):
        field.move(field.draw(), "simultaneous")
        points = [p.detach() for learner in field.learners for p in learner.parameters]
        self.taken = self.taken % self.period + 1
        if self.taken == 1:
            self.means = [p.clone() for p in points]
        for mean, p in zip(self.means, points, strict=True):
            mean.lerp_(p, 1 / self.taken)
            if self.taken == self.period:
                p.copy_(mean)
        return self.taken == self.period

    def state_dict(self):
        return {"taken": self.taken, "means": self.means}

    def load_state_dict(self, state):
        self.taken, self.means = state["taken"], state["means"]
