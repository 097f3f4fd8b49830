"""The augmentation of StyleGAN2-ADA, with a probability that adapts to the discriminator.

Source: Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020, sections 2-3 and
appendix B.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gantrain.data.augment import Augmentation, require_images
from gantrain.data.batch import Batch
from gantrain.data.geometry import rotation, scaling, translation, warped
from gantrain.data.step_means import StepMeans
from gantrain.errors import UserError

if TYPE_CHECKING:
    from gantrain.config.types import Fraction, PositiveFloat, PositiveInt


class ADA(Augmentation):
    """Mirroring, rotation, scaling, translation, changes of colour and cutout, each with probability p.

    Each transform is made, for each sample by itself, with probability ``p`` times the strength of its group. With
    ``p = 0`` every sample stays as it is, to the bit.

    If ``p`` is not given, it begins at 0 and adapts so that the discriminator does not overfit: every ``every`` steps
    it moves by ``sign(r - target) * images / (1000 kimg)`` within [0, 1], where r is the mean of ``sign D(x)`` over the
    real samples since the last move and ``images`` their number. In each training step the samples of the first
    evaluation count. From D(x) the loss's boundary between real and fake is taken, 1/2 for ``least_squares``; for
    ``wasserstein`` and ``relativistic``, the logit of a fake sample. ``p`` and r are logged as ``ada/p`` and
    ``ada/r``; r near 1 means that the discriminator knows the real samples by heart.

    Source: Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020; the defaults are
    those of its code for images (``bgc``).

    Args:
        p: the probability in [0, 1]; None lets it adapt.
        target: the value of r at which p stays; without effect if p is given.
        every: the number of training steps between two moves of p.
        kimg: thousands of images in which p goes from 0 to 1 if it always grows.
        flip: the strength of mirroring, in [0, 1]. Choose 0 for digits and letters.
        rotate90: the strength of rotations by multiples of 90 degrees.
        shift: the strength of translations by whole pixels, up to an eighth of the size.
        geometry: the strength of scaling, of rotation by any angle, of stretching and of translations by fractions of
            a pixel.
        color: the strength of brightness, contrast, inversion of lightness, rotation of hue, and saturation. Images
            have one colour, three, or four of which the last is alpha and stays.
        cutout: the strength of blanking a rectangle of half the width and height.
    """

    independent_samples = True

    def __init__(
        self,
        p: Fraction | None = None,
        target: Fraction = 0.6,
        every: PositiveInt = 4,
        kimg: PositiveFloat = 500.0,
        flip: Fraction = 1.0,
        rotate90: Fraction = 1.0,
        shift: Fraction = 1.0,
        geometry: Fraction = 1.0,
        color: Fraction = 1.0,
        cutout: Fraction = 0.0,
    ):
        self.p = p
        self.target = target
        self.every = every
        self.kimg = kimg
        self.flip = flip
        self.rotate90 = rotate90
        self.shift = shift
        self.geometry = geometry
        self.color = color
        self.cutout = cutout
        self._means = StepMeans()
        # In double precision, in which r is exactly the target where their fractions are the same.
        self._adapted = torch.zeros((), dtype=torch.float64)
        self._signs = torch.zeros((), dtype=torch.float64)  # the sum of the signs since the last move
        self._steps = 0
        self._rate = torch.zeros((), dtype=torch.float64)  # r at the last move
        self._forget()

    def __call__(self, images: Tensor, batch: Batch) -> Tensor:
        n, channels, height, width = require_images(images, "ada")
        draws = _Draws(batch, self._probability(batch), images.device)
        dtype = images.dtype
        # Half precision has too few digits for coordinates.
        with torch.autocast(images.device.type, enabled=False):
            changed = self._moved(images.float(), draws, height, width)
            if self.color > 0:
                changed = self._colored(changed, draws, channels)
            if self.cutout > 0:
                changed = self._cut(changed, draws, height, width)
        return changed.to(dtype)

    def observe(self, logits: Tensor, batch: Batch) -> None:
        if self.p is not None:
            return
        mean = self._means(batch, logits.sign())
        if mean is None:
            return
        self._probability(batch)  # that of this step stays until it ends
        self._signs = self._signs.to(mean.device) + (mean[0].double() * batch.whole_size).round()
        self._steps += 1
        if self._steps == self.every:
            images = batch.whole_size * self._steps
            self._rate = self._signs / images
            change = (self._rate - self.target).sign() * (images / (1000 * self.kimg))
            self._adapted = (self._adapted.to(mean.device) + change).clamp(0.0, 1.0)
            self._signs, self._steps = torch.zeros_like(self._signs), 0

    def state_dict(self) -> dict[str, Any]:
        if self.p is not None:
            return {}
        return {"p": self._adapted, "signs": self._signs, "steps": self._steps, "r": self._rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._adapted, self._signs, self._steps = state["p"], state["signs"], state["steps"]
            self._rate = state["r"]
        self._forget()

    def scalars(self) -> dict[str, Tensor | float]:
        return {"p": self.p} if self.p is not None else {"p": self._adapted, "r": self._rate}

    def _forget(self) -> None:
        self._means.forget()
        self._step: int | None = None
        self._of_step: Tensor | None = None

    def _probability(self, batch: Batch) -> Tensor | float:
        """p, which is the same in all evaluations of a training step."""
        if self.p is not None:
            return self.p
        if batch.step is None:
            return self._adapted
        if self._of_step is None or batch.step != self._step:
            self._step, self._of_step = batch.step, self._adapted
        return self._of_step

    def _moved(self, images: Tensor, draws: _Draws, height: int, width: int) -> Tensor:
        """Mirrored, rotated, scaled and translated images."""
        # The matrices map a place in the new image to the place that it shows. Lengths are in pixels.
        inverse = torch.eye(3, device=images.device).expand(len(images), 3, 3)
        still = torch.ones(len(images), dtype=torch.bool, device=images.device)
        if self.flip > 0:
            flipped = draws.chosen("flip", self.flip) & (draws.uniform("flip/which") < 0.5)
            sign = torch.where(flipped, -1.0, 1.0)
            inverse, still = inverse @ scaling(sign, torch.ones_like(sign)), still & ~flipped
        if self.rotate90 > 0:
            quarters = draws.pick("rotate90", self.rotate90, (4 * draws.uniform("rotate90/which")).floor(), 0.0)
            inverse, still = inverse @ rotation(quarters * (math.pi / 2)), still & (quarters == 0)
        if self.shift > 0:
            chosen = draws.chosen("shift", self.shift)
            x, y = (
                torch.where(chosen, (draws.symmetric(f"shift/{axis}") * 0.125 * size).round(), 0.0)
                for axis, size in (("x", width), ("y", height))
            )
            inverse, still = inverse @ translation(-x, -y), still & (x == 0) & (y == 0)
        if self.geometry > 0:
            scale = draws.pick("scale", self.geometry, torch.exp2(0.2 * draws.normal("scale/by")), 1.0)
            inverse = inverse @ scaling(1 / scale, 1 / scale)
            first = self._turn("rotate/first", draws)
            stretch = draws.pick("stretch", self.geometry, torch.exp2(0.2 * draws.normal("stretch/by")), 1.0)
            second = self._turn("rotate/second", draws)
            inverse = inverse @ rotation(first) @ scaling(1 / stretch, stretch) @ rotation(second)
            chosen = draws.chosen("move", self.geometry)
            x, y = (
                torch.where(chosen, 0.125 * size * draws.normal(f"move/{axis}"), 0.0)
                for axis, size in (("x", width), ("y", height))
            )
            inverse = inverse @ translation(-x, -y)
            still = still & (scale == 1) & (first == 0) & (stretch == 1) & (second == 0) & ~chosen
        if bool(still.all()):
            return images
        return torch.where(still[:, None, None, None], images, warped(images, inverse))

    def _turn(self, name: str, draws: _Draws) -> Tensor:
        """An angle in (-pi, pi). Each of two turns has the probability with which one of them at least is made."""
        chosen = draws.uniform(name) < 1 - (1 - self.geometry * draws.p) ** 0.5
        return torch.where(chosen, math.pi * draws.symmetric(f"{name}/by"), 0.0)

    def _colored(self, images: Tensor, draws: _Draws, channels: int) -> Tensor:
        if channels not in (1, 3, 4):
            raise UserError(f"augmentation ada: color: expected 1, 3 or 4 channels, got {channels}; use color: 0")
        n, device = len(images), images.device
        strength = self.color
        # An affine map of colours: a matrix (n, 3, 3) and an offset (n, 3).
        identity = torch.eye(3, device=device)
        grey = torch.full((3, 3), 1 / 3, device=device)  # projection on the axis of lightness
        bright = draws.pick("brightness", strength, 0.2 * draws.normal("brightness/by"), 0.0)
        contrast = draws.pick("contrast", strength, torch.exp2(0.5 * draws.normal("contrast/by")), 1.0)
        matrix = contrast[:, None, None] * identity
        offset = contrast * bright
        inverted = draws.chosen("lightness", strength) & (draws.uniform("lightness/which") < 0.5)
        matrix = (identity - torch.where(inverted, 2.0, 0.0)[:, None, None] * grey) @ matrix
        offset = torch.where(inverted, -offset, offset)
        if channels > 1:
            angle = draws.pick("hue", strength, math.pi * draws.symmetric("hue/by"), 0.0)[:, None, None]
            cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)
            turn = grey + torch.cos(angle) * (identity - grey) + torch.sin(angle) * cross
            saturation = draws.pick("saturation", strength, torch.exp2(draws.normal("saturation/by")), 1.0)
            matrix = (grey + saturation[:, None, None] * (identity - grey)) @ turn @ matrix
        changed = (matrix != identity).flatten(1).any(dim=1) | (offset != 0)
        colors = images[:, :3].flatten(2)
        if channels == 1:
            # The mean of the rows of the map, for equal colours.
            new = colors * matrix.sum(dim=(1, 2))[:, None, None] / 3 + offset[:, None, None]
        else:
            new = matrix @ colors + offset[:, None, None]
        new = new.view(n, -1, *images.shape[2:])
        if channels == 4:
            new = torch.cat([new, images[:, 3:]], dim=1)
        return torch.where(changed[:, None, None, None], new, images)

    def _cut(self, images: Tensor, draws: _Draws, height: int, width: int) -> Tensor:
        chosen = draws.chosen("cutout", self.cutout)
        inside = chosen[:, None, None]
        for axis, size, at in (("y", height, (slice(None), slice(None), None)), ("x", width, (slice(None), None))):
            place = (torch.arange(size, device=images.device) + 0.5) / size
            near = (place - draws.uniform(f"cutout/{axis}")[:, None]).abs() < 0.25
            inside = inside & near[at]
        return images.masked_fill(inside[:, None], 0.0)


class _Draws:
    """The random numbers of a batch, one for each sample.

    Args:
        batch: the batch.
        p: the probability of a transform of strength 1.
        device: the device of the samples.
    """

    def __init__(self, batch: Batch, p: Tensor | float, device: torch.device):
        self._batch = batch
        self.p = torch.as_tensor(p, dtype=torch.float32).to(device)

    def uniform(self, name: str) -> Tensor:
        return self._batch.uniform(f"ada/{name}")

    def normal(self, name: str) -> Tensor:
        return self._batch.normal(f"ada/{name}")

    def symmetric(self, name: str) -> Tensor:
        """Uniform in (-1, 1)."""
        return 2 * self.uniform(name) - 1

    def chosen(self, name: str, strength: float) -> Tensor:
        """Whether a transform is made."""
        return self.uniform(name) < strength * self.p

    def pick(self, name: str, strength: float, value: Tensor, otherwise: float) -> Tensor:
        """The value where a transform is made."""
        return torch.where(self.chosen(name, strength), value, otherwise)
