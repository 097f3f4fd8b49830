"""Outer loops, which move the joint iterate of all players."""

from gantrain.outer.anchored import AnchoredExtragradient, FastExtragradient
from gantrain.outer.base import Mover, Outer
from gantrain.outer.ceg_plus import CEGPlus
from gantrain.outer.corrected_proximal_point import CorrectedProximalPoint
from gantrain.outer.gda import GDA
from gantrain.outer.lookahead import Lookahead
from gantrain.outer.optimistic import Optimistic
from gantrain.outer.rampage import RAMPAGE
from gantrain.outer.rapp import RAPP, Extragradient, ExtragradientPlus

__all__ = [
    "AnchoredExtragradient",
    "CEGPlus",
    "CorrectedProximalPoint",
    "Extragradient",
    "ExtragradientPlus",
    "FastExtragradient",
    "GDA",
    "Lookahead",
    "Mover",
    "Optimistic",
    "Outer",
    "RAMPAGE",
    "RAPP",
]
