"""The evaluator, which differentiates one player's objective at the current joint point."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from gantrain.compute.compile import uncompiled
from gantrain.compute.modes import Buffers
from gantrain.config.user_code import UserCode, described, name_of
from gantrain.data.batch import Batch
from gantrain.distributed.processes import Processes
from gantrain.distributed.sharding import Gathering
from gantrain.errors import Diverged, UserError
from gantrain.games.base import Game, Gradient, Objective, Player
from gantrain.games.checks import require_scalar
from gantrain.gradients.accumulation import GradientAccumulation
from gantrain.gradients.backward_errors import explained
from gantrain.gradients.loss_scaling import Evaluated, LossScale, NotFinite, evaluate_in_range
from gantrain.gradients.once_per_step import OncePerStep
from gantrain.utils.tensors import copied_gradient, preserve, set_gradient

# The largest number of values on a device that may wait for the check that they are finite. The check reads them from
# the device, and the step must wait for that.
_UNCHECKED = 100


class Evaluator:
    """Differentiates the objectives of a game at the current point, on batches that are a function of the draw.

    The evaluator does everything that lies between the game and a gradient: it takes the batch, seeds the networks,
    applies autocast, micro-batches and the loss scale, averages over the processes, and counts. It moves buffers, but
    no parameters.

    Args:
        game: the game whose objectives are differentiated.
        batches: the function ``(draw, step) -> batch``. It depends on these and on :attr:`share` alone: the same
            arguments give the same batch.
        processes: the processes that share each batch; by default one process alone.
        autocast: makes the context in which objectives are computed; by default a context that does nothing.
        reseed: called with the draw before each objective is computed. It seeds the generators from which networks
            draw (dropout), so that two passes on one batch evaluate the same function. By default nothing is seeded.
        seed: the seed of the random directions that oracles ask for.
        accumulation: the number of micro-batches into which each process cuts its share of a batch.
        scaled: whether losses are scaled while they are differentiated, which float16 needs.
        copied: whether each gradient is copied out of the memory in which the networks return it. CUDA graphs write to
            that memory again in the next step, up to which loops and oracles may keep a gradient.

    Attributes:
        step: the training step in progress; batches may depend on it, as lazy penalties do.
        draws: the number of batches drawn so far.
        evaluations: the number of gradient evaluations so far, by player.
        loss_scales: the scale of each player's loss, by player; empty if losses are not scaled.
        gathering: the players' networks that are sharded; false if none is.
        buffers: the buffers of all players' modules.
        once_per_step: those among the buffers that move once in a training step.
        running: all other buffers.
        observing: whether the next evaluations are recorded in ``observed``.
        observed: the scalars that were recorded in each player's last evaluation, by player and name: ``loss``,
            ``score/NAME`` (means), ``gradient_norm``, and those of the oracle. They are 0-d tensors.
        distributed: the names of scores that are recorded sample by sample, too; by default none.
        scores: these scores of each player's last observed evaluation, by player and name: one tensor ``(n,)`` for each
            micro-batch.
    """

    def __init__(
        self,
        game: Game,
        batches: Callable[[int, int], Any],
        processes: Processes | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        reseed: Callable[[int], None] | None = None,
        seed: int = 0,
        accumulation: int = 1,
        scaled: bool = False,
        copied: bool = False,
    ):
        self.game = game
        self.batches = batches
        self.processes = processes or Processes()
        self.autocast = autocast
        self.reseed = reseed
        self.seed = seed
        self.buffers = [b for player in game.players.values() for b in player.buffers]
        self._tensors = Buffers(player.module for player in game.players.values())
        self.once_per_step = OncePerStep([b for player in game.players.values() for b in player.once_per_step])
        once = {id(b) for b in self.once_per_step.buffers}
        self.running = [b for b in self.buffers if id(b) not in once]
        self.accumulation = GradientAccumulation(accumulation, self.buffers)
        self.loss_scales = {name: LossScale() for name in game.players} if scaled else {}
        self.gathering = Gathering(player.module for player in game.players.values())
        self.copied = copied
        self.step = 0
        self.draws = 0
        self.evaluations = dict.fromkeys(game.players, 0)
        self.observing = False
        self.observed: dict[str, dict[str, Tensor]] = {}
        self.distributed: tuple[str, ...] = ()
        self.scores: dict[str, dict[str, list[Tensor]]] = {}
        self._unchecked: list[tuple[str, Tensor]] = []
        self._batch: tuple[tuple[int, ...], Any] | None = None

    def draw(self) -> int:
        """Count a new batch, and return its index."""
        self.draws += 1
        return self.draws - 1

    @property
    def share(self) -> tuple[int, int]:
        """The share of a batch that is evaluated now: its number, and the number of all shares.

        Micro-batch i of N on process r of W is share iW + r of NW, as it would be on NW processes. The i-th micro-
        batches of all processes are adjacent shares, so that batch norm over them does not depend on W.
        """
        part, parts = self.accumulation.current
        return part * self.processes.group_size + self.processes.rank, parts * self.processes.group_size

    def batch(self, draw: int) -> Any:
        """The current share of the batch of a draw. The last share is kept, since two players may see it in turn."""
        key = (draw, self.step, *self.share)
        if self._batch is None or self._batch[0] != key:
            self._batch = (key, self.batches(draw, self.step))
        return self._batch[1]

    def gradients(
        self,
        player: Player,
        draw: int,
        targets: Sequence[Callable[[Objective], Tensor]] = (),
        auxiliary: bool = False,
        counted: bool = True,
        observing: bool = False,
        selected: Callable[[Any], Any] | None = None,
    ) -> list[Gradient]:
        """Gradients of the player's objective on the current share of a batch, in the player's parameters.

        Args:
            player: the player whose objective is differentiated.
            draw: the index of the batch.
            targets: the functions of the objective that are differentiated, all in one forward pass; by default the
                loss.
            auxiliary: whether all buffers are left as they were.
            counted: whether the evaluation counts among the method's gradient evaluations. One for the log alone does
                not count.
            observing: whether loss and scores are recorded.
            selected: makes a part of the share, on which the objective is then computed; by default all of it counts.

        Returns:
            For each target a list with one entry for each parameter: a tensor, or None where the target does not
            depend on the parameter.

        Raises:
            UserError: in float16, the loss or its gradient is not finite, or the device cannot compute it.
        """
        with self.aside() if auxiliary else self._counting():
            evaluate = partial(self._differentiated, player, draw, targets, selected=selected)
            found = self._in_range([player.name], evaluate)
        self._record(found, counted, observing and not auxiliary)
        return found[player.name][1]

    def value(self, player: Player, draw: int, target: Callable[[Objective], Tensor]) -> Tensor:
        """The value of a function of the player's objective on the current share of a batch, from a forward pass alone.

        Nothing is counted or recorded, and all buffers are left as they were.

        Args:
            player: the player whose objective is computed.
            draw: the index of the batch.
            target: the function of the objective.
        """
        # With a graph, since penalties differentiate inside of objectives.
        with self.aside(), self._evaluation():
            return target(self._objective(player, draw)).detach()

    def gradients_of_all(self, draw: int, observing: bool = False) -> list[Gradient]:
        """The plain gradients of all players, from one pass that they share; see :meth:`Game.shared_pass`.

        The game must share a pass. Each player's gradient counts as one evaluation.

        Args:
            draw: the index of the batch.
            observing: whether losses and scores are recorded.

        Raises:
            UserError: in float16, a loss or its gradient is not finite, or the device cannot compute it.
        """
        with self._counting():
            found = self._in_range(list(self.game.players), partial(self._differentiated_together, draw))
        self._record(found, True, observing)
        return [gradients[0] for _, gradients in found.values()]

    def rehearse(self) -> None:
        """Evaluate and differentiate each player's objective once, so that what is wrong with them shows now.

        One micro-batch of the next draw is taken. Nothing changes by it: no buffer or attribute of a network, no
        counter, gradient or random state.

        Raises:
            UserError: a network, a loss or another part returns or raises something that cannot be used.
        """
        with self.unchanged():
            try:
                self.accumulation.current = 0, self.accumulation.number
                for name, player in self.game.players.items():
                    evaluate = partial(self._differentiated, player, self.draws, ())
                    with explained(f"game: the gradient of player {name}", evaluate):
                        objective, gradients = evaluate()[name]
                    self._require_start(name, objective, gradients)
            finally:
                self.accumulation.current = 0, 1

    def _require_start(self, player: str, objective: Objective, gradients: list[Gradient]) -> None:
        """Refuse an objective that is NaN before the first step, or that none of the player's parameters changes."""
        self._means(objective)
        _ = objective.logits, objective.targets  # which only an oracle that climbs margins would ask for
        who = f"game: {name_of(self.game)}.objective({player!r})"
        if all(g is None for gradient in gradients for g in gradient):
            raise UserError(f"{who}: the loss does not depend on the parameters of player {player}, which minimises it")
        if objective.loss.isnan().any():
            raise UserError(
                f"{who}: the loss is nan before the first step; look in networks, losses and data for NaN, divisions "
                "by 0, and roots and logarithms of numbers below 0"
                + ("; the game takes no data, so batch.real is empty" if self.game.takes_data is False else "")
            )

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Sets all buffers back at the end of the block, as if nothing had been evaluated in it."""
        seen = self.once_per_step.seen
        try:
            with preserve(self.buffers):
                yield
        finally:
            self.once_per_step.seen = seen

    def _counting(self) -> AbstractContextManager[None]:
        return self.once_per_step.evaluation(self.step, self.accumulation.current[0])

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Sets back, at the end of the block, what evaluations change: buffers, attributes of networks, gradients, what
        parts of the game keep, and random states. In the block compiled networks run uncompiled."""
        players = self.game.players.values()
        cuda = {p.device for player in players for p in player.parameters if p.is_cuda}
        attributes = [(m, dict(vars(m))) for player in players for m in player.module.modules()]
        kept = copy.deepcopy(self.game.state_dict())
        try:
            with torch.random.fork_rng(devices=cuda), preserve(self.buffers), uncompiled():
                yield
        finally:
            self._batch = None  # a part may have written into it
            self.game.load_state_dict(kept)
            for p in (p for player in players for p in player.parameters):
                p.grad = None
            for module, before in attributes:
                vars(module).clear()
                vars(module).update(before)

    def observe(self, player: str, name: str, value: Tensor) -> None:
        """Record the mean of ``value``, over the micro-batches too, under ``name`` for the log."""
        observed = self.observed[player]
        observed[name] = self.accumulation.included(observed.get(name), value.detach().mean())

    def require_finite(self, player: str, what: str, value: Tensor) -> None:
        """Refuse a 0-d tensor that is not finite.

        On a CPU the number is read at once, which costs nothing. On another device reading would make the step wait, so
        the number is read at the next observed step, or once a hundred numbers wait. Until then the caller must compute
        nothing finite from a number that is not finite. With several processes nothing is read: one of them would give
        up alone, while the mean over all of them is not finite either, and all find that at the same place.

        Args:
            player: the name of the player, for the message.
            what: the name of the number, for the message.
            value: the number.

        Raises:
            Diverged: this number, or an earlier one that had not been read yet, is not finite.
        """
        if self.processes.world_size > 1:
            return
        self._unchecked.append((f"step {self.step}, player {player}: {what}", value.detach()))
        if not self.observing and value.device.type != "cpu" and len(self._unchecked) < _UNCHECKED:
            return
        unchecked, self._unchecked = self._unchecked, []
        for (about, _), number in zip(unchecked, torch.stack([v.double() for _, v in unchecked]).tolist(), strict=True):
            if not math.isfinite(number):
                raise Diverged(f"{about} is {number}; the training diverged. Lower the learning rate")

    def state_dict(self) -> dict[str, Any]:
        """The counters, the loss scales, and what parts of the game keep."""
        scales = {name: scale.state_dict() for name, scale in self.loss_scales.items()}
        counters = {"draws": self.draws, "evaluations": dict(self.evaluations), "loss_scales": scales}
        kept = self.game.state_dict()
        return counters | ({"game": kept} if kept else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._unchecked.clear()
        self.once_per_step.forget()
        self.draws = state["draws"]
        self.evaluations = dict(state["evaluations"])
        for name, scale in self.loss_scales.items():
            scale.load_state_dict(state["loss_scales"][name])
        self.game.load_state_dict(state.get("game", {}))

    def _differentiated(
        self,
        player: Player,
        draw: int,
        targets: Sequence[Callable[[Objective], Tensor]],
        scales: Mapping[str, float] = MappingProxyType({}),
        selected: Callable[[Any], Any] | None = None,
    ) -> Evaluated:
        """The player's objective, and the gradients of the targets, multiplied by the player's scale."""
        differentiate = self.gathering.differentiate if self.gathering else _differentiate
        with self._evaluation():
            objective = self._objective(player, draw, selected)
            wanted = [target(objective) for target in targets] or [objective.loss]
            scale = scales.get(player.name, 1.0)
            if scale != 1.0:
                wanted = [value * scale for value in wanted]
            last = wanted[-1]
            gradients = [
                self._own(player, differentiate(value, player.parameters, retain_graph=value is not last))
                for value in wanted
            ]
        return {player.name: (objective, gradients)}

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """The context of one pass and its gradients."""
        with self.gathering.evaluation(), self._tensors.kept():
            yield

    def _objective(self, player: Player, draw: int, selected: Callable[[Any], Any] | None = None) -> Objective:
        with self._seeded_batch(draw) as batch:
            objective = self.game.objective(player.name, batch if selected is None else selected(batch))
        if not isinstance(objective, Objective):
            wrong = f"expected a gantrain.games.Objective, got {described(objective)}"
            raise UserError(f"game: {name_of(self.game)}.objective({player.name!r}): {wrong}")
        require_scalar(objective.loss, player.parameters[0], "game", self.game, f"objective({player.name!r}).loss")
        return objective

    def _differentiated_together(self, draw: int, scales: Mapping[str, float]) -> Evaluated:
        """The objectives of all players and their gradients, each multiplied by its player's scale."""
        players = self.game.players
        with self._evaluation():
            with self._seeded_batch(draw) as batch:
                shared = self.game.shared_pass(batch)
            for p in (p for player in players.values() for p in player.parameters):
                p.grad = None
            with self.gathering.backward():
                shared.backward({name: scales.get(name, 1.0) for name in players})
        return {
            name: (shared.objectives[name], [self._own(player, [p.grad for p in player.parameters])])
            for name, player in players.items()
        }

    def _own(self, player: Player, gradient: Gradient) -> Gradient:
        """The gradient that is in the ``.grad`` of a player's parameters, or the copy that takes its place."""
        if self.copied:
            gradient = copied_gradient(gradient)
            set_gradient(player.parameters, gradient)
        return gradient

    @contextmanager
    def _seeded_batch(self, draw: int) -> Iterator[Any]:
        """The batch of a draw; inside the block the game computes on it."""
        batch = self.batch(draw)
        if self.reseed is not None:
            self.reseed(draw)
        if isinstance(batch, Batch):
            batch.part = self.accumulation.current
            batch.whole_mean = self.processes.mean_of_first_role
        with self.autocast(), UserCode("game", self.game):
            yield batch

    def _record(self, evaluated: Evaluated, counted: bool, observing: bool) -> None:
        """Count an evaluation of each player, and record losses and scores."""
        for player, (objective, _) in evaluated.items():
            # All micro-batches together count as one evaluation.
            self.evaluations[player] += counted and self.accumulation.current[0] == 0
            if observing:
                for name, value in self._means(objective).items():
                    self.observe(player, name, value)
                self._record_scores(player, objective)

    def _record_scores(self, player: str, objective: Objective) -> None:
        """Record single scores of a micro-batch, after those of the micro-batches before."""
        recorded = self.scores.setdefault(player, {})
        for name in self.distributed:
            score = objective.scores.get(name)
            if score is not None and score.dim() == 1:
                before = recorded.get(name, []) if self.accumulation.current[0] else []
                recorded[name] = [*before, score.detach()]

    def _means(self, objective: Objective) -> dict[str, Tensor]:
        """What is logged of an objective: the loss, and the means of the scores."""
        scores, who = objective.scores, f"game: {name_of(self.game)}.objective: scores"
        if not isinstance(scores, dict):
            raise UserError(f"{who}: expected a dict of tensors by name, got {described(scores)}")
        for name, score in scores.items():
            if not isinstance(score, Tensor):
                raise UserError(f"{who}: {name}: expected a tensor, got {described(score)}")
        values = {"loss": objective.loss} | {f"score/{name}": score for name, score in scores.items()}
        # Decisions and counts are bool and integers, of which torch takes no mean.
        return {name: (v if v.is_floating_point() else v.float()).detach().mean() for name, v in values.items()}

    def _in_range(self, players: Sequence[str], evaluate: Callable[[Mapping[str, float]], Evaluated]) -> Evaluated:
        """What ``evaluate`` returns; in float16, at loss scales at which the gradients are finite."""
        if not self.loss_scales:
            return evaluate({})
        try:
            scales = {name: self.loss_scales[name] for name in players}
            return evaluate_in_range(scales, evaluate, self.buffers, self.processes)
        except NotFinite as error:
            raise Diverged(
                f"step {self.step}, player {error.player}: {error} is not finite in fp16; the training diverged. Lower "
                "the learning rate, or use run.precision: bf16"
            ) from None
        except RuntimeError as error:
            # torch has no class for the error of an operation that a device lacks in half precision.
            if "Half" not in str(error):
                raise
            raise UserError(
                f"player {', '.join(players)}: run.precision: fp16: {str(error).splitlines()[0]}; use bf16 or fp32"
            ) from error


def _differentiate(value: Tensor, parameters: Sequence[Tensor], retain_graph: bool) -> Gradient:
    """The gradient of ``value``, accumulated into ``.grad``.

    In ``.grad`` a gradient has the memory layout of its parameter, on which fused optimizers rely. Gradients from
    ``torch.autograd.grad`` may have another layout.
    """
    for p in parameters:
        p.grad = None
    torch.autograd.backward(value, inputs=parameters, retain_graph=retain_graph)
    return [p.grad for p in parameters]
