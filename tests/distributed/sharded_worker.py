"""What the processes of the tests of sharding do: they train, and move the players of small games."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny import config_of

from gantrain.commands.train import train
from gantrain.data.spec import DataSpec
from gantrain.distributed import sharding
from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.games import shard_players
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.constraints import L1, Box, L2Ball, Simplex
from gantrain.optim.muon import Muon
from gantrain.optim.optimistic_adam import OptimisticAdam
from gantrain.outer import (
    GDA,
    RAMPAGE,
    RAPP,
    AnchoredExtragradient,
    CEGPlus,
    CorrectedProximalPoint,
    Extragradient,
    FastExtragradient,
    Lookahead,
    Optimistic,
)
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner
from gantrain.sharpness import AESAM, GSAM, SAM, GradientNorm, Plain, SAMPa
from gantrain.testing.oracle import Duel, duel_batches
from gantrain.testing.outer import PairGame, pair_batches
from gantrain.utils.shards import whole

# So few parameters make a unit of their own, so that small networks have several.
UNIT = 50
_OF_THE_MEAN = ("gradient_norm", "cosine", "gradient_distance")


class Reading(torch.nn.Module):
    """A generator that reads the weight of a layer without calling the layer.

    Args:
        spec: the description of the data.
    """

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.latent_dim = 4
        self.wide, self.last = torch.nn.Linear(4, 32), torch.nn.Linear(32, spec.shape[0])

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.last(torch.nn.functional.linear(z, self.wide.weight))


def trained(folder: str, *runs: tuple[dict[str, Any], tuple[str, ...], bool]) -> list[str]:
    """Train the runs one after the other in a process that was launched; returns what each was refused for, or "".

    A run is the base of its config, overrides, and whether it goes on.
    """
    sharding._LEAST = UNIT
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    refused = []
    for base, overrides, resume in runs:
        try:
            train(config_of(base, Path(folder), *overrides), resume=resume)
            refused.append("")
        except UserError as error:
            refused.append(str(error))
    return refused


def on_hosts(folder: str, *runs: tuple[dict[str, Any], tuple[str, ...], bool]) -> list[str]:
    """The same where each two processes are on a host of their own."""
    rank = int(os.environ["RANK"])
    os.environ |= {"LOCAL_RANK": str(rank % 2), "LOCAL_WORLD_SIZE": "2"}
    return trained(folder, *runs)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.01, fused=True)


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05)


LOOPS: dict[str, Callable[[], Any]] = {
    "gda": GDA,
    "alternating gda": lambda: GDA(order="alternating"),
    "extragradient": Extragradient,
    "optimistic": Optimistic,
    "rapp with critic steps": lambda: RAPP(3, 0.5, order="alternating", samples="same", critic_steps=2),
    "rampage": lambda: RAMPAGE(antithetic=True),
    "ceg_plus": CEGPlus,
    "adaptive ceg_plus": lambda: CEGPlus(adaptive=True),
    "lookahead": lambda: Lookahead(2, 0.5, Lookahead(2, 0.5, Extragradient())),
}
STATELESS: dict[str, Callable[[], Any]] = {
    "anchored_extragradient": AnchoredExtragradient,
    "fast_extragradient": lambda: FastExtragradient(-0.002),
    "corrected_proximal_point": lambda: CorrectedProximalPoint(comonotonicity=-0.001),
    "ceg_plus with curvature": lambda: CEGPlus(curvature=True),
}
ORACLES: dict[str, Callable[[], Any]] = {
    "sam": lambda: SAM(ascent="global"),
    "asam": lambda: SAM(ascent="global", geometry="elementwise"),
    "previous": lambda: SAM(direction="previous"),
    "random": lambda: SAM(direction="random"),
    "momentum": lambda: SAM(direction="momentum"),
    "smoothed": lambda: SAM(direction="smoothed", ascent="global"),
    "friendly": lambda: SAM(direction="friendly", ascent="global"),
    "bisam": lambda: SAM(climb="tanh", ascent="global"),
    "looksam": lambda: SAM(every=2, climb="log", ascent="global"),
    "sam-on": lambda: SAM(only="norm", ascent="global"),
    "sam-db": lambda: SAM(other_batch=True, ascent="global"),
    "sampa": SAMPa,
    "smoothed sampa": lambda: SAMPa(climb="tanh", geometry="elementwise", direction="smoothed", cosine=True),
    "gsam": lambda: GSAM(ascent="global"),
    "gradient_norm": lambda: GradientNorm(ascent="global"),
    "ae_sam": AESAM,
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adam, foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True, amsgrad=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001, centered=True, momentum=0.9),
    "optimistic_adam": lambda p: OptimisticAdam(p, amsgrad=True, weight_decay=0.1),
    "muon": Muon,
}
CONSTRAINTS: dict[str, Callable[[], Any]] = {
    "box": lambda: Box(-0.1, 0.1),
    "l2_ball": lambda: L2Ball(0.5),
    "l1": lambda: L1(0.1),
    "simplex": Simplex,
}
# By name: the game and its batches, the loop, the optimizer, the oracle, the constraint, and settings of the evaluator.
_PAIR, _DUEL = (PairGame, pair_batches), (Duel, duel_batches)
CASES: dict[str, tuple[Any, ...]] = {
    **{name: (_PAIR, loop, adam, Plain, None, {}) for name, loop in LOOPS.items()},
    **{name: (_PAIR, loop, sgd, Plain, None, {}) for name, loop in STATELESS.items()},
    **{f"oracle {name}": (_DUEL, Extragradient, adam, oracle, None, {}) for name, oracle in ORACLES.items()},
    **{f"optimizer {name}": (_PAIR, Extragradient, make, Plain, None, {}) for name, make in OPTIMIZERS.items()},
    **{f"constraint {name}": (_PAIR, Extragradient, adam, Plain, make, {}) for name, make in CONSTRAINTS.items()},
    "rapp with sampa": (_DUEL, lambda: RAPP(3, 0.5), adam, SAMPa, None, {}),
    "accumulation": (_DUEL, Extragradient, adam, ORACLES["sam"], None, {"accumulation": 2}),
    "loss scaling": (_DUEL, Extragradient, adam, SAMPa, None, {"scaled": True}),
    "spectral norm": ((lambda: Duel(spectral=True), duel_batches), Extragradient, adam, SAMPa, None, {}),
}


def distances(names: list[str], steps: int) -> dict[str, float]:
    """How far each of some cases ends from one process that holds everything: parameters, norms and cosines."""
    sharding._LEAST = 10
    torch.set_num_threads(1)
    with process_group(True, 60):
        everyone = Processes.launched()
        found = {}
        for name in names:
            case = CASES[name]
            one, many = _moved(case, Processes(), steps, everyone.world_size), _moved(case, everyone, steps, 1)
            found[name] = max((a - b).abs().max().item() for a, b in zip(one, many, strict=True))
        return found


def _moved(case: tuple[Any, ...], processes: Processes, steps: int, times: int) -> list[torch.Tensor]:
    """The parameters after some steps, and what was observed in the last one.

    Args:
        case: the case.
        processes: the processes; if there are several, the networks are sharded.
        steps: the number of steps.
        times: by how much micro-batches are more.
    """
    (make, batches), loop, optimizer, oracle, constraint, settings = case
    game = make()
    for player in game.players.values():
        for module in player.module.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.eval()  # its statistics would be those of a share
    shard_players(game, "full", processes)
    learners = [
        Learner(player, optimizer(player.parameters), oracle(), constraint and constraint(), clip=0.5)
        for player in game.players.values()
    ]
    if "accumulation" in settings:
        settings = {"accumulation": settings["accumulation"] * times}

    def share(draw: int, step: int) -> Any:
        part, parts = evaluator.share
        batch = batches(draw, step)
        cut = [t.tensor_split(parts)[part] for t in (batch if isinstance(batch, tuple) else (batch,))]
        return tuple(cut) if isinstance(batch, tuple) else cut[0]

    evaluator = Evaluator(game, share, processes=processes, **settings)
    field, outer = Field(evaluator, learners), loop()
    outer.require(field)
    evaluator.observing = True
    for _ in range(steps):
        outer.step(field)
        evaluator.step += 1
    observed = [
        v.double() for each in evaluator.observed.values() for k, v in each.items() if "norm" in k or "cos" in k
    ]
    return [whole(p).detach().clone() for learner in learners for p in learner.parameters] + observed


def grown(folder: str, *runs: tuple[dict[str, Any], tuple[str, ...], bool]) -> int:
    """By how many bytes the runs raise the most memory that this process had; a small run has loaded the programs."""
    small = (runs[0][0], (*runs[0][1], "run.name=small", "game.generator.model.width=4"), False)
    refused = trained(folder, small)
    sharding._LEAST = 1_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for base, overrides, resume in runs:
        train(config_of(base, Path(folder), *overrides), resume=resume)
    assert refused == [""]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
