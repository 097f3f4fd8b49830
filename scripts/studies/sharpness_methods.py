"""The methods and the problems of study B."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """The values that a search may give to a number.

    Attributes:
        ladder: all values, ascending.
        first: the lowest and the highest of those that are tried in any case.
    """

    ladder: tuple[float, ...]
    first: tuple[float, float]

    @property
    def grid(self) -> list[float]:
        """The values that are tried in any case."""
        return [value for value in self.ladder if self.first[0] <= value <= self.first[1]]

    def around(self, value: float) -> list[float]:
        """A value and its neighbours."""
        place = self.ladder.index(value)
        return list(self.ladder[max(0, place - 1) : place + 2])


@dataclass(frozen=True)
class Method:
    """A way of training.

    Attributes:
        overrides: ``KEY=VALUE`` with ``{}`` for the value that is searched for.
        axis: the values of this number; None where there is nothing to search for but the weight decay.
        epochs: the budget in units of the problem's; None where it is this number.
    """

    overrides: tuple[str, ...] = ()
    axis: Axis | None = None
    epochs: float | None = 1


RHO = Axis((0.0125, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2), (0.05, 0.8))
RELATIVE_RHO = Axis((0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32), (0.5, 8))
RANDOM_RHO = Axis((0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6), (0.4, 6.4))
SMOOTHING = Axis((0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 0.9), (0.05, 0.8))
EPOCHS = Axis((0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2), (0.125, 2))
WEIGHT_DECAY = Axis((5e-5, 0.00016, 0.0005, 0.0016, 0.005, 0.016, 0.05, 0.16), (0.0005, 0.016))
# The weight decay of the configs.
FIXED = 0.0005


def oracle(keys: str, axis: Axis = RHO) -> Method:
    """A method that differs from SGD by its gradients, which depend on a radius rho."""
    return Method((f"game.classifier.sharpness={{{{{keys}, rho: {{}}}}}}",), axis)


METHODS = {
    "sgd": Method(),
    "sgd_twice": Method(epochs=2),
    "sgd_epochs": Method(axis=EPOCHS, epochs=None),
    "label_smoothing": Method(("game.label_smoothing={}",), SMOOTHING),
    "random_sam": oracle("name: sam, direction: random", RANDOM_RHO),
    "sam": oracle("name: sam"),
    "asam": oracle("name: sam, geometry: elementwise", RELATIVE_RHO),
    "sampa_0": oracle("name: sampa, mix: 0.0"),
    "sampa_0.2": oracle("name: sampa, mix: 0.2"),
    "bisam_tanh": oracle("name: sam, climb: tanh"),
    "bisam_log": oracle("name: sam, climb: log"),
}


@dataclass(frozen=True)
class Problem:
    """What is trained.

    Attributes:
        config: the file in `configs`.
        steps: the budget, in steps of SGD and of the others.
        noises: the probabilities of label noise.
        cifar: whether the data are CIFAR-16.
    """

    config: str
    steps: int
    noises: tuple[float, ...]
    cifar: bool = False


PROBLEMS = {
    "digits_mlp": Problem("digits_classifier_mlp.yaml", 1200, (0.0, 0.2, 0.4, 0.6)),
    "digits_conv": Problem("digits_classifier_conv.yaml", 600, (0.0, 0.4)),
    "cifar16_conv": Problem("cifar16_classifier_conv.yaml", 500, (0.0, 0.4), cifar=True),
    "cifar16_mlp": Problem("cifar16_classifier_mlp.yaml", 800, (0.0, 0.4), cifar=True),
    "digits_conv_plain": Problem("digits_classifier_conv_plain.yaml", 600, (0.0, 0.4)),
}


@dataclass(frozen=True)
class Point:
    """Values of the numbers that are searched for; ``value`` is None for a method without one."""

    value: float | None
    weight_decay: float
