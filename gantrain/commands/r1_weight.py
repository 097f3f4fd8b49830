"""The weight of R1 from which to start for images of a size: a rule of thumb."""

from __future__ import annotations


def starting_weight(height: int, width: int, batch: int) -> float:
    """``0.0002 height width / batch``, the weight gamma of R1 with which the code of StyleGAN2-ADA starts by default.

    Source: Karras et al., Training generative adversarial networks with limited data, NeurIPS 2020, and its code, where
    images are square.

    Args:
        height: the height of the images in pixels.
        width: their width in pixels.
        batch: the number of images in a batch, over all processes.
    """
    return 0.0002 * height * width / batch


def in_words(height: int, width: int, batch: int) -> str:
    """The weight, and where it comes from, as a part of a line."""
    weight = starting_weight(height, width, batch)
    return f"StyleGAN2-ADA starts at 0.0002 * {height} * {width} / {batch} = {weight:.3g}"
