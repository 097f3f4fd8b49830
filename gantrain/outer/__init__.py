"""Outer loops, which move the joint iterate of all players."""

from gantrain.outer.base import Mover, Outer
from gantrain.outer.ceg_plus import CEGPlus
from gantrain.outer.gda import GDA
from gantrain.outer.lookahead import Lookahead
from gantrain.outer.optimistic import Optimistic
from gantrain.outer.rapp import RAPP, Extragradient, ExtragradientPlus

__all__ = [
    "CEGPlus",
    "Extragradient",
    "ExtragradientPlus",
    "GDA",
    "Lookahead",
    "Mover",
    "Optimistic",
    "Outer",
    "RAPP",
]
