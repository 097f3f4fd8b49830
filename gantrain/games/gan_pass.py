"""Both players' gradients of a GAN from one pass through each of its networks.

At one joint point the two objectives share the fake samples and the discriminator's pass over them. Let ``s`` be the
logits of the fake samples, ``u = dL_D/ds`` and ``v = dL_G/ds``. The pass backwards through the discriminator starts
from ``u`` for the discriminator's weights, and from ``v`` for the generator. Where each logit depends on its own sample
alone, the pass from ``u`` gives ``u_i ds_i/dx_i`` at the i-th sample, which times ``v_i / u_i`` is what the generator
needs: one pass serves both players.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor

from gantrain.config.user_code import UserCode, is_users
from gantrain.distributed.sharding import backward_into
from gantrain.games.base import Objective, Player, SharedPass
from gantrain.games.checks import require_scalar
from gantrain.games.losses import Loss
from gantrain.games.penalties import Scored

# Where |u| is less than this share of |v|, the pass starts from this share of |v| instead: a quotient v / u would lose
# its digits near the smallest numbers of single precision, or be infinite.
_LEAST_SHARE = 1e-24


def discriminator_loss(loss: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss of the logits of real and fake samples: a scalar."""
    with UserCode("game.loss", loss):
        value = loss.discriminator(_given(loss, real), _given(loss, fake))
    return require_scalar(value, fake, "game.loss", loss, "discriminator")


def generator_loss(loss: Loss, real: Tensor | None, fake: Tensor) -> Tensor:
    """The generator's loss of the logits of fake samples, and of real ones if the loss needs them: a scalar."""
    advice = "" if loss.needs_real else "real is None here, unless the class says needs_real = True"
    with UserCode("game.loss", loss, advice):
        value = loss.generator(None if real is None else _given(loss, real), _given(loss, fake))
    return require_scalar(value, fake, "game.loss", loss, "generator")


