"""The sweep command: a run for each point of a grid of values and each seed, trained by several workers."""

from gantrain.commands.sweep.outcome import Outcome, is_finished
from gantrain.commands.sweep.planning import PlannedRun, grid, plan
from gantrain.commands.sweep.training import train

__all__ = ["Outcome", "PlannedRun", "grid", "is_finished", "plan", "train"]
