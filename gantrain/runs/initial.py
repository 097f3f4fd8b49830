"""Networks that begin with the weights of another run.

Only the tensors of that run's checkpoint are read: neither is its network built nor its config looked at.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gantrain.config import shipped
from gantrain.config.base import nearest, one_of
from gantrain.config.initial import Init
from gantrain.config.paths import not_found
from gantrain.config.shipped import is_missing
from gantrain.config.types import expanded, shown
from gantrain.errors import UserError
from gantrain.runs import checkpoint
from gantrain.runs.checkpoint_files import MANIFEST, SHARDS, manifest_of, sha256_of_file
from gantrain.runs.folder import BEST
from gantrain.runs.saved import find_checkpoint
from gantrain.utils.io import explaining_write_errors, write_file

RECORD = "init.json"
# So many names of tensors are listed in a line.
_NAMED = 3


@dataclass(frozen=True)
class Initial:
    """What a network has taken over from a checkpoint of another run; as text, one line.

    Attributes:
        checkpoint: the folder of the checkpoint.
        step: the step of the checkpoint.
        player: the player of that run whose network was taken.
        weights: "live", or the name of an average.
        sha256: the digest of the file of the tensors.
        taken: the number of tensors that were taken over.
        tensors: the number of tensors of the network.
        differ: the names of the tensors that have another shape or type there.
        missing: the names of the tensors that are not there.
    """

    checkpoint: str
    step: int
    player: str
    weights: str
    sha256: str
    taken: int
    tensors: int
    differ: tuple[str, ...]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        place = Path(self.checkpoint).parent
        place = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
        line = f"{self.taken} of {self.tensors} tensors from {place} (step {self.step}, {self.weights})"
        several = {"in shape": self.differ, "there": self.missing}
        for what, names in several.items():
            if names:
                verb = ("differ" if len(names) > 1 else "differs") if what == "in shape" else "not"
                line += f"; {len(names)} {verb} {what}: {_listed(names)}"
        return line


def initialise(
    network: nn.Module,
    run: str | Path,
    player: str,
    step: int | Literal["newest", "best"] = "newest",
    weights: str | None = None,
    key: str = "",
) -> Initial:
    """Give a network the weights that a player's network has in another run, as far as names and shapes agree.

    The tensors are copied into the network's own, so that optimizers and games that hold these go on with them.

    Args:
        network: the network, which is changed in place.
        run: the run's folder; or ``RUN/step_N``, ``RUN/best`` or ``RUN/best/step_N``.
        player: the player of that run, such as "generator".
        step: the step of the checkpoint, "newest" or "best".
        weights: "live", or the name of an average, such as "ema". By default the first average that the run keeps of
            this network, and "live" if it keeps none.
        key: the key of the config that asks for it, for messages.

    Returns:
        What was taken over, which a :class:`gantrain.Trainer` takes as ``initial`` to keep a record.

    Raises:
        UserError: there is no such run, checkpoint, player or average; no parameter fits; or a tensor is not finite.
    """
    path = _find(run, step, key)
    try:
        number, state = checkpoint.load(path)
        digests = manifest_of(path)
    except UserError as error:
        raise UserError(f"{_at(key)}{error}") from None
    weights, part, saved = _tensors(state, player, weights, path, key)
    own = {name: t for name, t in network.state_dict().items() if isinstance(t, Tensor)}
    taken = [name for name, t in own.items() if name in saved and _fits(saved[name], t)]
    if not {name for name, _ in network.named_parameters()} & set(taken):
        ours, theirs = (next((f"{name} {tuple(t.shape)}" for name, t in each.items()), "none") for each in (own, saved))
        raise UserError(
            f"{_at(key)}no tensor of {player} in {path} fits the network: it has {theirs} …, and the network {ours} …; "
            "take the model with the keys that it has in that run, or another player of it"
        )
    wrong = next((name for name in taken if own[name].isfinite().all() and not saved[name].isfinite().all()), None)
    if wrong is not None:
        raise UserError(f"{_at(key)}{path}: {wrong} of {player} is not finite; take another checkpoint")
    with torch.no_grad():
        for name in taken:
            own[name].copy_(saved[name])
    others = [name for name in own if name not in taken]
    differ, missing = (tuple(n for n in others if (n in saved) is there) for there in (True, False))
    # Shards lie in several files; the manifest has the digests of all.
    sharded = any(name.startswith(f"{SHARDS}/") for name in digests)
    sha256 = sha256_of_file(path / MANIFEST) if sharded else digests.get(f"{part}.safetensors", "")
    return Initial(os.path.abspath(path), number, player, weights, sha256, len(taken), len(own), differ, missing)


def initialised(network: nn.Module, init: Init, player: str, key: str) -> Initial:
    """Do what the section ``init`` of a player says; see :func:`initialise`."""
    return initialise(network, init.run, init.player or player, init.step, init.weights, key)


def record_initial(folder: Path, initial: Mapping[str, Initial]) -> None:
    """Write into the folder of a run what its networks began with, by player.

    Raises:
        UserError: the file cannot be written.
    """
    with explaining_write_errors(folder):
        text = json.dumps({player: asdict(each) for player, each in initial.items()}, indent=1)
        write_file(folder / RECORD, text + "\n", durable=True)


def _find(run: str | Path, step: int | str, key: str) -> Path:
    """The folder of the checkpoint."""
    try:
        place = shipped.find_run(expanded(str(run)))
    except ValueError as error:
        raise UserError(f"{_at(key)}{run}: {error}") from None
    name = f"{key}.run" if key else "run"
    if is_missing(place):
        raise not_found(name, place)
    if place.is_file():
        raise UserError(f"{name}: {place} is a file; expected the folder of a run or of a checkpoint")
    if step == "best":
        place = place / BEST
        if is_missing(place):
            raise UserError(f"{_at(key)}{place.parent}: has no best checkpoint; use step: newest, or a number")
    try:
        return find_checkpoint(place, step if isinstance(step, int) else None)
    except UserError as error:
        raise UserError(f"{_at(key)}{error}") from None


def _tensors(
    state: Mapping[str, Any], player: str, weights: str | None, path: Path, key: str
) -> tuple[str, str, dict[str, Tensor]]:
    """The name of the weights of a player that are taken, the part of the checkpoint that has them, and the tensors."""
    players = [name for name in state if f"optimizer.{name}" in state and isinstance(state[name], Mapping)]
    if player not in players:
        where = f"{key}.player: " if key else "player: "
        raise UserError(
            f"{where}the run of {path} has no player {shown(player)}{nearest(player, players)}; expected "
            f"{one_of(players) or 'a run of gantrain train'}"
        )
    live = _only_tensors(state[player])
    found = {"live": (player, live)}
    for part, content in state.items():
        if part == "ema" or part.startswith("ema."):
            average = _only_tensors(content)
            of = [name for name in players if _alike(average, _only_tensors(state[name]))]
            everyone = {
                name.removeprefix(f"{player}."): t for name, t in average.items() if name.startswith(f"{player}.")
            }
            if of == [player]:
                found[part.removeprefix("ema.")] = (part, average)
            elif not of and _alike(everyone, live):
                found[part.removeprefix("ema.")] = (part, everyone)
    if weights is None:
        weights = next((name for name in found if name != "live"), "live")
    if weights not in found:
        where = f"{key}.weights: " if key else "weights: "
        raise UserError(
            f"{where}{path} has no weights {shown(weights)} of {player}{nearest(weights, found)}; expected "
            f"{one_of(found)}"
        )
    return weights, *found[weights]


def _only_tensors(part: Any) -> dict[str, Tensor]:
    return {name: t for name, t in part.items() if isinstance(t, Tensor)} if isinstance(part, Mapping) else {}


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two networks have the same names and shapes."""
    return {n: t.shape for n, t in one.items()} == {n: t.shape for n, t in other.items()}


def _fits(saved: Tensor, own: Tensor) -> bool:
    kinds = [(t.shape, t.is_floating_point(), t.is_complex()) for t in (saved, own)]
    return kinds[0] == kinds[1]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")


def _at(key: str) -> str:
    return f"{key}: " if key else ""
