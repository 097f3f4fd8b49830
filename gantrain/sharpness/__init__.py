"""Gradient oracles: plain, SAM and SAMPa, with their variants; the functions that they climb."""

from gantrain.sharpness.ae_sam import AESAM
from gantrain.sharpness.base import Oracle, Plain
from gantrain.sharpness.bisam import lower_bound
from gantrain.sharpness.esam import ESAM
from gantrain.sharpness.gradient_norm import GradientNorm
from gantrain.sharpness.gsam import GSAM
from gantrain.sharpness.sam import SAM
from gantrain.sharpness.sampa import SAMPa

__all__ = ["AESAM", "ESAM", "GSAM", "GradientNorm", "Oracle", "Plain", "SAM", "SAMPa", "lower_bound"]
