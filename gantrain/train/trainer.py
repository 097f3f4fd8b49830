"""The training run: its steps, and the logs, callbacks and checkpoints between them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from gantrain.compute import memory
from gantrain.compute.compile import Arithmetic, reference_arithmetic
from gantrain.compute.pace import Pace
from gantrain.compute.precision import autocast
from gantrain.compute.threads import threads
from gantrain.config.clock import Clock
from gantrain.config.sections import TENSORBOARD, Checkpoint, Log, Run
from gantrain.config.types import Interval
from gantrain.config.user_code import UserCode, described, name_of
from gantrain.data.batch import Batch, Batches
from gantrain.data.digest import Digest, difference
from gantrain.data.storage import describe_samples
from gantrain.distributed.processes import Processes
from gantrain.distributed.store import mark_begun
from gantrain.distributed.watch import require_others
from gantrain.errors import Diverged, UserError
from gantrain.games.base import Game
from gantrain.games.sharded import require_shards
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim import schedules
from gantrain.optim.ema import EMA, average_part
from gantrain.optim.optimizers import require_sharded_steps
from gantrain.outer.base import Outer
from gantrain.outer.field import Field
from gantrain.outer.learner import Learner, scheduled_numbers
from gantrain.runs import checkpoint
from gantrain.runs.about import About
from gantrain.runs.data_record import DataForm, check_data, record_data
from gantrain.runs.folder import (
    BEST,
    BUILT_IN_PYTHON,
    RESOLVED_CONFIG,
    clear_folder,
    config_text,
    prepare_folder,
    require_available,
)
from gantrain.runs.handing_over import hand_over
from gantrain.runs.hyper_parameters import hyper_parameters
from gantrain.runs.initial import Initial, record_initial
from gantrain.runs.lock import RunLock
from gantrain.runs.monitor import require_rows
from gantrain.runs.place import Place
from gantrain.runs.restore import (
    part_of,
    require_fit,
    restore,
    restore_optimizer,
    restore_part,
    restore_scheduler,
)
from gantrain.train.budget import Budget, foreseen_cost, steps_within
from gantrain.train.callbacks.base import Callback, Result
from gantrain.train.description import describe
from gantrain.train.further import how_to_go_on, how_to_resume, larger_budgets
from gantrain.train.initial_distance import InitialDistance
from gantrain.train.interrupt import Interrupt
from gantrain.train.loop import Loop
from gantrain.train.networks import Networks
from gantrain.train.nonfinite import not_finite, require_finite_samples
from gantrain.train.observations import read_observations
from gantrain.train.progress import Progress
from gantrain.train.rehearsal import rehearse_step, take_step
from gantrain.train.requirements import (
    require_averages,
    require_intervals,
    require_joint_ascent,
    require_kind,
    require_players,
    require_schedulers,
    require_weights,
)
from gantrain.train.resuming import best_result, newest_checkpoint, nothing_to_resume, undone_work
from gantrain.utils.io import make_folder
from gantrain.utils.nested import Maybe, flatten
from gantrain.utils.seeding import derive
from gantrain.utils.shards import is_shard
from gantrain.utils.tensors import norm

# The part of a checkpoint that holds the weights with which the run began, if their distance is logged.
_INITIAL_WEIGHTS = "log.initial_weights"
# The scores whose distributions TensorBoard shows.
_DISTRIBUTED = ("real", "fake")


class Trainer(Loop):
    """Trains a game: takes steps until the budget is used up, and writes logs, samples and checkpoints.

    In Python you build the parts that a config would name, and give them to the trainer. :meth:`fit` then does all that
    ``gantrain train`` does.

    Args:
        game: the game, its networks on the device on which they are trained.
        learners: one learner for each player, in the order in which the players move.
        outer: the outer loop.
        batches: the batches of the training data. Their ``batch_size`` counts all processes together.
        run: the name, folder, seed, budget and precision of the run. The data set and the device come from ``batches``
            and ``game``.
        schedulers: the learning-rate schedulers by player; each takes a step after each training step. Default none.
        ema: the average of the weights of the game's evaluated network, or several, each with a name of its own.
            Default none.
        callbacks: the callbacks that look at the run while it goes on. Default none.
        log: the interval between scalars; every 20 steps by default.
        checkpoints: the interval between checkpoints, and the number that is kept; by default every 500 steps and 2.
        config: the config from which the parts were built, as plain data. It is stored in the run's folder, and a
            resumed run must have the same. By default it is made of the settings that can be read off the arguments.
        processes: the processes that share each batch; the same object that synchronised batch norms were given. By
            default all processes that were launched.
        initial: what networks have taken over from other runs, by player, as :func:`gantrain.initialise` returns it.
            The run shows it and keeps it in ``init.json``. Default nothing.
        about: what TensorBoard shows of the run beside its rows; by default the settings in ``config``.

    Attributes:
        step: the number of training steps taken; a training step is a step of the innermost outer loop.
        outer_steps: the number of completed outer steps.
        folder: the folder of the run, ``run.folder/run.name``.
        scheduled: the numbers of the parts that follow schedules, by key, with their present values.
        averages: the averages of the weights by name.
        best: the name and the cost of the best evaluation so far, or None.
        command: the words of the command that resumes the run, which a run shows at its end; None if it is not known.

    Raises:
        UserError: a player has no learner, the data do not fit ``run`` or hold NaN, a schedule ends before the run, the
            outer loop cannot move the learners, or this machine cannot compile.

    Examples:
        >>> import tempfile, torch, gantrain as gt
        >>> digits = gt.data.Digits()
        >>> spec = digits.spec.unconditional()
        >>> networks = gt.models.ConvGenerator(spec, width=4), gt.models.ConvDiscriminator(spec, width=4)
        >>> game = gt.games.GAN(*networks, loss=gt.games.losses.Hinge())
        >>> learners = [gt.Learner(p, torch.optim.Adam(p.parameters, lr=2e-4)) for p in game.players.values()]
        >>> batches = gt.data.Batches(digits, batch_size=64, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = gt.Run(name="digits", folder=folder, steps=2)
        ...     trainer = gt.Trainer(game, learners, gt.outer.Extragradient(), batches, run)
        ...     sorted(path.name for path in trainer.fit().iterdir() if path.is_dir())
        data: 1797 x 1x8x8, ...
        step 2/2 ...
        finished at step 2; ...
        ['step_2']
    """

    def __init__(
        self,
        game: Game,
        learners: Sequence[Learner],
        outer: Outer,
        batches: Batches,
        run: Run,
        *,
        schedulers: Mapping[str, LRScheduler] | None = None,
        ema: EMA | Sequence[EMA] | None = None,
        callbacks: Sequence[Callback] = (),
        log: Log | None = None,
        checkpoints: Checkpoint | None = None,
        config: Mapping[str, Any] | None = None,
        processes: Processes | None = None,
        initial: Mapping[str, Initial] = MappingProxyType({}),
        about: About | None = None,
    ):
        require_kind("game", game, Game, "a gantrain.Game")
        require_kind("outer", outer, Outer, "a gantrain.Outer, such as gantrain.outer.Extragradient()")
        require_kind("batches", batches, Batches, "gantrain.data.Batches(data, batch_size=64, seed=0)")
        require_kind("run", run, Run, 'gantrain.Run(name="mine", steps=1000)')
        require_players(game, learners)
        processes = processes or Processes.launched(run.timeout)
        super().__init__(run, log or Log(), checkpoints or Checkpoint(), callbacks, processes)
        self.game = game
        self.learners = list(learners)
        self.outer = outer
        self.batches = batches
        require_schedulers(schedulers or {}, learners)
        self.schedulers = dict(schedulers or {})
        self.initial = dict(initial)
        self.initial_distance = InitialDistance(self.learners) if self.log_settings.initial_distance else None
        several = [ema] if isinstance(ema, EMA) else list(ema or ())
        self.averages = {average.name: average for average in several}
        if len(self.averages) < len(several):
            raise UserError("ema: two averages have the same name; give each another one, as in gt.EMA(…, name='slow')")
        self.scheduled = scheduled_numbers(game, self.learners, outer, several[0] if len(several) == 1 else several)
        self.device = self.learners[0].parameters[0].device
        self.pace = Pace(self.device, require_others)
        require_shards(game, run.sharding, processes)
        self.arithmetic = Arithmetic(run, self.device, processes.world_size)
        self.arithmetic.prepare([player.module for player in game.players.values()], batches.spec.shape)
        self.evaluator = Evaluator(
            game,
            self._batch,
            processes=self.processes,
            autocast=autocast(run.precision, self.device),
            reseed=self._reseed,
            seed=run.seed,
            accumulation=batches.accumulation,
            scaled=run.precision == "fp16",
            copied=self.arithmetic.graphs,
        )
        if self.main and TENSORBOARD in self.log_settings.to:
            self.evaluator.distributed = _DISTRIBUTED
        self.field = Field(self.evaluator, self.learners)
        self.sharded = bool(self.evaluator.gathering)
        self.networks = Networks(game, outer, self.averages, self.sharded)
        for learner in self.learners if self.sharded else ():
            require_sharded_steps(learner.optimizer, f"game.{learner.name}.optimizer")
            require_joint_ascent(learner)
        require_finite_samples(batches.samples)
        if run.kimg is not None and batches.spec.empty:
            raise UserError("run.kimg: the game sees no samples; use run.steps or run.gradients")
        outer.require(self.field)
        require_averages(self.averages, game, outer, batches)
        require_intervals(self._intervals(), batches)
        require_weights(self.callbacks, self.averages)
        steps = steps_within(run, outer, self.learners, batches.batch_size) if self.schedulers else 0
        for name, scheduler in self.schedulers.items():
            schedules.require_schedule(scheduler, steps, f"game.{name}.scheduler")
        foreseen = not isinstance(self.log_settings.every, int) or run.gradients is not None
        cost = foreseen_cost(outer, self.learners) if foreseen else None
        self.budget = Budget(run, self.evaluator, batches.batch_size, cost)
        self.config = (
            describe(
                game, self.learners, outer, batches, run, self.log_settings, self.checkpoint_settings, self.scheduled
            )
            if config is None
            else dict(config)
        )
        self.about = about or About(hyper_parameters(self.config))
        self._mark = BUILT_IN_PYTHON if config is None else RESOLVED_CONFIG
        self.command: Sequence[str] | None = None
        self.best: dict[str, Any] | None = None
        self.outer_steps = 0
        self._followed: dict[str, float] = {}
        self._never_finite = not_finite(self.state()).keys()  # such as a mask with infinities among the buffers
        self._lock: RunLock | None = None

    def fit(self, resume: bool = False, overwrite: bool = False, accept_data: bool = False) -> Path:
        """Train until the first of the budgets is used up, and return the run's folder.

        After SIGINT, SIGTERM or SIGHUP the trainer finishes the step, writes a checkpoint, and ends the program with
        the exit code 128 + the number of the signal. After SIGUSR1 it writes a checkpoint and goes on. Callbacks that a
        signal interrupts are run again, before the next step.

        Args:
            resume: whether to go on from the newest whole checkpoint of the run. Without one the run starts anew.
            overwrite: whether to delete an earlier run of the same name.
            accept_data: whether a resumed run may go on with other data than it began with.

        Raises:
            UserError: a part of the user's own is wrong; the run exists and is neither resumed nor overwritten; another
                process writes into its folder; none of its checkpoints is whole; its checkpoint belongs to other
                networks; it began with other data; the training diverged; a callback failed; or the training needs
                more memory than there is.
        """
        with ExitStack() as held, closing(self.batches), self.computing():
            self.rehearse()
            data, changed = self.batches.digest, None
            with self.processes.raise_on_all():
                if self.main:
                    require_available(self.folder, self.config, resume, overwrite)
                    self._lock = held.enter_context(RunLock(self.folder))
                    if resume:
                        data, changed = check_data(self.folder, data, accept_data)
                        require_rows(self.folder)
                    clear_folder(self.folder, overwrite)
                    for place in (self.folder, self.folder / BEST):
                        checkpoint.clear_remains(place)
            found = resume and self.restore()
            anew = nothing_to_resume(self.folder) if resume and self.main and not found else ""
            with self.processes.raise_on_all():
                if self.main:
                    prepare_folder(self.folder, self.config, resume, overwrite, self._mark)
                    mark_begun(self.folder)
                    self.place = held.enter_context(Place(self.folder))
                    record_data(self.folder, data, DataForm.of(self.batches))
                    if self.initial and not found:
                        record_initial(self.folder, self.initial)
            with (
                self.tracked(),
                self.monitored(),
                Progress(self.settings.steps, self.done(), enabled=self.main) as self.progress,
            ):
                if resume:
                    self.progress.note(anew or f"going on from step {self.step}")
                if changed is not None:
                    self.progress.note(changed)
                for name, each in self.initial.items() if not found else ():
                    self.progress.note(f"{name}: {each}")
                if not self.batches.spec.empty:
                    self.progress.note(describe_samples(self.batches.samples, self.batches.workers))
                if self.arithmetic.compile:
                    self.progress.note("the first step compiles the networks, which may take a minute")
                self.take_steps(Interrupt(self.processes))
        return self.folder

    def rehearse(self) -> None:
        """Compare the data of all processes, let all begin alike, and try each player's objective once.

        All processes take over the weights of the first, since processors of different kinds draw different numbers
        from one seed. The tries leave no trace.

        Raises:
            UserError: the data differ, or a part of the user's own is wrong.
        """
        self.processes.compare_with_first(lambda: self.batches.digest, _require_same_data)
        tensors = [t for t in flatten(self.state()).values() if isinstance(t, torch.Tensor)]
        self.processes.broadcast_([t for t in tensors if not is_shard(t)])  # shards were made of the first's
        self.evaluator.rehearse()
        rehearse_step(self.outer, self.field)

    def restore(self) -> bool:
        """Load the newest whole checkpoint in the run's folder.

        Only the first process needs to see the folder, unless the parameters are divided among the processes: each then
        reads its own share.

        Later checkpoints, which are damaged, are set aside under names that say so.

        Returns:
            Whether there was a checkpoint.

        Raises:
            UserError: there are checkpoints and none is whole, or the checkpoint belongs to other networks.
        """
        newest: Path | None = None
        state: Mapping[str, Any] | None = None
        with self.processes.raise_on_all():
            if self.main:
                newest = newest_checkpoint(self.folder)
                state = checkpoint.load(newest)[1] if newest is not None and not self.sharded else None
        if self.sharded:
            newest = self.processes.broadcast_object(newest)
            with self.processes.raise_on_all():
                state = None if newest is None else checkpoint.load_share(newest, self._a_shard())[1]
        else:
            state = hand_over(state, self.processes)
        if state is None:
            return False
        with self.processes.raise_on_all():
            self.load(state, newest or self.folder)
            if self.main:
                self.best = best_result(self.folder / BEST)
                checkpoint.forget(self.folder, self.step)
        self.best = self.processes.broadcast_object(self.best)
        return True

    def train_step(self, observe: bool = False) -> None:
        """Take one step of the innermost outer loop, then one of each scheduler, and update the averages.

        Args:
            observe: whether losses, scores and gradient norms of the step are recorded for :meth:`log`.
        """
        since = self.clock
        self.arithmetic.begin_step()
        self.evaluator.step = self.step
        self.evaluator.observing = observe
        self.scheduled.follow(self.budget.images)
        self._followed = {f"schedule/{key}": value for key, value in self.scheduled.items()}
        complete = self._moved()
        self.outer_steps += complete
        self.evaluator.once_per_step.average(self.processes)
        for name, scheduler in self.schedulers.items():
            schedules.take_step(scheduler, self.step + 1, f"game.{name}.scheduler")
        self.step += 1
        for average in self.averages.values():
            average.update(self.clock, since, self.networks.anchor() if average.of == "anchor" else {}, complete)
        self.since, self.reached = self.reached, self.clock
        self.scheduled.follow(self.budget.images)  # as a resumed run does, for callbacks and checkpoints

    def _moved(self) -> bool:
        """Take a step of the innermost outer loop; whether the outermost has completed one."""
        try:
            return take_step(self.outer, self.field)
        except RuntimeError as error:
            if "without overflow" in str(error):
                message = "a setting, times a learning rate or another number, is larger than single precision holds"
                raise self._diverged(message) from error
            raise

    def further(self) -> str:
        """A line that says how the finished run is trained further; empty if the learning rates are at their end."""
        try:
            for name, scheduler in self.schedulers.items():
                schedules.require_schedule(scheduler, 2 * self.step, f"game.{name}.scheduler")
        except UserError:
            return ""
        budgets = larger_budgets(self.settings, self.clock)
        return how_to_go_on(budgets, self.command, self._mark == BUILT_IN_PYTHON)

    def resumption(self) -> str:
        """How the run goes on once it was stopped, for the end of a line."""
        return how_to_resume(self.command, self._mark == BUILT_IN_PYTHON)

    def log(self, seconds: float, steps: int, draws: int) -> None:
        """Write the scalars of the step that was just taken.

        Raises:
            Diverged: a scalar is not finite, because the training diverged.
        """
        values, self.distributions = read_observations(self.evaluator, self.processes)
        if self.initial_distance is not None:
            values |= self.initial_distance.scalars()
        for name, value in values.items():
            if not math.isfinite(value):
                raise self._diverged(f"{name} is {value}")
        self.finite_draws = self.evaluator.draws
        values |= {f"lr/{learner.name}": learner.step_size for learner in self.learners}
        values |= self._followed
        values |= {f"loss_scale/{name}": scale.scale for name, scale in self.evaluator.loss_scales.items()}
        values |= {f"gradients/{name}": count for name, count in self.evaluator.evaluations.items()}
        values |= {name: float(value) for name, value in self.game.kept_scalars().items()}
        for learner in self.learners:
            if learner.evaluated:
                values[f"clipped/{learner.name}"] = float(learner.clipped) / learner.evaluated
                learner.forget_clipped()
        values["outer_steps"] = self.outer_steps
        if self.batches.spec.empty:
            values["steps_per_second"] = steps / seconds
        else:
            values |= {
                "kimg": self.budget.images / 1000,
                "images_per_second": draws * self.batches.batch_size / seconds,
            }
        self.unlogged = values
        self.progress.update(self.step, self.done(), values)

    def run_callback(self, callback: Callback) -> str:
        """Let a callback look at the evaluated network, and keep a checkpoint if its result is the best so far.

        Returns:
            Why the callback takes the run to be hopeless; else an empty text.

        Raises:
            Diverged: the weights are not finite.
        """
        self._check_weights()
        found = None
        together = callback.all_processes
        runs = self.main or together
        with (
            self.networks.shown(callback, runs) as network,
            self.processes.raise_on_all() if together else self.processes.all_work(),
        ):
            if runs:
                network = network or self.evaluated_network(callback.weights)
                with self.in_place(), reference_arithmetic(), self.networks.unchanged(network):
                    if together:
                        # If each process has its own running statistics, all look at those of the first.
                        self.processes.broadcast_(self.networks.buffers(network))
                    found = callback.run(self.folder, self.monitor, self.step, network)
                if found is not None and not isinstance(found, Result | str):
                    wanted = f"{name_of(callback)}.run: expected a gantrain.Result, a text or None"
                    raise UserError(f"{wanted}, got {described(found)}")
        found = self.processes.broadcast_object(found)
        if found is None:
            return ""
        self.progress.note(found if isinstance(found, str) else found.line)
        if isinstance(found, str):
            return ""
        best = self.best
        if not math.isnan(found.cost) and (
            best is None or found.name != best["name"] or found.cost <= best["cost"] or math.isnan(best["cost"])
        ):
            self.best = {"name": found.name, "cost": found.cost}
            self._write(self.folder / BEST, {"evaluation": self.best}, 1)
            self._settle()
        return found.hopeless

    def evaluated_network(self, weights: str | None = None) -> nn.Module:
        """The game's evaluated network, with the weights that are asked for.

        Args:
            weights: the name of an average, "live" (the weights that are trained) or "anchor" (those of the last outer
                iterate). None stands for the first average if the run keeps one, and for "live" otherwise.
        """
        return self.networks.evaluated(weights)

    def save(self) -> None:
        """Have a checkpoint written of everything that a later step depends on.

        Raises:
            Diverged: something in it is not finite.
            UserError: the checkpoint before could not be written.
        """
        self._check_weights()
        # If each process has its own running statistics, all processes go on with those of the first.
        self.processes.broadcast_(self.evaluator.buffers)
        undone = {"pending": self.pending, "unlogged": self.unlogged, "rows": self.monitor.rows}
        # Where something is left to do, what is done of this step must not be done twice.
        more = {"undone": undone} if self.pending or self.unlogged else {}
        self._write(self.folder, more, self.checkpoint_settings.keep)
        self.kept = self.stage()

    def state(self) -> dict[str, Any]:
        """Everything that a later step depends on, by the names of a checkpoint's parts."""
        rollbacks = {"rollbacks": self.rollbacks} if self.rollbacks else {}
        readings = {"since": list(astuple(self.since)), "reached": list(astuple(self.reached))}
        # Only intervals in other units than steps depend on what the last step used.
        readings = {} if all(isinstance(every, int) for _, every in self._intervals()) else readings
        with UserCode("outer", self.outer):
            outer = self.outer.state_dict()
        state: dict[str, Any] = {
            "clock": {"step": self.step, "outer_steps": self.outer_steps, **readings, **rollbacks},
            "field": self.field.state_dict(),
            "outer": outer,
        }
        for learner in self.learners:
            state[learner.name] = learner.player.module.state_dict()
            state[f"optimizer.{learner.name}"] = learner.optimizer.state_dict()
        for name, scheduler in self.schedulers.items():
            state[f"scheduler.{name}"] = scheduler.state_dict()
        for name, average in self.averages.items():
            state[average_part(name)] = average.state_dict()
        if self.initial_distance is not None:
            state[_INITIAL_WEIGHTS] = self.initial_distance.state_dict()
        return state

    def load(self, state: Mapping[str, Any], folder: Path) -> None:
        """Set the run to the state of a checkpoint.

        Args:
            state: the state, as :meth:`state` returns it.
            folder: the folder of the checkpoint, for messages.

        Raises:
            UserError: the checkpoint belongs to other networks, or a part of it is missing or does not fit.
        """
        state = self.arithmetic.to_memory_format(state)
        clock = part_of(state, "clock", folder)
        reading = Maybe([0, 0, 0])
        form = {"step": 0, "outer_steps": 0, "since": reading, "reached": reading, "rollbacks": Maybe(0)}
        require_fit(clock, form, "clock", folder, counts=True)
        undone = undone_work(state, folder)
        if self.initial_distance is not None:
            self._restore_initial_weights(self.initial_distance, state, folder)
        for learner in self.learners:
            restore(learner.player.module, state, learner.name, folder)
        for name, average in self.averages.items():
            restore_part(average, state, average_part(name), folder, average.state_dict())
        for learner in self.learners:
            restore_optimizer(learner.optimizer, state, f"optimizer.{learner.name}", folder)
        for name, scheduler in self.schedulers.items():
            restore_scheduler(scheduler, state, f"scheduler.{name}", folder)
        restore_part(self.field, state, "field", folder, self.field.state_form(), self.device)
        restore_part(self.outer, state, "outer", folder, self.outer.state_form(self.field), self.device)
        self.scheduled.follow(self.budget.images)
        self.step, self.outer_steps, self.rollbacks = clock["step"], clock["outer_steps"], clock.get("rollbacks", 0)
        self.reached = self.clock
        # A checkpoint says what its last step used only where intervals depended on it.
        self.since = Clock(max(0, self.step - 1), self.reached.images, self.reached.gradients)
        if "since" in clock:
            self.since, self.reached = Clock(*clock["since"]), Clock(*clock["reached"])
        self.resumed(**undone)

    @staticmethod
    def _restore_initial_weights(initial: InitialDistance, state: Mapping[str, Any], folder: Path) -> None:
        if _INITIAL_WEIGHTS not in state:
            raise UserError(
                f"log.initial_distance: {folder} does not hold the weights with which the run began, since the key was "
                "false; leave it false, or train another run (run.name=NEW)"
            )
        restore_part(initial, state, _INITIAL_WEIGHTS, folder, initial.state_dict())

    def _write(self, folder: Path, more: dict[str, Any], keep: int) -> None:
        """Have a checkpoint written of the state, and of ``more``; only the first process writes.

        Raises:
            UserError: numbers of the state are not finite, or the checkpoint before could not be written.
        """
        step, count, text = self.step, self.trackers.count, config_text(self.config, self._mark)

        def begin() -> None:
            require_others()  # else the numbers that were copied from a GPU may mean nothing
            if self._lock is not None:
                self._lock.require()
            # No checkpoint may be on the disk before the rows that it does not write again.
            self.monitor.synchronise()
            if folder != self.folder:
                make_folder(folder, durable=True, parents=False)

        def end() -> None:
            if folder == self.folder:
                self.trackers.safe = count

        def write(copy: dict[str, Any]) -> None:
            with self.in_place():
                begin()
                checkpoint.save(folder, step, copy, keep, text)
            end()

        with self.processes.raise_on_all():
            if self.main or self.sharded:
                state = self.state() | more
                for name, value in not_finite(state).items():
                    if name not in self._never_finite:
                        raise self._diverged(f"{name} holds {value}")
            if self.main:
                with self.in_place():
                    if self.sharded:
                        begin()
                    else:
                        self.writer.save(state, write)
        if self.sharded:  # without a copy, for which there may be no memory
            with self.in_place():
                checkpoint.save_together(folder, step, state, keep, self.processes, text)
            end()
        self.finite_draws = self.evaluator.draws

    def _a_shard(self) -> torch.Tensor:
        return next(p for learner in self.learners for p in learner.parameters if is_shard(p))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Sets the threads, precision and compiler that the run asks for; reports a lack of memory in one line."""
        batch_size, parts = self.batches.batch_size, self.batches.accumulation
        run, many = self.settings, self.processes.world_size
        advice = memory.training_advice(batch_size, parts, run.precision, many, run.sharding)
        with (
            threads(self.settings.threads),
            self.arithmetic.applied(),
            memory.out_of_memory(lambda: f"step {self.step}", lambda: advice),
        ):
            yield

    def _batch(self, draw: int, step: int) -> Batch:
        batch = self.batches(draw, step, self.evaluator.share)
        batch.real = self.arithmetic.to_memory_format(batch.real)
        return batch

    def _reseed(self, draw: int) -> None:
        # Dropout draws from the global generators, which therefore become a function of the draw, too.
        seed = derive(self.settings.seed, f"network/{self.evaluator.share[0]}", draw)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _intervals(self) -> list[tuple[str, Interval]]:
        """The intervals of the log, the checkpoints and the callbacks, each with its key."""
        intervals = [("log.every", self.log_settings.every), ("checkpoint.every", self.checkpoint_settings.every)]
        return intervals + [(f"{name_of(callback)}.every", callback.every) for callback in self.callbacks]

    @torch.no_grad()
    def _check_weights(self) -> None:
        """Refuse to go on with weights that are not finite: since the last log the training may have diverged."""
        norms = torch.stack([norm(learner.parameters) for learner in self.learners]).tolist()
        for learner, value in zip(self.learners, norms, strict=True):
            if not math.isfinite(value):
                raise self._diverged(f"the norm of the weights of player {learner.name} is {value}")

    def _diverged(self, what: str) -> Diverged:
        advice = "lower the learning rates, and start again with --overwrite or another run.name"
        return Diverged(f"step {self.step}: {what}; the training diverged: {advice}")


def _require_same_data(here: Digest, first: Digest) -> None:
    found = difference(here, first)
    if found is not None:
        raise UserError(f"data: {found}, compared with the first process; all hosts need the same data")
