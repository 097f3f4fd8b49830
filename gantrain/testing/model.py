"""The contract of networks: generators, discriminators, classifiers and perturbers."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from gantrain.data.spec import DataSpec

SAMPLES = 6


class ModelContract(ABC):
    """The contract of every network. Inherit from the contract of the network's role, which extends this one.

    Attributes:
        spec: the spec of the data that the network is made for.
        conditional: whether the network is given labels.
        couples_samples: whether in training mode the output of a sample depends on the other samples in the batch, as
            with batch norm.
        couples_evaluation: whether it does so in evaluation mode, too, as with minibatch standard deviation.
        unreached: the names of the parameters that no gradient reaches.
    """

    spec: DataSpec
    conditional: bool = False
    couples_samples: bool = False
    couples_evaluation: bool = False
    unreached: frozenset[str] = frozenset()

    @abstractmethod
    def make(self) -> nn.Module:
        """A new network with small layers, whose weights are drawn from torch's global generator."""

    @abstractmethod
    def input_shape(self, network: nn.Module) -> tuple[int, ...]:
        """The shape of one input."""

    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """The shape of one output."""

    def seeded(self, seed: int = 0) -> nn.Module:
        """A new network in double precision, whose weights are drawn with the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.make().double()

    def inputs(self, network: nn.Module) -> tuple[Tensor, ...]:
        """``SAMPLES`` inputs, and as many labels if the network is given labels."""
        source = torch.Generator().manual_seed(1)
        x = torch.rand(SAMPLES, *self.input_shape(network), generator=source, dtype=torch.float64).mul(2).sub(1)
        return (x, torch.arange(SAMPLES) % self.spec.classes) if self.conditional else (x,)

    def test_its_weights_are_a_function_of_the_seed(self) -> None:
        one, same, other = (self.seeded(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert any(not torch.equal(one[key], other[key]) for key in one)

    def test_outputs_have_their_shape_and_are_finite_in_both_modes_and_precisions(self) -> None:
        for network, dtype in ((self.seeded(), torch.float64), (self.seeded().float(), torch.float32)):
            x, *labels = self.inputs(network)
            for mode in (True, False):
                y = network.train(mode)(x.to(dtype), *labels)
                assert y.shape == (SAMPLES, *self.output_shape())
                assert y.dtype == dtype and y.isfinite().all()

    def test_single_precision_agrees_with_double(self) -> None:
        double = self.seeded().eval()
        single = self.seeded().float().eval()
        x, *labels = self.inputs(double)
        torch.testing.assert_close(single(x.float(), *labels).double(), double(x, *labels), rtol=1e-3, atol=1e-4)

    def test_gradients_reach_the_parameters_that_they_should(self) -> None:
        network = self.seeded().train()
        y = network(*self.inputs(network))
        source = torch.Generator().manual_seed(2)
        y.mul(torch.randn(y.shape, generator=source, dtype=y.dtype)).sum().backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
        assert all(g is None or g.isfinite().all() for g in gradients.values())
        assert {name for name, g in gradients.items() if g is None or not g.any()} == self.unreached

    def test_inputs_are_left_alone(self) -> None:
        network = self.seeded()
        given = self.inputs(network)
        before = [tensor.clone() for tensor in given]
        network.train()(*given)
        network.eval()(*given)
        assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))

    def test_goes_on_identically_from_its_state(self) -> None:
        network, twin = self.seeded(0), self.seeded(1)
        given = self.inputs(network)
        network.train()(*given)  # moves the buffers, too
        twin.load_state_dict(network.state_dict())
        assert torch.equal(network.eval()(*given), twin.eval()(*given))

    def test_evaluation_is_repeatable_and_changes_nothing(self) -> None:
        network = self.seeded().eval()
        before = {key: value.clone() for key, value in network.state_dict().items()}
        random = torch.get_rng_state()
        given = self.inputs(network)
        assert torch.equal(network(*given), network(*given))
        after = network.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(after[key], before[key]) for key in before)
        assert torch.equal(torch.get_rng_state(), random)

    def test_evaluation_depends_on_the_rest_of_the_batch_only_where_it_says_so(self) -> None:
        network = self.seeded()
        given = self.inputs(network)
        network.train()(*given)
        together = network.eval()(*given)
        alone = torch.cat([network(*(tensor[i : i + 1] for tensor in given)) for i in range(SAMPLES)])
        assert torch.allclose(alone, together, rtol=1e-8, atol=1e-10) != self.couples_evaluation

    def test_training_couples_samples_only_where_it_says_so(self) -> None:
        network = self.seeded().train()
        x, *labels = self.inputs(network)
        x.requires_grad_(True)
        changed = torch.cat([x[:1], x[1:] + 1]).detach()
        # What a network draws is the same for both, and so is what it keeps in buffers.
        outputs = []
        for given in (x, changed):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(2)
                outputs.append(copy.deepcopy(network)(given, *labels)[0])
        (slope,) = torch.autograd.grad(outputs[0].square().sum(), x)
        assert slope[0].any()
        moves = not torch.allclose(outputs[0], outputs[1], rtol=1e-8, atol=1e-10)
        assert (bool(slope[1:].any()) or moves) == self.couples_samples


class GeneratorContract(ModelContract):
    """The contract of generators, which map latent vectors ``(n, latent_dim)`` to samples ``(n, *shape)``.

    Images lie in [-1, 1] in evaluation mode.
    """

    def input_shape(self, network: nn.Module) -> tuple[int, ...]:
        return (int(network.latent_dim),)  # type: ignore[arg-type] # a module's attribute may be anything

    def output_shape(self) -> tuple[int, ...]:
        return self.spec.shape

    def test_images_stay_in_their_range(self) -> None:
        network = self.seeded().eval()
        z, *labels = self.inputs(network)
        if self.spec.image:
            assert network(100 * z, *labels).abs().max() <= 1


class DiscriminatorContract(ModelContract):
    """The contract of discriminators, which map samples ``(n, *shape)`` to logits ``(n,)``."""

    def input_shape(self, network: nn.Module) -> tuple[int, ...]:
        return self.spec.shape

    def output_shape(self) -> tuple[int, ...]:
        return ()


class ClassifierContract(ModelContract):
    """The contract of classifiers, which map samples ``(n, *shape)`` to logits ``(n, classes)``."""

    def input_shape(self, network: nn.Module) -> tuple[int, ...]:
        return self.spec.shape

    def output_shape(self) -> tuple[int, ...]:
        return (self.spec.classes,)


class PerturberContract(ModelContract):
    """The contract of perturbers, which map samples ``(n, *shape)`` and labels to values ``(n, *shape)``."""

    conditional = True

    def input_shape(self, network: nn.Module) -> tuple[int, ...]:
        return self.spec.shape

    def output_shape(self) -> tuple[int, ...]:
        return self.spec.shape
