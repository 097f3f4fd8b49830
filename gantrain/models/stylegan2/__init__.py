"""The networks of StyleGAN2."""

from gantrain.models.stylegan2.discriminator import StyleGAN2Discriminator
from gantrain.models.stylegan2.generator import StyleGAN2Generator

__all__ = ["StyleGAN2Discriminator", "StyleGAN2Generator"]
