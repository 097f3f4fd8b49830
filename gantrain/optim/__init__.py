"""Optimizers, schedulers, constraints and the average of the weights: everything that follows a gradient."""

from gantrain.optim.constraints import L1, Box, L2Ball, Resolvent, Simplex
from gantrain.optim.ema import EMA
from gantrain.optim.mirror import Mirror
from gantrain.optim.muon import Muon
from gantrain.optim.optimistic_adam import OptimisticAdam
from gantrain.optim.optimizers import make_optimizer, make_scheduler

__all__ = [
    "EMA",
    "L1",
    "Box",
    "L2Ball",
    "Mirror",
    "Muon",
    "OptimisticAdam",
    "Resolvent",
    "Simplex",
    "make_optimizer",
    "make_scheduler",
]
