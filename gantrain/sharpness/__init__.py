"""Gradient oracles: plain, SAM and SAMPa, with their variants; the functions that they climb."""

from gantrain.sharpness.base import Oracle, Plain
from gantrain.sharpness.bisam import lower_bound
from gantrain.sharpness.sam import SAM
from gantrain.sharpness.sampa import SAMPa

__all__ = ["Oracle", "Plain", "SAM", "SAMPa", "lower_bound"]
