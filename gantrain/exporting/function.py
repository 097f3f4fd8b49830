"""What is exported: a run's network as a function of plain tensors, with a description of these."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

import gantrain
from gantrain.config.parts import part_name
from gantrain.config.user_code import name_of
from gantrain.data.spec import DataSpec
from gantrain.errors import UserError
from gantrain.games.base import ClassifyingGame, GenerativeGame, PredictingGame
from gantrain.games.calls import called
from gantrain.runs.saved import SavedRun
from gantrain.utils.seeding import generator

_COLOURS = {1: "grey", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True)
class Function:
    """A network on the CPU, in evaluation mode, as a function of tensors whose first dimension is the batch.

    Attributes:
        of: the function that any network of this kind becomes.
        module: the function.
        inputs: the names of its arguments, each with its description.
        output: the name of its result.
        about: everything that a user of the file must know, as JSON can write it.
        spec: the shape of a sample.
        latent_dim: the length of a latent vector; 0 for a classifier.
    """

    of: Callable[[nn.Module], nn.Module]
    module: nn.Module
    inputs: dict[str, dict[str, Any]]
    output: str
    about: dict[str, Any]
    spec: DataSpec
    latent_dim: int

    def arguments(self, n: int, seed: int) -> tuple[Tensor, ...]:
        """Random arguments for a batch of ``n``, of the kind that the network was trained on."""
        source = generator(seed, "export", n)
        if self.latent_dim:
            z = torch.randn(n, self.latent_dim, generator=source)
            return (z, torch.randint(self.spec.classes, (n,), generator=source)) if "labels" in self.inputs else (z,)
        if self.spec.vocabulary:
            # Two texts in a pair are told apart by 0 and 1, which are also tokens of every vocabulary.
            return (torch.randint(min(2, self.spec.vocabulary), (n, *self.spec.shape), generator=source),)
        if self.spec.image:
            return (torch.rand(n, *self.spec.shape, generator=source) * 2 - 1,)
        return (torch.randn(n, *self.spec.shape, generator=source),)


def function_of(saved: SavedRun) -> Function:
    """The function of a run: latent vectors (and labels) to samples, or samples to logits or predictions.

    Raises:
        UserError: the run has neither a generator nor a network that predicts labels.
    """
    game, spec = saved.game, saved.spec
    inputs: dict[str, dict[str, Any]]
    if isinstance(game, GenerativeGame):
        inputs = {"z": _tensor((game.latent_dim,), "float32", "latent vectors, standard normal")}
        if game.conditional:
            inputs["labels"] = _tensor((), "int64", f"classes, from 0 to {spec.classes - 1}")
        output, of_output = "samples", _tensor(spec.shape, "float32", _values(saved))
        of: Callable[[nn.Module], nn.Module] = partial(_Samples, image=spec.image)
    elif isinstance(game, PredictingGame):
        inputs = {"samples": _tensor(spec.shape, "int64" if spec.vocabulary else "float32", _values(saved))}
        if isinstance(game, ClassifyingGame):
            output, of_output = "logits", _tensor((spec.classes,), "float32", "the logit of each class")
        else:
            output, of_output = "predictions", _tensor((1,), "float32", "the number that is predicted")
        of = _Logits
    else:
        raise UserError(
            f"{saved.folder}: the game {part_name(saved.settings.game)} has no generator and predicts no labels, and "
            "nothing else is exported; in Python, gt.load(RUN).network is the network"
        )
    about = {
        "gantrain": gantrain.__version__,
        "run": saved.folder.resolve().name,
        "step": saved.step,
        "weights": saved.weights,
        "game": part_name(saved.settings.game),
        "network": name_of(saved.network),
        "inputs": inputs,
        "outputs": {output: of_output},
        "classes": list(saved.form.class_names),
    }
    latent_dim = game.latent_dim if isinstance(game, GenerativeGame) else 0
    module = of(_plain(saved.network))
    return Function(of, module.eval().requires_grad_(False), inputs, output, about, spec, latent_dim)


def _plain(network: nn.Module) -> nn.Module:
    """A copy of a network whose weights are tensors, where spectral norm or the like computes them in each pass."""
    network = copy.deepcopy(network).cpu().eval()
    for layer in [*network.modules()]:
        if is_parametrized(layer):
            # Not by torch's remove_parametrizations, which changes the class that the copy shares with the original.
            weights = {name: getattr(layer, name).detach() for name in cast(nn.ModuleDict, layer.parametrizations)}
            layer.__class__ = type_before_parametrizations(layer)
            del layer.parametrizations
            for name, weight in weights.items():
                layer.register_parameter(name, nn.Parameter(weight))
    return network


def _tensor(shape: tuple[int, ...], dtype: str, values: str) -> dict[str, Any]:
    return {"shape": ["n", *shape], "type": dtype, "values": values}


def _values(saved: SavedRun) -> str:
    spec = saved.spec
    if spec.vocabulary:
        return f"tokens, from 0 to {spec.vocabulary - 1}"
    if not spec.image:
        return "as in the data"
    colour = _COLOURS.get(spec.shape[0], f"{spec.shape[0]} channels")
    levels = "the 8-bit level is round(127.5 (value + 1))" if saved.form.pixels else "as the data set decodes them"
    return f"{colour} images (channels, height, width) in [-1, 1]; {levels}"


class _Samples(nn.Module):
    """The samples of latent vectors, as ``run.generate`` returns them."""

    def __init__(self, network: nn.Module, image: bool):
        super().__init__()
        self.network = network
        self.image = image
        self.dtype = next((p.dtype for p in network.parameters()), torch.float32)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        samples: Tensor = called(self.network, z.to(self.dtype), labels).float()
        return samples.clamp(-1, 1) if self.image else samples


class _Logits(nn.Module):
    """The logits of samples."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor) -> Tensor:
        logits: Tensor = self.network(samples)
        return logits.float()
