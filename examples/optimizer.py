"""An optimizer of your own: Lion (Chen et al., Symbolic discovery of optimization algorithms, 2023).

gantrain train configs/quickstart.yaml run.name=own_optimizer \
    game.generator.optimizer='{target: "examples.optimizer:Lion", lr: 3.0e-4}' \
    game.discriminator.optimizer='{target: "examples.optimizer:Lion", lr: 3.0e-4, weight_decay: 0.1}'
"""

import torch


class Lion(torch.optim.Optimizer):
    """Steps along the sign of an average of the gradients.

    Args:
        lr: the learning rate.
        betas: the shares of the average that are kept, for the step and for the average itself.
        weight_decay: the share of each weight that a step takes away, times the learning rate.
    """

    def __init__(self, params, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            (now, later), lr = group["betas"], group["lr"]
            for p in (p for p in group["params"] if p.grad is not None):
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                p.mul_(1 - lr * group["weight_decay"]).sub_(lr * average.lerp(p.grad, 1 - now).sign())
                average.lerp_(p.grad, 1 - later)
