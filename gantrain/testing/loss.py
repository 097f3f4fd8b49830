"""The contract of GAN losses."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from gantrain.games.losses import Loss


class LossContract(ABC):
    """The contract of GAN losses. The tests draw logits around zero; a positive logit says "real"."""

    @abstractmethod
    def make(self) -> Loss:
        """A new loss."""

    @staticmethod
    def logits() -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of 64 real and of 64 fake samples, which require gradients."""
        source = torch.Generator().manual_seed(0)
        real, fake = torch.randn(2, 64, generator=source, dtype=torch.float64).div(4)
        return real.requires_grad_(), fake.requires_grad_()

    def test_losses_are_scalars_in_the_dtype_of_the_logits(self) -> None:
        real, fake = self.logits()
        for value in (self.make().discriminator(real, fake), self.make().generator(real, fake)):
            assert value.shape == () and value.dtype == torch.float64

    def test_discriminator_raises_real_and_lowers_fake_logits(self) -> None:
        real, fake = self.logits()
        for_real, for_fake = torch.autograd.grad(self.make().discriminator(real, fake), (real, fake))
        assert (for_real <= 0).all() and (for_fake >= 0).all() and for_real.any() and for_fake.any()

    def test_generator_raises_fake_logits(self) -> None:
        real, fake = self.logits()
        (slope,) = torch.autograd.grad(self.make().generator(real, fake), fake)
        assert (slope < 0).all()

    def test_real_logits_are_needed_as_it_says(self) -> None:
        real, fake = self.logits()
        loss = self.make()
        if not loss.needs_real:
            assert torch.equal(loss.generator(None, fake), loss.generator(real, fake))
        else:
            assert torch.autograd.grad(loss.generator(real, fake), real)[0].any()

    def test_stays_finite_at_extreme_logits(self) -> None:
        for size in (1e4, -1e4):
            real = torch.full((4,), size, requires_grad=True)
            fake = torch.full((4,), -size, requires_grad=True)
            for value in (self.make().discriminator(real, fake), self.make().generator(real, fake)):
                slopes = torch.autograd.grad(value, (real, fake), allow_unused=True)
                assert value.isfinite() and all(s is None or s.isfinite().all() for s in slopes)

    def test_is_a_mean_over_the_samples(self) -> None:
        real, fake = self.logits()
        twice = torch.cat([real, real]), torch.cat([fake, fake])
        for player in ("discriminator", "generator"):
            function = getattr(self.make(), player)
            torch.testing.assert_close(function(*twice), function(real, fake))

    def test_margins_fit_their_targets_and_leave_the_logits_alone(self) -> None:
        real, fake = self.logits()
        before = real.detach().clone(), fake.detach().clone()
        for player in ("discriminator", "generator"):
            margins = getattr(self.make(), f"{player}_margins")(real, fake)
            if margins is not None:
                logits, targets = margins
                assert logits.shape == targets.shape and targets.dtype == torch.int64
                assert set(targets.tolist()) <= {0, 1}
        assert torch.equal(real, before[0]) and torch.equal(fake, before[1])
