"""A loss of your own: one-sided label smoothing (Salimans et al., Improved techniques for training GANs, 2016).

gantrain train configs/quickstart.yaml run.name=own_loss game.loss.target=examples.loss:Smoothed game.loss.smoothing=0.2
"""

from torch.nn.functional import softplus

import gantrain as gt


class Smoothed(gt.Loss):
    """Real samples have the label ``1 - smoothing``, so that the discriminator is never too sure.

    Args:
        smoothing: how far the label of real samples lies below 1.
    """

    def __init__(self, smoothing: float = 0.1):
        self.smoothing = smoothing

    def discriminator(self, real, fake):
        real_loss = (1 - self.smoothing) * softplus(-real) + self.smoothing * softplus(real)
        return real_loss.mean() + softplus(fake).mean()

    def generator(self, real, fake):
        return softplus(-fake).mean()
