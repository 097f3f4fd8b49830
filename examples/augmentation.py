"""An augmentation of your own: noise on real and fake samples that fades as the run goes on.

gantrain train configs/quickstart.yaml run.name=own_augmentation \
    game.augmentations='[{target: "examples.augmentation:FadingNoise", steps: 1500}]'
"""

import gantrain as gt


class FadingNoise(gt.Augmentation):
    """Normal noise, whose standard deviation falls linearly to 0.

    Args:
        deviation: the standard deviation at the first step.
        steps: the number of training steps until there is no noise.
    """

    def __init__(self, deviation: float = 0.5, steps: int = 1000):
        self.deviation = deviation
        self.steps = steps

    def __call__(self, images, batch):
        left = max(0.0, 1 - (batch.step or 0) / self.steps)
        return images + left * self.deviation * batch.normal("noise", *images.shape[1:])
