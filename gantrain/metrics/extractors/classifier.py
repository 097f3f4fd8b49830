"""A classifier trained with gantrain as an extractor: it is small and quick, and needs no download."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gantrain.config.parts import part_name
from gantrain.data import pixels
from gantrain.errors import UserError
from gantrain.games.base import ClassifyingGame
from gantrain.metrics.extractors.base import Extractor, Output, PathDistance
from gantrain.models.last_linear import last_linear
from gantrain.runs.saved import load


class Classifier(Extractor):
    """A network that ends in a linear layer: the input of that layer are the features, its output the logits.

    Images of another size are scaled to that of the classifier's training, antialiased, each side by itself. Grey
    images are repeated to three channels for a classifier of colours.

    Args:
        network: a network from ``(n, *shape)`` float32 to logits ``(n, classes)``; a copy in evaluation mode is used.
        decode: turns stored images, uint8, into the input that the network was trained on.
        shape: the shape of an image that the network was trained on, ``(channels, height, width)``.
        name: the name of the extractor, and the label of its values.
        device: where the network is.

    Raises:
        UserError: the network does not end in a linear layer.
    """

    def __init__(
        self,
        network: nn.Module,
        decode: Callable[[Tensor], Tensor],
        shape: tuple[int, int, int],
        name: str,
        device: torch.device | str = "cpu",
    ):
        self.name = self.label = name
        self.shape = tuple(shape)
        self.channels = 1 if shape[0] == 1 else 3
        self.device = torch.device(device)
        size = " x ".join(map(str, shape[1:]))
        self.preprocessing = (
            f"as in the classifier's own training, at its own {size} pixels; images of another size are scaled to it, "
            "and not cut, by antialiased bicubic interpolation"
        )
        self._network = copy.deepcopy(network).to(self.device).eval().requires_grad_(False)
        self._decode = decode
        self.weights = _digest(network)
        self.identity = f"classifier {self.weights} of {self._seen()} on {self.device.type}"
        self._last, probe = self._find_last()
        self.dimensions, self.classes = probe.features.shape[1], probe.logits.shape[1]

    @classmethod
    def of_run(cls, folder: str | Path, device: torch.device | str = "cpu", trust: bool = False) -> Classifier:
        """The classifier of a run, from its newest checkpoint, with the averaged weights where the run keeps them.

        Args:
            folder: the folder of a run whose game is classification; its last part becomes the name.
            device: where the network is.
            trust: whether the run is opened though its config names code outside gantrain and it was not trained here.

        Raises:
            UserError: there is no such run, it is not trusted, it trains no classifier, or its data are no images.
        """
        saved = load(folder, trust=trust)
        folder = saved.folder
        if not isinstance(saved.game, ClassifyingGame):
            name = part_name(saved.settings.game)
            raise UserError(f"{folder}: the game is a {name}; features are those of a classification")
        if not saved.spec.image:
            raise UserError(f"{folder}: a classifier of other data than images; the metrics are of images")
        channels, height, width = saved.spec.shape
        # Images that are stored as floats have no levels of their own.
        plain = saved.form.pixels or saved.data.samples.dtype != torch.uint8
        of_levels = pixels.decode if plain else saved.data.decode
        return cls(saved.network, of_levels, (channels, height, width), folder.resolve().name, device)

    def require_shape(self, shape: tuple[int, ...], source: str) -> None:
        if shape[0] != self.shape[0] and (shape[0], self.shape[0]) != (1, 3):
            other = ", such as photos-classifier, or features: inception" if shape[0] == 3 else ""
            raise UserError(
                f"{source}: images of {_pixels(shape)}, and the features of {self.name} are of {_pixels(self.shape)}; "
                f"use a classifier trained on such images{other}"
            )

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Output:
        return self._run(self._decode(self._fitted(images)))

    @cached_property
    def path_distance(self) -> PathDistance:
        return FeatureDistance(self)

    def features(self, levels: Tensor) -> Tensor:
        """The features of images whose levels, from 0 to 255, need not be whole numbers."""
        return self._run(self._decode(self._fitted(levels).clone())).features

    def _fitted(self, images: Tensor) -> Tensor:
        """Images with levels from 0 to 255, of the shape that the network was trained on."""
        if images.shape[2:] != self.shape[1:]:
            images = pixels.resize(images, *self.shape[1:])
        return images if images.shape[1] == self.shape[0] else images.repeat(1, self.shape[0], 1, 1)

    def _run(self, decoded: Tensor) -> Output:
        seen: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
        try:
            logits = self._network(decoded)
        finally:
            hook.remove()
        return Output(seen[-1].float(), logits.float())

    def _seen(self) -> str:
        """What tells apart classifiers of the same weights: the size at which they see images, and how these are
        decoded, by what it makes of some levels."""
        levels = (torch.arange(math.prod(self.shape)) % 256).to(torch.uint8).view(1, *self.shape)
        decoded = self._decode(levels.to(self.device)).detach().cpu().contiguous()
        return f"{self.shape} {hashlib.sha256(decoded.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]}"

    @torch.no_grad()
    def _find_last(self) -> tuple[nn.Linear, Output]:
        """The linear layer whose output is that of the network, and the features and logits of two black images."""
        black = torch.zeros(2, *self.shape, dtype=torch.uint8, device=self.device)
        last = last_linear(self._network, self._decode(black))
        if last is None:
            raise UserError(
                f"{self.name}: the network does not end in a linear layer, whose input would be the features"
            )
        self._last = last
        return last, self._run(self._decode(black))


class FeatureDistance(PathDistance):
    """The squared distance of the features of two images, each scaled to length 1."""

    def __init__(self, classifier: Classifier):
        self.name = f"squared distance of normalised features of {classifier.name}"
        self.label = classifier.name
        self._classifier = classifier

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        for images in (left, right):
            self._classifier.require_shape(tuple(images.shape[1:]), "generator")
        ends = [normalize(self._classifier.features(x.to(self._classifier.device)).double()) for x in (left, right)]
        return (ends[0] - ends[1]).square().sum(1)


def _digest(network: nn.Module) -> str:
    """The SHA-256 of the architecture and of every tensor with its name."""
    content = hashlib.sha256(str(network).encode())
    for name, tensor in sorted(network.state_dict().items()):
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def _pixels(shape: tuple[int, ...]) -> str:
    kind = {1: "grey", 3: "RGB"}.get(shape[0], f"{shape[0]} channels")
    return f"{' x '.join(map(str, shape[1:]))} pixels ({kind})"
