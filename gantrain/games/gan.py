"""Generative adversarial networks: the two-player game between a discriminator and a generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gantrain.compute.compile import uncompiled
from gantrain.compute.modes import Replay, eval_mode, seeded
from gantrain.compute.precision import in_float16, upcast
from gantrain.config.user_code import UserCode, name_of
from gantrain.data.augment import Augmentation
from gantrain.data.batch import Batch
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import GenerativeGame, Objective, Player, SharedPass
from gantrain.games.calls import augmented, output_of
from gantrain.games.checks import require_gradient, require_margins, require_scalar
from gantrain.games.features import Features
from gantrain.games.gan_pass import (
    GANPass,
    Scoring,
    beyond_boundary,
    discriminator_loss,
    discriminator_scores,
    generator_loss,
)
from gantrain.games.losses import Loss, Margins
from gantrain.games.penalties import Penalty, Scored
from gantrain.models.base import Discriminator, Generator
from gantrain.utils.declared import declares

# What else may be done where labels are given to a discriminator that takes none.
_UNTOLD = ", or game.conditional: generator, with a penalty auxiliary_classifier, or false"


class GAN(GenerativeGame):
    """A generator ``G`` maps noise to samples, and a discriminator ``D`` tells the samples from the data.

    On a batch both players' objectives see the same latent vectors ``z ~ N(0, I)``. With a zero-sum loss the two
    objectives are therefore one function with opposite signs. If the game is conditional, the fake samples get the
    labels of the batch's real samples: real and fake samples are paired by class, and each class is as frequent among
    the fakes as in the data.

    With augmentations ``T``, both players see ``D(T(x))`` in place of ``D(x)``, for real and fake samples alike (Zhao
    et al., Differentiable augmentation for data-efficient GAN training, NeurIPS 2020, eqs. 4-5), and penalties
    differentiate through ``T``. Real and fake samples are changed by different random draws, which both players share.

    Args:
        generator: the player that makes samples; its network maps latent vectors ``(n, latent_dim)`` and labels to
            samples ``(n, *shape)``, and has an attribute ``latent_dim``.
        discriminator: the player that tells samples from data; its network maps samples ``(n, *shape)`` and labels to
            logits ``(n,)``. The discriminator moves first.
        loss: the loss of both players.
        penalties: the terms that are added to the objectives of discriminator and generator. Default none.
        conditional: whether the networks are told the class of each sample: both of them (true), none (false, the
            default), or the generator alone, as a penalty ``auxiliary_classifier`` wants it (generator).
        augmentations: the random changes that are made to real and fake samples before the discriminator sees them, in
            this order; each is a differentiable function ``(samples, batch) -> samples``. Default none.
        concatenate: whether real and fake samples go through the discriminator as one batch, in its own objective and
            where both players share a pass. Each sample's logit must depend on this sample alone, as the class of the
            network says with ``independent_samples = True``, and there must be no batch norm. Vectors of spectral norm
            then move once for both, and penalties that differentiate a logit in its sample run over both halves. By
            default two passes.
        spec: the spec of the data, which the networks must fit; by default the generator's own ``spec``, if it has one.

    Raises:
        UserError: the game is conditional and the data have no labels; ``concatenate`` is set and the discriminator
            mixes samples; the generator has no ``latent_dim``; a network's output has the wrong shape; the networks
            share a parameter; a penalty has no term, or needs features and the discriminator has no last layer.

    Examples:
        >>> from gantrain import data, games, models
        >>> digits = data.Digits()
        >>> spec = digits.spec.unconditional()
        >>> networks = models.ConvGenerator(spec, width=4), models.ConvDiscriminator(spec, width=4)
        >>> game = GAN(*networks, loss=games.losses.Hinge(), penalties=[games.penalties.R1(weight=1.0)])
        >>> batch = data.Batches(digits, batch_size=8, seed=0)(0, step=0)
        >>> sorted(game.objective("discriminator", batch).scores)
        ['fake', 'r1', 'real', 'real_sign']
        >>> game.sample(3, seed=0).shape
        torch.Size([3, 1, 8, 8])
    """

    callbacks: ClassVar[dict[str, str]] = {"samples": "samples", "evaluate": "metrics", "advice": "advice"}

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        loss: Loss,
        penalties: Sequence[Penalty] = (),
        conditional: bool | Literal["generator"] = False,
        spec: DataSpec | None = None,
        augmentations: Sequence[Augmentation] = (),
        concatenate: bool = False,
    ):
        super().__init__([Player("discriminator", discriminator), Player("generator", generator)])
        self.generator = generator
        self.discriminator = discriminator
        self.loss = loss
        self.penalties = tuple(penalties)
        self.conditional = bool(conditional)
        self._tells_discriminator = conditional is True
        self.augmentations = tuple(augmentations)
        self.concatenate = concatenate
        self.spec = spec or getattr(generator, "spec", None)
        self._writes_into_samples = False
        if self.conditional and self.spec is not None and (not self.spec.classes or self.spec.numeric):
            raise UserError("game.conditional: the data have no classes; set it to false")
        if concatenate:
            self._require_no_mixture()
        self._try()
        for i, penalty in enumerate(self.penalties):
            if not penalty.players:
                raise UserError(
                    f"game.penalties.{i}: {name_of(penalty)} has no term; define value for the discriminator, or "
                    "generator_value for the generator"
                )
        featured = any(penalty.featured for penalty in self.penalties)
        self._features = Features(discriminator, self._try) if featured else None
        self._add_heads()

    @property
    def evaluated_player(self) -> str:
        return "generator"

    @classmethod
    def spec_for_network(
        cls, player: str, spec: DataSpec, arguments: Mapping[str, Any], networks: Mapping[str, nn.Module]
    ) -> DataSpec:
        """The spec of the data; without the classes for a network that is not told them."""
        untold = player == "discriminator" and arguments.get("conditional") == "generator"
        return super().spec_for_network(player, spec.unconditional() if untold else spec, arguments, networks)

    def objective(self, player: str, batch: Batch) -> Objective:
        """The player's loss with the logits and targets of its classification; the scores are the raw logits, as
        ``real`` and ``fake``, the signs of the real ones, as ``real_sign``, and the penalties."""
        if player == "discriminator":
            return self._discriminator_objective(batch)
        return self._generator_objective(batch)

    @property
    def shares_a_pass(self) -> bool:  # type: ignore[override]
        """A subclass may have another objective, of which the shared pass knows nothing."""
        return type(self) is GAN and len(self.players) == 2 and not self.joint

    def shared_pass(self, batch: Batch) -> SharedPass:
        """Both objectives from one pass of each network over the batch; see :mod:`gantrain.games.gan_pass`."""
        due = {player: self._due(batch, player) for player in ("discriminator", "generator")}
        both = due["discriminator"] | due["generator"]
        labels = self._labels(batch)
        with _differentiable(both):
            origin, fakes = self._fakes(batch, labels, both)
            real, fake = self._scored(batch, labels, fakes.detach().requires_grad_(True), both, origin)
            made = replace(fake, samples=fakes)  # the generator's penalties see its graph
            players = self.players["discriminator"], self.players["generator"]

            def penalties(player: str) -> tuple[list[Tensor], dict[str, Tensor]]:
                seen = fake if player == "discriminator" else made
                return self._penalty_terms(batch, real, seen, due[player], player)

            # Slopes of one player would leave the range of float16 where those of the other do not.
            exact = self._independent and declares(self.loss, "proportional") and not in_float16(fakes.device)
            return GANPass(*players, self.loss, fakes, real, fake, penalties, rescales=exact)

    @property
    def _independent(self) -> bool:
        """Whether a sample's logit depends on this sample alone, also in training mode."""
        parts = [self.discriminator, *self.augmentations]
        return all(declares(part, "independent_samples") for part in parts) and not self._normalises_batches

    @cached_property
    def _normalises_batches(self) -> bool:
        return any(isinstance(module, _BatchNorm) for module in self.discriminator.modules())

    def _require_no_mixture(self) -> None:
        """Raise a :class:`UserError` unless real and fake samples may be in one batch of the discriminator."""
        why = ""
        if self._normalises_batches:
            why = "has batch norm, which would mix real and fake samples"
        elif not declares(self.discriminator, "independent_samples"):
            why = "does not say that each logit depends on one sample alone (independent_samples = True in its class)"
        if why:
            raise UserError(f"game.concatenate: {name_of(self.discriminator)} {why}; set it to false")

    def _due(self, batch: Batch, player: str) -> dict[int, Penalty]:
        """The penalties that a player's objective has at this step, by their places in the list."""
        due = {}
        for i, penalty in enumerate(self.penalties):
            with UserCode(f"game.penalties.{i}", penalty):
                if player in penalty.players and penalty.due(batch.step):
                    due[i] = penalty
        return due

    def _discriminator_objective(self, batch: Batch) -> Objective:
        due = self._due(batch, "discriminator")
        with _differentiable(due):
            labels = self._labels(batch)
            with self._opponent():
                origin, fakes = self._fakes(batch, labels, due)
            real, fake = self._scored(batch, labels, fakes, due, origin)
            loss = discriminator_loss(self.loss, real.logits, fake.logits)
            terms, noted = self._penalty_terms(batch, real, fake, due)
        for term in terms:
            loss = loss + term
        scores = partial(discriminator_scores, self.loss, real.logits.detach(), fake.logits.detach())
        margins = partial(self.loss.discriminator_margins, real.logits, fake.logits)
        losses = partial(self.loss.of_each, "discriminator", real.logits, fake.logits)
        return _Classified(loss, scores, noted, self.loss, margins, losses)

    def _scored(
        self, batch: Batch, labels: Tensor | None, fake_samples: Tensor, due: Mapping[int, Penalty], origin: _Origin
    ) -> tuple[Scored, Scored]:
        """Real and fake samples with their logits; samples that a penalty differentiates require a gradient."""
        real_samples = batch.real
        differentiated = frozenset().union(*(penalty.differentiates for penalty in due.values()))
        if "real" in differentiated:
            real_samples = real_samples.detach().requires_grad_(True)
        if "fake" in differentiated:
            fake_samples.requires_grad_(True)
        repeats = any(penalty.repeats for penalty in due.values())
        featured = any(penalty.featured for penalty in due.values())
        scored = []
        streams = {"real": real_samples, "fake": fake_samples}
        for inputs in [streams] if self.concatenate else [{stream: streams[stream]} for stream in streams]:
            replay = Replay(self.discriminator, real_samples.device) if repeats else None
            found = self._score_and_features(batch, inputs, labels, featured)
            for (stream, samples), (logits, features) in zip(inputs.items(), found, strict=True):
                again = None if replay is None else replay.of(partial(self._score_again, batch, inputs, stream, labels))
                scored.append(Scored(samples, labels, logits, again, self.discriminator, features))
        scored[1] = replace(scored[1], **vars(origin))
        if self.augmentations:
            beyond = beyond_boundary(self.loss, *(s.logits.detach() for s in scored))
            for i, augmentation in enumerate(self.augmentations):
                with UserCode(f"game.augmentations.{i}", augmentation):
                    augmentation.observe(beyond, batch)
        return scored[0], scored[1]

    def _penalty_terms(
        self,
        batch: Batch,
        real: Scored,
        fake: Scored,
        due: Mapping[int, Penalty],
        player: str = "discriminator",
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The penalties that are due and the network's own auxiliary loss, and their scores."""
        terms, scores = [], {}
        for i, penalty in due.items():
            key = f"game.penalties.{i}"
            with UserCode(key, penalty):
                term = penalty.term(partial(self._score, batch, "penalty"), real, fake, batch, player)
            both = player == "generator" and "discriminator" in penalty.players
            name = penalty.logged_as + "_of_generator" * both
            terms.append(term.loss)
            scores[name] = term.loss.detach()
            scores |= {f"{name}/{which}": score.detach() for which, score in term.scores.items()}
        auxiliary = self._auxiliary_loss(batch, real) if player == "discriminator" else None
        if auxiliary is not None:
            terms.append(auxiliary)
            scores["auxiliary"] = auxiliary.detach()
        return terms, scores

    def _auxiliary_loss(self, batch: Batch, real: Scored) -> Tensor | None:
        """The discriminator's own term of its loss on the real samples, augmented as they were for the loss."""
        network, key = self.discriminator, "game.discriminator.model"
        of = getattr(network, "auxiliary_loss", None)
        if of is None:
            return None
        with UserCode(key, network):
            value = of(
                augmented(real.samples.detach(), self.augmentations, batch.under("real")), self._told(real.labels)
            )
        return None if value is None else upcast(require_scalar(value, real.logits, key, network, "auxiliary_loss"))

    def _generator_objective(self, batch: Batch) -> Objective:
        due = self._due(batch, "generator")
        featured = any(penalty.featured for penalty in due.values())
        labels, real, real_features = self._labels(batch), None, None
        with _differentiable(due), self.constant("discriminator"):
            origin, samples = self._fakes(batch, labels, due)
            [(fake, features)] = self._score_and_features(batch, {"fake": samples}, labels, featured)
            scores, noted = {"fake": fake.detach()}, dict[str, Tensor]()
            if self.loss.needs_real or any(penalty.needs_real for penalty in due.values()):
                with self._opponent():
                    [(real, real_features)] = self._score_and_features(batch, {"real": batch.real}, labels, featured)
                if self.loss.needs_real:
                    scores["real"] = real.detach()
            needed = real if self.loss.needs_real else None
            loss = generator_loss(self.loss, needed, fake)
            if due:
                logits = torch.zeros_like(fake) if real is None else real
                of_real = Scored(batch.real, labels, logits, None, self.discriminator, real_features)
                of_fake = Scored(samples, labels, fake, None, self.discriminator, features, **vars(origin))
                terms, noted = self._penalty_terms(batch, of_real, of_fake, due, "generator")
                for term in terms:
                    loss = loss + term
        margins = partial(self.loss.generator_margins, needed, fake)
        losses = partial(self.loss.of_each, "generator", needed, fake)
        return _Classified(loss, lambda: scores, noted, self.loss, margins, losses)

    @torch.no_grad()
    def logits(self, samples: Tensor, labels: Tensor | None = None, seed: int = 0, chunk: int = 64) -> Tensor:
        """``(n,)``: the discriminator's logits of the augmented samples, in evaluation mode.

        Modes, buffers, augmentations and the global random state are left as they were.

        Args:
            samples: ``(n, *shape)``, on any device.
            labels: ``(n,)``, their classes; only for a conditional game.
            seed: the seed of the augmentations and of noise that the network itself draws.
            chunk: the number of samples in one forward pass.
        """
        device = next(self.discriminator.parameters()).device
        parts = []
        with eval_mode(self.discriminator), seeded(seed, device):
            for number, part in enumerate(samples.split(chunk)):
                seen = part.to(device)
                of = None if labels is None else labels[number * chunk :][:chunk].to(device)
                batch = Batch(seen, of, index=number, step=None, seed=seed)
                parts.append(self._score(batch, "real", seen, of))
        return torch.cat(parts)

    def _opponent(self) -> AbstractContextManager:
        """The context for a computation in which only the other player's parameters occur: no gradients, unless the
        game is ``joint``."""
        return nullcontext() if self.joint else torch.no_grad()

    def _fakes(self, batch: Batch, labels: Tensor | None, due: Mapping[int, Penalty]) -> tuple[_Origin, Tensor]:
        """The fake samples of a batch, after what penalties that are due need to know of their origin."""
        z = batch.normal("latent", self.generator.latent_dim)
        make = partial(self.generated, self.generator, labels=labels)
        repeats = any(penalty.repeats for penalty in due.values())
        replay = Replay(self.generator, z.device) if repeats else None
        return _Origin(self.generator, z, None if replay is None else replay.of(make)), make(z)

    def _score_and_features(
        self, batch: Batch, inputs: Mapping[str, Tensor], labels: Tensor | None, featured: bool
    ) -> Sequence[tuple[Tensor, Tensor | None]]:
        if not featured or self._features is None:
            return [(logits, None) for logits in self._scores(batch, inputs, labels)]
        with self._features.captured() as captured:
            logits = self._scores(batch, inputs, labels)
        return list(zip(logits, _parts(captured[-1], len(inputs)), strict=True))

    def _score_again(
        self, batch: Batch, inputs: Mapping[str, Tensor], stream: str, labels: Tensor | None, samples: Tensor
    ) -> Tensor:
        """``(n,)``: the logits of other samples in the place of those of a stream."""
        inputs = dict(inputs) | {stream: samples}
        return self._scores(batch, inputs, labels)[list(inputs).index(stream)]

    def _score(self, batch: Batch, stream: str, samples: Tensor, labels: Tensor | None) -> Tensor:
        """``(n,)``: the discriminator's logits of the augmented samples."""
        return self._scores(batch, {stream: samples}, labels)[0]

    def _scores(self, batch: Batch, inputs: Mapping[str, Tensor], labels: Tensor | None) -> Sequence[Tensor]:
        """``(n,)`` for each input: the logits of the augmented samples of each stream, from one pass over all."""
        seen = [self._seen(batch, stream, samples) for stream, samples in inputs.items()]
        told = self._told(labels)
        if len(seen) > 1 and told is not None:
            told = told.repeat(len(seen))
        key, what = "game.discriminator.model", "one logit per sample"
        together = seen[0] if len(seen) == 1 else torch.cat(seen)
        logits = output_of(self.discriminator, together, told, key, (), what, _UNTOLD)
        return _parts(upcast(require_gradient(logits, key, self.discriminator)), len(inputs))

    def _seen(self, batch: Batch, stream: str, samples: Tensor) -> Tensor:
        """The augmented samples."""
        if self._writes_into_samples:
            samples = samples.clone()  # penalties, the next player and the generator's backward pass need them, too
        return augmented(samples, self.augmentations, batch.under(stream)) if self.augmentations else samples

    def _told(self, labels: Tensor | None) -> Tensor | None:
        """What the discriminator is told of the labels."""
        return labels if self._tells_discriminator else None

    def _labels(self, batch: Batch) -> Tensor | None:
        if not self.conditional:
            return None
        if batch.labels is None:
            raise UserError("game.conditional: the data have no labels; set it to false")
        return batch.labels

    def _add_heads(self) -> None:
        """Let the discriminator have the networks of penalties as modules, which its player trains."""
        if self._features is None:
            return
        classes = self.spec.classes if self.conditional and self.spec is not None else 0
        with self._features.captured() as captured:
            self._try()
        features = captured[-1]
        for i, penalty in enumerate(self.penalties):
            if penalty.featured and not isinstance(getattr(self.discriminator, penalty.logged_as, None), nn.Module):
                with UserCode(f"game.penalties.{i}", penalty):
                    head = penalty.head(features.shape[1], classes)
                if head is not None:
                    self.discriminator.add_module(penalty.logged_as, head.to(features.device))
        self.players["discriminator"] = Player("discriminator", self.discriminator)

    @torch.no_grad()
    def _try(self) -> None:
        """Run both networks once on two samples. Modes, buffers and the random state are left as they were."""
        latent_dim = self.latent_dim
        device = next(self.generator.parameters()).device
        z = torch.zeros(2, latent_dim, device=device)
        labels = torch.zeros(2, dtype=torch.int64, device=device) if self.conditional else None
        with eval_mode(self.generator), eval_mode(self.discriminator), seeded(0, device):
            fakes = self.generated(self.generator, z, labels)
            version = fakes._version
            try:
                self._score(Batch(fakes, labels, index=0, step=None, seed=0), "fake", fakes, labels)
            except RuntimeError as error:
                if fakes.dtype != torch.float64:
                    raise
                who = f"game.generator.model: {type(self.generator).__name__}"
                raise UserError(f"{who}: its samples are float64, and the discriminator takes float32") from error
            self._writes_into_samples = fakes._version != version


def _parts(batch: Tensor, number: int) -> Sequence[Tensor]:
    """The parts of a batch, each of the same size."""
    return batch.chunk(number) if number > 1 else [batch]


@dataclass
class _Origin:
    """What :class:`Scored` says of the origin of fake samples."""

    generator: nn.Module
    latents: Tensor
    generate: Callable[[Tensor], Tensor] | None


def _differentiable(due: Mapping[int, Penalty]) -> AbstractContextManager[Any]:
    """The context in which networks run: a compiled network cannot be differentiated twice, as some penalties do, and
    does not show its features."""
    return uncompiled() if any(penalty.twice or penalty.featured for penalty in due.values()) else nullcontext()


class _Classified(Scoring):
    """An objective whose classification and losses of pairs, too, are made up when an oracle asks for them, which
    most do not."""

    def __init__(
        self,
        loss: Tensor,
        scores: Callable[[], dict[str, Tensor]],
        more: dict[str, Tensor],
        part: Loss,
        margins: Callable[[], Margins],
        losses: Callable[[], Tensor],
    ):
        super().__init__(loss, scores, more)
        self._part, self._margins, self._losses = part, margins, losses

    @cached_property
    def losses(self) -> Tensor:  # type: ignore[override]
        with UserCode("game.loss", self._part):
            return self._losses()

    @cached_property
    def _found(self) -> tuple[Tensor, Tensor] | tuple[None, None]:
        with UserCode("game.loss", self._part):
            margins = self._margins()
        return (None, None) if margins is None else require_margins(margins, "game.loss", self._part)

    @property
    def logits(self) -> Tensor | None:  # type: ignore[override]
        return self._found[0]

    @property
    def targets(self) -> Tensor | None:  # type: ignore[override]
        return self._found[1]
