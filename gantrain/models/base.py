"""The interfaces of networks in games, as base classes; a network may but need not be derived from them."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Generator(nn.Module):
    """Maps latent vectors to samples.

    A generator of your own is constructed with the data's :class:`~gantrain.data.DataSpec` as its first argument
    (``spec.shape`` is the shape of a sample, ``spec.classes`` the number of classes, 0 if the game is not conditional);
    its other arguments are the keys of ``game.generator.model: {target: "my_networks:Mine", …}``. It is constructed on
    the CPU, and its weights are a function of the seed.

    A generator may have a method ``truncated(z, labels, psi)``, whose samples ``psi`` draws towards a mean of its own;
    ``gantrain sample --truncation PSI`` calls it, and of other generators truncates the latent vectors. It may also
    have ``styles(z, labels)``, ``(n, layers, features)``, and ``synthesise(w, z)``, which makes the samples of styles
    ``w``, with noise that belongs to the latent vectors ``z``: the penalty ``path_length`` then differentiates in the
    styles.

    Attributes:
        latent_dim: the length of a latent vector, which the constructor sets.
        once_per_step: the names of buffers that move once in each training step, in its first evaluation, and are then
            averaged over all processes. Other buffers, such as the running statistics of batch norm, move in each
            evaluation in training mode. Any network may have such buffers.
    """

    latent_dim: int
    once_per_step: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The samples of latent vectors.

        Args:
            z: ``(n, latent_dim)``, standard normal.
            labels: ``(n,)`` class indices in a conditional game, None in any other. A generator for games that are not
                conditional may leave the argument out.

        Returns:
            ``(n, *shape)`` with the shape of the data; images lie in [-1, 1], at least in evaluation mode.
        """


class Discriminator(nn.Module):
    """Tells samples of the data from those of a generator.

    A discriminator of your own is constructed with the data's :class:`~gantrain.data.DataSpec` as its first argument,
    as a :class:`Generator` is; its other arguments are the keys of ``game.discriminator.model``.

    Attributes:
        independent_samples: whether the logit of a sample depends on this sample alone, apart from batch norm. One pass
            backwards may then serve both players of a GAN, and real and fake samples may be in one batch
            (``game.concatenate``). Default false, also in a class that is derived from one that says true.
    """

    independent_samples = False

    @abstractmethod
    def forward(self, samples: Tensor, labels: Tensor | None = None) -> Tensor:
        """One logit for each sample.

        Args:
            samples: ``(n, *shape)``.
            labels: ``(n,)`` class indices in a conditional game, None in any other. A discriminator for games that are
                not conditional may leave the argument out.

        Returns:
            ``(n,)``, without a sigmoid; a positive logit says "real".
        """

    def auxiliary_loss(self, samples: Tensor, labels: Tensor | None) -> Tensor | None:
        """A further term of the discriminator's loss in a GAN, such as a reconstruction; by default there is none.

        It is a pass over the network of its own. Random numbers come from torch, as in ``forward``.

        Args:
            samples: ``(n, *shape)``, the real samples after the game's augmentations.
            labels: ``(n,)`` class indices in a conditional game, None in any other.

        Returns:
            A tensor of shape ``()`` that depends on the network's parameters, or None.
        """
        return None


class Classifier(nn.Module):
    """Tells the classes of samples apart.

    A classifier of your own is constructed with the data's :class:`~gantrain.data.DataSpec` as its first argument; its
    other arguments are the keys of ``game.classifier.model``.
    """

    @abstractmethod
    def forward(self, samples: Tensor) -> Tensor:
        """The logits of samples: ``(n, *shape)`` to ``(n, classes)``."""


class Perturber(nn.Module):
    """Says how samples are perturbed so that a classifier mistakes them.

    A perturber of your own is constructed with the data's :class:`~gantrain.data.DataSpec` as its first argument; its
    other arguments are the keys of ``game.perturber.model``.
    """

    @abstractmethod
    def forward(self, samples: Tensor, labels: Tensor) -> Tensor:
        """Values of any size, which the game makes offsets in its ball.

        Args:
            samples: ``(n, *shape)``.
            labels: ``(n,)``, their class indices.

        Returns:
            ``(n, *shape)``.
        """
