"""The training loop: what happens in a step, and what is written while it runs."""

from __future__ import annotations

import copy
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from gantrain.builders import make_game, make_learners
from gantrain.compute.compile import Arithmetic, reference_arithmetic
from gantrain.compute.precision import autocast
from gantrain.config.loading import resolved
from gantrain.config.parts import build
from gantrain.data.batch import Batch, Batches
from gantrain.data.storage import describe_samples, place_samples
from gantrain.distributed.processes import Processes
from gantrain.errors import UserError
from gantrain.games.base import Player
from gantrain.gradients.evaluator import Evaluator
from gantrain.optim.ema import EMA
from gantrain.outer.field import Field
from gantrain.runs import checkpoint
from gantrain.runs.folder import BEST
from gantrain.runs.monitor import Monitor
from gantrain.runs.restore import part_of, restore
from gantrain.train.callbacks.base import Callback
from gantrain.train.callbacks.factory import make_callbacks
from gantrain.train.interrupt import Interrupt
from gantrain.train.progress import Progress
from gantrain.utils.seeding import derive
from gantrain.utils.tensors import copy_, norm, tree_to


class Trainer:
    """A run under way.

    Attributes:
        step: training steps taken; one step is one step of the innermost outer loop.
        outer_steps: completed outer steps.
    """

    def __init__(self, config: Any, accelerator: Accelerator):
        self.config = config
        self.accelerator = accelerator
        self.many = accelerator.num_processes > 1
        self.processes = Processes.launched()
        self.folder = Path(config.run.folder) / config.run.name
        self.data = build("data", config.data.part)
        place_samples(self.data, config.data.storage, accelerator.device)
        self.batches = Batches(
            self.data,
            config.data.batch_size,
            config.run.seed,
            accelerator.process_index,
            accelerator.num_processes,
            accelerator.device,
            config.data.accumulation,
            config.data.workers,
        )
        synchronise = self.processes if self.many and config.run.batch_norm == "sync" else None
        self.game = make_game(config, self.data, accelerator.device, synchronise)
        self.arithmetic = Arithmetic(config.run)
        networks = [player.module for player in self.game.players.values()]
        self.arithmetic.prepare(networks, self.data.spec.shape, accelerator.device)
        self.learners, self.schedulers = make_learners(config, self.game)
        self.outer = build("outer", config.outer)
        self.ema = None if config.ema is None else EMA(self.game.evaluated_network, config.ema.decay)
        self.callbacks = make_callbacks(config, self.game, self.data, accelerator.device)
        self.evaluator = Evaluator(
            self.game,
            self._batch,
            processes=self.processes,
            autocast=autocast(config.run.precision, accelerator.device),
            reseed=self._reseed,
            seed=config.run.seed,
            accumulation=config.data.accumulation,
            scaled=config.run.precision == "fp16",
        )
        self.field = Field(self.evaluator, self.learners)
        self.best: dict[str, Any] | None = None
        self.step = 0
        self.outer_steps = 0
        self.monitor: Monitor | None = None
        self.progress: Progress | None = None

    def start(self, resume: bool) -> None:
        """Take up the newest checkpoint where there is one, and open the monitor. The folder is the first process'."""
        main = self.accelerator.is_main_process
        newest = state = None
        with self.processes.raise_on_all():
            if resume and main:
                newest, state = self._newest(self.folder)
                best = None if state is None else self._newest(self.folder / BEST)[1]
                self.best = None if best is None else best["evaluation"]
        state = checkpoint.shared(state, self.processes)
        self.best = self.processes.broadcast_object(self.best)
        if state is not None:
            with self.processes.raise_on_all():
                self.load(state, newest or self.folder)
                if main:
                    checkpoint.forget(self.folder, self.step)
        self.monitor = Monitor(self.folder, resolved(self.config), step=self.step, enabled=main)
        self.progress = Progress(self.config.run.steps, self.done(), enabled=main)
        if resume:
            self.progress.note(f"going on from step {self.step}" if state else "no whole checkpoint; starting anew")
        self.progress.note(describe_samples(self.data.samples, self.batches.workers))
        if self.arithmetic.compile:
            self.progress.note("the first step compiles the networks, which may take a minute")

    def run(self) -> None:
        """Train until the first of the budgets is used up, or a signal arrives."""
        log, saves = self.config.log.every, self.config.checkpoint.every
        last_time, last_images = time.perf_counter(), self.images
        with Interrupt(self.processes) as interrupt:
            while not self.over:
                self.train_step(observe=(self.step + 1) % log == 0 or self.last)
                if self.evaluator.observing and (self.step % log == 0 or self.over):
                    now, images = time.perf_counter(), self.images
                    self.log((images - last_images) / (now - last_time))
                    last_time, last_images = now, images
                for callback in self.callbacks:
                    if self.step % callback.every == 0 or self.over:
                        self.run_callback(callback)
                if self.step % saves == 0 or self.over:
                    self.save()
                if interrupt.agreed(self.step, self.step % log == 0):
                    self.save()
                    self.progress.close()
                    self.progress.note(f"stopped at step {self.step}; go on with --resume")
                    sys.exit(128 + interrupt.received)
        self.finish()

    def train_step(self, observe: bool = False) -> None:
        """One step of the innermost loop, and what follows each step."""
        self.evaluator.step = self.step
        self.evaluator.observing = observe
        self.outer_steps += self.outer.step(self.field)
        for scheduler in self.schedulers.values():
            scheduler.step()
        if self.ema is not None:
            self.ema.update()
        self.step += 1

    @property
    def images(self) -> int:
        """Real samples drawn so far, over all processes."""
        return self.evaluator.draws * self.config.data.batch_size

    @property
    def over(self) -> bool:
        """Whether the budget is used up."""
        return self.done() >= 1.0

    @property
    def last(self) -> bool:
        """Whether the step to come will use up the budget, if it costs as much of it as those before."""
        return self.step == 0 or self.done() * (1 + 1 / self.step) > 1 - 1e-9

    def done(self) -> float:
        """The share of the budget that is used up: 1 or more when the run is over."""
        return self.config.run.used(self.step, max(self.evaluator.evaluations.values()), self.images / 1000)

    def log(self, images_per_second: float) -> None:
        """Write the scalars of the step just taken."""
        values = self._observations()
        for name, value in values.items():
            if not math.isfinite(value):
                raise self._diverged(f"{name} is {value}")
        values |= {f"lr/{learner.name}": learner.step_size for learner in self.learners}
        values |= {f"loss_scale/{name}": scale.scale for name, scale in self.evaluator.loss_scales.items()}
        values |= {f"gradients/{name}": count for name, count in self.evaluator.evaluations.items()}
        values |= {"outer_steps": self.outer_steps, "kimg": self.images / 1000, "images_per_second": images_per_second}
        self.monitor.scalars(self.step, values)
        self.progress.update(self.step, self.done(), values)

    def run_callback(self, callback: Callback) -> None:
        """Show what the product can do, and keep the checkpoint if it is the best so far."""
        self._check_weights()
        main, found = self.accelerator.is_main_process, None
        if main or callback.all_processes:
            with reference_arithmetic():
                found = callback.run(self.folder, self.monitor, self.step, self.evaluated_network(callback.weights))
        found = self.processes.broadcast_object(found)
        if found is None:
            return
        self.progress.note(found.line)
        if self.best is None or found.name != self.best["name"] or found.cost <= self.best["cost"]:
            self.best = {"name": found.name, "cost": found.cost}
            with self.processes.raise_on_all():
                if main:
                    checkpoint.save(self.folder / BEST, self.step, self.state() | {"evaluation": self.best}, 1)

    def evaluated_network(self, weights: str | None = None) -> nn.Module:
        """The network that training is for.

        Args:
            weights: "ema", "live", "anchor" (those of the last outer iterate), or None for the average where there is
                one.
        """
        anchor = self.outer.anchor()
        if weights == "anchor" and anchor is not None:
            (name,) = (name for name, p in self.game.players.items() if p.module is self.game.evaluated_network)
            twin = Player(name, copy.deepcopy(self.game.evaluated_network))
            copy_(twin.parameters + twin.statistics, anchor[name])
            return twin.module
        if weights in ("live", "anchor") or self.ema is None:
            return self.game.evaluated_network
        return self.ema.module

    def finish(self) -> None:
        """Write what belongs at the end of a run."""
        if self.monitor.last is not None:
            self.monitor.hparams(resolved(self.config), self.monitor.last)
        self.progress.close()
        self.progress.note(f"finished at step {self.step}; the run is in {self.folder}")

    def save(self) -> None:
        """Write a checkpoint of everything that a later step depends on."""
        self._check_weights()
        self._share_buffers()
        with self.processes.raise_on_all():
            if self.accelerator.is_main_process:
                checkpoint.save(self.folder, self.step, self.state(), self.config.checkpoint.keep)

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "clock": {"step": self.step, "outer_steps": self.outer_steps},
            "field": self.field.state_dict(),
            "outer": self.outer.state_dict(),
        }
        for learner in self.learners:
            state[learner.name] = learner.player.module.state_dict()
            state[f"optimizer.{learner.name}"] = learner.optimizer.state_dict()
        for name, scheduler in self.schedulers.items():
            state[f"scheduler.{name}"] = scheduler.state_dict()
        if self.ema is not None:
            state["ema"] = self.ema.state_dict()
        return state

    def load(self, state: dict[str, Any], folder: Path) -> None:
        """Go back to the state of a checkpoint, which lies in ``folder``.

        Raises:
            UserError: it is of other networks.
        """
        state = self.arithmetic.to_memory_format(state)
        for learner in self.learners:
            restore(learner.player.module, state, learner.name, folder)
        if self.ema is not None:
            self.ema.load_state_dict(part_of(state, "ema", folder))
        for learner in self.learners:
            learner.optimizer.load_state_dict(part_of(state, f"optimizer.{learner.name}", folder))
        for name, scheduler in self.schedulers.items():
            scheduler.load_state_dict(part_of(state, f"scheduler.{name}", folder))
        self.step = state["clock"]["step"]
        self.outer_steps = state["clock"]["outer_steps"]
        self.field.load_state_dict(tree_to(state["field"], self.accelerator.device))
        self.outer.load_state_dict(tree_to(state["outer"], self.accelerator.device))

    def fingerprint(self) -> str:
        """What tells the training data from others: how many samples there are, and a few of them."""
        if not self.many:
            return ""
        samples = self.data.samples
        few = samples[torch.linspace(0, len(samples) - 1, 16).long()].to("cpu")
        return f"{len(samples)} samples, on average {few.double().abs().mean().item():.6g}"

    def close(self) -> None:
        for part in (self.batches, self.progress, self.monitor):
            if part is not None:
                part.close()

    def _newest(self, folder: Path) -> tuple[Path | None, dict[str, Any] | None]:
        path = checkpoint.newest(folder)
        return path, None if path is None else checkpoint.load(path)[1]

    def _batch(self, draw: int, step: int) -> Batch:
        batch = self.batches.shared(*self.evaluator.share)(draw, step)
        batch.real = self.arithmetic.to_memory_format(batch.real)
        return batch

    def _reseed(self, draw: int) -> None:
        # Dropout and the like draw from the global generator: it, too, is made a function of the draw.
        seed = derive(self.config.run.seed, f"network/{self.evaluator.share[0]}", draw)
        torch.default_generator.manual_seed(seed)
        if self.accelerator.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _observations(self) -> dict[str, float]:
        """Losses, mean scores and gradient norms of the last observed evaluations, averaged over the processes."""
        values = {
            (player, name): value
            for player, scalars in self.evaluator.observed.items()
            for name, value in scalars.items()
        }
        numbers = dict(zip(values, torch.stack([v.double() for v in values.values()]).tolist(), strict=True))
        numbers = self.processes.gather_means(numbers)
        observations: dict[str, float] = {}
        for player in self.evaluator.observed:
            for (owner, name), number in numbers.items():
                if owner == player:
                    # Players may score the same thing; the first to do so is heard.
                    observations.setdefault(name if name.startswith("score/") else f"{name}/{player}", number)
        norms = [number for (_, name), number in numbers.items() if name == "gradient_norm"]
        return observations | {"gradient_norm/joint": math.hypot(*norms)}

    @torch.no_grad()
    def _check_weights(self) -> None:
        """Refuse to write what has diverged, though nothing has been logged since."""
        norms = torch.stack([norm(learner.parameters) for learner in self.learners]).tolist()
        for learner, value in zip(self.learners, norms, strict=True):
            if not math.isfinite(value):
                raise self._diverged(f"the norm of the weights of player {learner.name} is {value}")

    def _diverged(self, what: str) -> UserError:
        advice = "lower the learning rates, and start again with --overwrite or another run.name"
        return UserError(f"step {self.step}: {what}; the training diverged: {advice}")

    def _share_buffers(self) -> None:
        """Where each process keeps running statistics of its own, those of the first hold from here on."""
        self.processes.broadcast_(self.evaluator.buffers)
