"""A callback of your own: pictures of the way from one sample to another.

gantrain train configs/quickstart.yaml run.name=own_callback \
    callbacks='[{target: "examples.callback:Interpolation", every: 500}]'
"""

import torch
from torchvision.utils import save_image

import gantrain as gt


class Interpolation(gt.Callback):
    """Draws ``interpolation/step_N.png``, and logs how far apart neighbours on the way are.

    Args:
        every: the number of training steps from one picture to the next.
        count: the number of samples on the way.
    """

    def __init__(self, game, every: int = 500, count: int = 10):
        super().__init__(every)
        self.game = game  # supplied, as data and config would be
        self.count = count

    def run(self, folder, monitor, step, network):
        ends = torch.randn(2, self.game.latent_dim, generator=torch.Generator().manual_seed(0))
        z = ends[0].lerp(ends[1], torch.linspace(0, 1, self.count)[:, None])
        labels = torch.zeros(self.count, dtype=torch.int64) if self.game.conditional else None
        samples = self.game.generate(z, labels, network=network).cpu()
        (folder / "interpolation").mkdir(exist_ok=True)
        save_image(samples / 2 + 0.5, folder / "interpolation" / f"step_{step:06d}.png", nrow=self.count)
        monitor.scalars(step, {"interpolation/largest_step": samples.diff(dim=0).flatten(1).norm(dim=1).max()})