def discriminator_scores(loss: Loss, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """What the discriminator's objective logs of the logits: themselves, and whether real samples count as real.

    ``real_sign`` is 1 for a real sample on the right side of the loss's boundary and -1 on the other; its mean over
    the samples is the r of Karras et al., NeurIPS 2020.

    Args:
        loss: the loss of the game.
        real: ``(n,)``, the logits of real samples, without a graph.
        fake: ``(n,)``, those of fake samples.
    """
    return {"real": real, "fake": fake, "real_sign": beyond_boundary(loss, real, fake).sign()}


def beyond_boundary(loss: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """How far the logits of real samples are beyond the loss's boundary, ``(n,)``.

    Without a boundary, a real sample is compared with the fake of its row.
    """
    return real - (fake if loss.boundary is None else loss.boundary)


def _given(loss: Loss, logits: Tensor) -> Tensor:
    """What a loss is given of the logits: it may write into them, where the log and the other player need them."""
    return logits.clone() if is_users(loss) else logits


class Scoring(Objective):
    """An objective whose scores are made up when they are asked for, which only steps that are logged do.

    Args:
        loss: the loss.
        scores: makes the scores.
        more: further scores.
    """

    def __init__(self, loss: Tensor, scores: Callable[[], dict[str, Tensor]], more: dict[str, Tensor]):
        self.loss = loss
        self._make, self._more = scores, more

    @cached_property
    def scores(self) -> dict[str, Tensor]:  # type: ignore[override]
        return self._make() | self._more


class GANPass(SharedPass):
    """The objectives of discriminator and generator, and the passes backwards.

    Args:
        discriminator: the player that was given real and fake samples.
        generator: the player that made the fake samples.
        loss: the loss of both.
        fakes: ``(n, *shape)``, the fake samples with the generator's graph.
        real: the real samples and their logits.
        fake: the fake samples as the discriminator saw them, which are a leaf, and their logits.
        penalties: returns the further terms of a player's loss, and their scores. It is called after the losses, as in
            the players' own objectives.
        rescales: whether one pass backwards through the discriminator serves both players, if the losses depend on
            nothing but the logits and there are no further terms. Each logit must then depend on its own sample alone.
    """

    def __init__(
        self,
        discriminator: Player,
        generator: Player,
        loss: Loss,
        fakes: Tensor,
        real: Scored,
        fake: Scored,
        penalties: Callable[[str], tuple[list[Tensor], dict[str, Tensor]]],
        rescales: bool,
    ):
        self._discriminator, self._generator = discriminator, generator
        self._fakes, self._real, self._fake = fakes, real, fake
        real_logits, fake_logits = (s.logits.detach().requires_grad_(True) for s in (real, fake))
        with torch.enable_grad():
            of_discriminator = discriminator_loss(loss, real_logits, fake_logits)
            of_generator = generator_loss(loss, real_logits.detach() if loss.needs_real else None, fake_logits)
        self._real_slopes, self._fake_slopes = _slopes(of_discriminator, real_logits, fake_logits)
        (self._generator_slopes,) = _slopes(of_generator, fake_logits)
        # A loss may depend on weights or features, too, in which it is differentiated directly.
        logits = real_logits, fake_logits
        self._terms, self._generator_terms = (
            [] if _depends_on_nothing_but(logits, value) else [value] for value in (of_discriminator, of_generator)
        )
        scores = {"real": real.logits.detach(), "fake": fake.logits.detach()}
        seen = {name: scores[name] for name in (("real", "fake") if loss.needs_real else ("fake",))}
        both: tuple[tuple[Player, Tensor, list[Tensor], Callable[[], dict[str, Tensor]]], ...] = (
            (discriminator, of_discriminator, self._terms, partial(discriminator_scores, loss, **scores)),
            (generator, of_generator, self._generator_terms, lambda: seen),
        )
        self.objectives = {}
        for player, value, terms, noted in both:
            more, scores_of_more = penalties(player.name)
            total = value.detach()
            for term in more:
                total = total + term.detach()
            terms += more
            self.objectives[player.name] = Scoring(total, noted, scores_of_more)
        self._rescales = rescales and not self._terms and not self._generator_terms

    def backward(self, scales: Mapping[str, float]) -> None:
        scale = scales[self._discriminator.name]
        slopes = self._generator_slopes * scales[self._generator.name]
        if self._rescales:
            least = slopes.abs() * _LEAST_SHARE
            start = torch.where(self._fake_slopes.abs() * scale < least, least, self._fake_slopes * scale)
            upstream = self._through_discriminator(start, scale, also=[self._fake.samples])
            factor = slopes / torch.where(start == 0, 1.0, start)
            upstream = upstream * factor.view(-1, *[1] * (upstream.dim() - 1)).to(upstream.dtype)
            backward_into([self._fakes], [upstream], self._generator.parameters, self._discriminator.parameters)
            return
        self._through_discriminator(self._fake_slopes * scale, scale)
        own = self._generator_terms
        scaled = [torch.full_like(term, scales[self._generator.name]) for term in own]
        (upstream,) = torch.autograd.grad(
            [self._fake.logits, *own], self._fake.samples, [slopes, *scaled], retain_graph=bool(own)
        )
        generator, discriminator = self._generator.parameters, self._discriminator.parameters
        backward_into([self._fakes, *own], [upstream, *scaled], generator, discriminator)

    def _through_discriminator(self, start: Tensor, scale: float, also: Sequence[Tensor] = ()) -> Tensor:
        """Fill ``.grad`` of the discriminator's parameters, and return that of ``also``, which is one tensor or none.

        Args:
            start: the slopes of the loss in the fake samples' logits.
            scale: the factor of the loss.
            also: a leaf whose gradient is taken with those of the parameters.
        """
        ends = [self._real.logits, self._fake.logits, *self._terms]
        starts = [self._real_slopes * scale, start, *(torch.full_like(term, scale) for term in self._terms)]
        inputs = [*self._discriminator.parameters, *also]
        backward_into(ends, starts, inputs, self._generator.parameters, retain_graph=not also)
        return also[0].grad if also and also[0].grad is not None else torch.zeros_like(self._fake.samples)


def _slopes(loss: Tensor, *logits: Tensor) -> list[Tensor]:
    """The derivatives of a loss in each of some logits; zero where the loss does not depend on them."""
    found = torch.autograd.grad(loss, logits, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(s) if g is None else g for s, g in zip(logits, found, strict=True)]


def _depends_on_nothing_but(leaves: Sequence[Tensor], value: Tensor) -> bool:
    """Whether a value can be differentiated in nothing but some of the leaves of its graph."""
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and all(leaf is not each for each in leaves):
            return False
        waiting += [following for following, _ in node.next_functions]
    return True
