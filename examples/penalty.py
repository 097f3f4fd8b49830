"""A penalty of your own: DRAGAN (Kodali et al., On convergence and stability of GANs, 2017).

gantrain train configs/quickstart.yaml run.name=own_penalty game.penalties='[{target: "examples.penalty:DRAGAN"}]'
"""

import torch

import gantrain as gt


class DRAGAN(gt.Penalty):
    """``weight E (||grad_x D(x)|| - 1)^2`` at real samples that are moved by noise.

    Args:
        weight: the weight of the penalty.
        every: the number of training steps from one application to the next.
        noise: the standard deviation of the noise.
    """

    def __init__(self, weight: float = 1.0, every: int = 1, noise: float = 0.5):
        super().__init__(weight, every)
        self.noise = noise

    def value(self, discriminator, real, fake, batch):
        # Random numbers of the batch: the run resumes to the bit, on any number of processes.
        moved = real.samples.detach() + self.noise * batch.normal("dragan", *real.samples.shape[1:])
        moved.requires_grad_(True)
        (slopes,) = torch.autograd.grad(discriminator(moved, real.labels).sum(), moved, create_graph=True)
        return (slopes.flatten(1).norm(dim=1) - 1).square().mean()
