from __future__ import annotations

import numpy as np
import pytest
import torch
from forked import together
from image_sets import DIGITS, Pixels, game, generated
from later import Later

from gantrain.distributed.processes import Processes
from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.metrics import Generated, Options, Paths, evaluate
from gantrain.metrics.extractors.base import PathDistance
from gantrain.metrics.path_length import path_lengths
from gantrain.utils.seeding import generator

torch_fidelity, registry = Later("torch_fidelity"), Later("torch_fidelity.registry")


class Squared(PathDistance):
    """The mean squared difference of levels."""

    name = label = "squared"

    def __call__(self, left, right):
        return (left.double() - right.double()).square().flatten(1).mean(1)


class WithPaths(Pixels):
    path_distance = Squared()


def linear(slope):
    """Images are the latents times ``slope``: a path from z to z' has length ``(127.5 slope)² |z - z'|² / 4``."""
    return Paths(lambda z, labels, seed: slope * z.view(-1, 1, 2, 2), 4)


def latents(seed, pieces):
    ends = [torch.randn(2, 64, 4, generator=generator(seed, "evaluation paths", i)) for i in range(pieces)]
    return torch.cat(ends, 1)


def test_a_linear_generator_has_the_closed_form():
    start, end = latents(5, 5).double()
    exact = (127.5 * 0.01) ** 2 * (end - start).square().mean(1)[:300]
    source = Generated(None, seed=5, paths=linear(0.01))
    found = path_lengths(source, 300, Squared(), 0.1, Processes())
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)
    report = evaluate(source, None, WithPaths((1, 2, 2)), ["ppl"], samples=300, options=Options(epsilon=0.1))
    value = report.values["perceptual_path_length[squared]"]
    # Of 300 paths two are below the first and two above the last per cent.
    low, high = (np.percentile(exact, q, method=m) for q, m in ((1, "lower"), (99, "higher")))
    kept = exact[(exact >= low) & (exact <= high)]
    assert len(kept) == 296
    assert value.value == pytest.approx(kept.mean().item(), rel=1e-3)
    assert value.spread == pytest.approx(kept.std(correction=0).item(), rel=1e-3)
    assert report.about["epsilon"] == 0.1 and "not rounded" in report.about["path_distance"]


def test_it_is_what_torch_fidelity_computes_where_that_works(monkeypatch):
    """Its percentiles, which fail with numpy 2, are left out; it gets our latents, images not rounded, our distance."""
    made, samples = game(), 64
    start, end = latents(2, 1)
    noise = iter((start, end))
    monkeypatch.setitem(registry.NOISE_SOURCE_REGISTRY, "ours", lambda rng, shape: next(noise))

    class Similarity(torch_fidelity.SampleSimilarityBase):
        def __init__(self, name, **options):
            super().__init__(name)

        def forward(self, left, right):
            return Squared()(left, right)

    monkeypatch.setitem(registry.SAMPLE_SIMILARITY_REGISTRY, "squared", Similarity)

    class Levels(torch_fidelity.GenerativeModelBase):
        z_size, z_type, num_classes = 4, "ours", 0

        def forward(self, z):
            return made.generate(z).add(1).mul(127.5)

    options = {"ppl_discard_percentile_lower": None, "ppl_discard_percentile_higher": None, "ppl_reduction": "none"}
    theirs = torch_fidelity.calculate_metrics(
        input1=Levels(), input1_model_num_samples=samples, ppl=True, ppl_sample_similarity="squared", cuda=False,
        ppl_epsilon=1e-2, ppl_sample_similarity_dtype=None, verbose=False, **options,
    )["perceptual_path_length_raw"]  # fmt: skip
    ours = path_lengths(Generated.of(made, seed=2), samples, Squared(), 1e-2, Processes())
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert theirs.mean() > 1


def test_both_ends_have_the_same_label_and_noise():
    calls = []

    def generate(z, labels, seed):
        calls.append((labels.tolist(), seed))
        return z.view(-1, 1, 2, 2)

    source = Generated(None, labels=torch.arange(7), paths=Paths(generate, 4))
    path_lengths(source, 100, Squared(), 0.1, Processes())
    assert calls[0] == calls[1] and calls[2] == calls[3] and calls[0][1] != calls[2][1]
    assert len(calls[2][0]) == 36


def test_in_the_features_of_a_classifier_steps_do_not_matter_and_images_are_not_rounded(classifier):
    values = [
        evaluate(
            generated(), None, classifier, ["ppl"], samples=64, options=Options(epsilon=epsilon)
        ).values["perceptual_path_length[digits-classifier]"].value
        for epsilon in (1e-2, 3e-3)
    ]  # fmt: skip
    assert values[0] == pytest.approx(values[1], rel=0.1) and values[0] > 1e-3
    distance = classifier.path_distance
    left, right = (DIGITS.samples[i : i + 4].float() for i in (0, 4))
    assert distance(left, left).abs().max() == 0 and (distance(left, right) > 1e-3).all()
    # Features have lengths of their own; between unit vectors the squared distance is at most 4.
    assert (distance(left, right) <= 4).all()


def test_a_path_that_breaks_is_one_line():
    source = Generated(None, paths=Paths(lambda z, labels, seed: z.view(-1, 1, 2, 2) * torch.nan, 4))
    with pytest.raises(UserError, match="generator: a path holds NaN or infinity"):
        path_lengths(source, 10, Squared(), 0.1, Processes())


def shared():
    with process_group(cpu=True):
        return path_lengths(Generated(None, paths=linear(0.1)), 150, Squared(), 0.1, Processes.launched())


def test_processes_share_the_paths():
    alone = path_lengths(Generated(None, paths=linear(0.1)), 150, Squared(), 0.1, Processes())
    assert all(torch.equal(alone, values) for values in together(shared))
