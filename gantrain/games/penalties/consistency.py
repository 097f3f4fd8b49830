"""Improved consistency regularisation: logits that do not change with what should not matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gantrain.errors import UserError
from gantrain.games.penalties.base import Penalty, Score, Scored

if TYPE_CHECKING:
    from gantrain.config.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt


class Consistency(Penalty):
    """Logits stay where they are under small moves of images and of latent vectors, while samples move with the latter.

    With images moved and mirrored at random, ``T``, and latent vectors ``z' = z + delta e``, ``e ~ N(0, I)``, the
    discriminator's term is ``real E (D(x) - D(T(x)))^2 + fake E (D(G(z)) - D(T(G(z))))^2 + latent E (D(G(z)) -
    D(G(z')))^2``, and the generator's is ``-generator E (G(z) - G(z'))^2``, a mean over the values of a sample. All are
    multiplied by ``weight``. Parts with the factor 0 cost nothing.
    Source: Zhao et al., Improved consistency regularization for GANs, AAAI 2021, algorithm 3.

    Args:
        weight: the factor of all parts.
        real: the factor of the part of real samples.
        fake: the factor of the part of fake samples.
        latent: the factor of the part of latent vectors, in the discriminator's objective.
        generator: the factor of the generator's term.
        delta: the standard deviation of the move of latent vectors.
        shift: the largest move of images in pixels, in each direction; what comes in is mirrored at the border.
        flip: whether images are mirrored with probability 1/2. Choose false for digits and letters.
        every: the number of training steps from one application to the next.
    """

    twice = False
    repeats = True

    def __init__(
        self,
        weight: PositiveFloat = 1.0,
        real: NonNegativeFloat = 10.0,
        fake: NonNegativeFloat = 10.0,
        latent: NonNegativeFloat = 20.0,
        generator: NonNegativeFloat = 0.5,
        delta: PositiveFloat = 0.05,
        shift: NonNegativeInt = 4,
        flip: bool = True,
        every: PositiveInt = 1,
    ):
        super().__init__(weight, every)
        self.real = real
        self.fake = fake
        self.latent = latent
        self.generator = generator
        self.delta = delta
        self.shift = shift
        self.flip = flip

    def value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        total = 0.0 * fake.logits.sum()
        for factor, scored, stream in ((self.real, real, "real"), (self.fake, fake, "fake")):
            if factor:
                assert scored.again is not None
                moved = scored.again(self._moved(scored.samples.detach(), batch.under(f"consistency/{stream}")))
                total = total + factor * (scored.logits - moved).square().mean()
        if self.latent:
            assert fake.again is not None
            total = total + self.latent * (fake.logits - fake.again(self._near(fake, batch))).square().mean()
        return total

    def generator_value(self, discriminator: Score, real: Scored, fake: Scored, batch: Any) -> Tensor:
        if not self.generator:
            return 0.0 * fake.samples.sum()
        return -self.generator * (fake.samples - self._near(fake, batch)).square().mean()

    def _near(self, fake: Scored, batch: Any) -> Tensor:
        """Samples of latent vectors near those of the fake samples."""
        assert fake.generate is not None and fake.latents is not None
        z = fake.latents
        return fake.generate(z + self.delta * batch.normal("consistency/latent", *z.shape[1:]).to(z.dtype))

    def _moved(self, images: Tensor, batch: Any) -> Tensor:
        if images.dim() != 4:
            raise UserError(
                f"game.penalties: consistency moves images, and these samples have the shape {tuple(images.shape[1:])};"
                " use real: 0 and fake: 0"
            )
        n, channels, height, width = images.shape
        if self.shift >= min(height, width):
            raise UserError(
                f"game.penalties: consistency.shift: {self.shift} pixels are too many for images of {height} x {width}"
            )
        rows, columns = (
            _mirrored(batch.integers(name, 2 * self.shift + 1) - self.shift, size)
            for name, size in (("rows", height), ("columns", width))
        )
        if self.flip:
            flipped = batch.uniform("flip") < 0.5
            columns = torch.where(flipped[:, None], columns.flip(1), columns)
        sample = torch.arange(n, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return images[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _mirrored(start: Tensor, size: int) -> Tensor:
    """``(n, size)``: the numbers from each start on, mirrored at 0 and at ``size - 1``."""
    numbers = (start[:, None] + torch.arange(size, device=start.device)).abs()
    return (size - 1) - ((size - 1) - numbers).abs()
