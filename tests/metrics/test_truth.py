"""The numbers are right: closed forms, monotone under damage, equal to torch-fidelity's on the same PNG files."""

from __future__ import annotations

import math
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from image_sets import DIGITS, Pixels, gaussian, generated, images, written
from later import Later
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from gantrain.data.readers.images import load
from gantrain.metrics import Generated, Images, Options, evaluate, make_extractor, open_images
from gantrain.metrics.extractors.torch_fidelity import register
from gantrain.metrics.sources.base import PIECE

torch_fidelity = Later("torch_fidelity")
FID, KID = "frechet_distance[digits-classifier]", "kernel_distance[digits-classifier]"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """PNG files of 300 samples of a generator and of 400 digits."""
    folder, source = tmp_path_factory.mktemp("images"), generated(seed=3)
    pieces = [source.piece(i, min(PIECE, 300 - i * PIECE), "cpu") for i in range(-(-300 // PIECE))]
    return written(folder / "fake", torch.cat(pieces)), written(folder / "real", DIGITS.samples[:400])


@pytest.mark.parametrize("batch_size", [64, 50])
def test_equal_to_torch_fidelity_on_the_same_images(folders, classifier, batch_size):
    theirs = torch_fidelity.calculate_metrics(
        input1=str(folders[0]), input2=str(folders[1]), isc=True, fid=True, kid=True, prc=True, kid_subset_size=150,
        feature_extractor=register(classifier), batch_size=batch_size, cuda=False, cache=False, verbose=False,
        save_cpu_ram=True,
    )  # fmt: skip
    options = Options(subset_size=150)
    from_memory = evaluate(
        generated(seed=3), images(DIGITS.samples[:400]), classifier, samples=300, batch_size=batch_size, options=options
    )
    from_files = evaluate(
        *(open_images(folder, classifier.channels) for folder in folders), classifier,
        batch_size=batch_size, options=options,
    )  # fmt: skip
    for ours in (from_memory, from_files):
        score, distance = ours.values["inception_score[digits-classifier]"], ours.values[KID]
        found = {
            "inception_score_mean": score.value,
            "inception_score_std": score.spread,
            "frechet_inception_distance": ours[FID],
            "kernel_inception_distance_mean": distance.value,
            "kernel_inception_distance_std": distance.spread,
            "precision": ours["precision[digits-classifier]"],
            "recall": ours["recall[digits-classifier]"],
        }
        for name, value in found.items():
            # Their mean of the features is of single precision.
            assert value == pytest.approx(theirs[name], rel=2e-6), name
        assert score.value > 1.1 and ours[FID] > 1


def test_a_shifted_gaussian_has_the_closed_form():
    shift, stds = 5.0, (20.0, 26.0)
    fake, real = (
        Generated(gaussian(m, s), seed=i) for i, (m, s) in enumerate(zip((120, 120 + shift), stds, strict=True))
    )
    real = images(torch.cat([real.piece(i, PIECE, "cpu") for i in range(320)]))
    found = evaluate(fake, real, Pixels(), ["fid"], samples=20000)["frechet_distance[pixels]"]
    # Rounding to whole levels adds 1/12 to each variance.
    exact = 16 * (shift**2 + (math.sqrt(stds[0] ** 2 + 1 / 12) - math.sqrt(stds[1] ** 2 + 1 / 12)) ** 2)
    assert found == pytest.approx(exact, rel=0.03)


def test_halves_of_one_set_are_near_and_the_distance_falls_as_one_over_n(classifier):
    def distance(n: int) -> float:
        total = 0.0
        for seed in range(4):
            order = torch.randperm(len(DIGITS.samples), generator=torch.Generator().manual_seed(seed))
            halves = [images(DIGITS.samples[order[i * n : (i + 1) * n]]) for i in range(2)]
            total += evaluate(*halves, classifier, ["fid"])[FID] / 4
        return total

    few, many = distance(200), distance(800)
    assert 3.2 < few / many < 4.8
    assert 0 < many < 0.02 * evaluate(generated(), Images(DIGITS), classifier, ["fid"], samples=800)[FID]


def damaged(samples: Tensor, kind: str, strength: int) -> Tensor:
    if kind == "blur":
        x = samples.float()
        for _ in range(strength):
            x = avg_pool2d(pad(x, [1, 1, 1, 1], mode="replicate"), 3, 1)
        return x.round().to(torch.uint8)
    if kind == "noise":
        noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(0))
        return (samples + 40 * strength * noise).round().clamp(0, 255).to(torch.uint8)
    return samples[DIGITS.labels[::2] < 10 - 2 * strength]


@pytest.mark.parametrize("kind", ["blur", "noise", "dropped modes"])
def test_distances_rise_with_damage(classifier, kind):
    real = images(DIGITS.samples[1::2])
    options = Options(subset_size=300, subsets=20)
    reports = [
        evaluate(
            images(damaged(DIGITS.samples[::2], kind, strength)),
            real,
            classifier,
            ["fid", "kid", "prc"],
            options=options,
        )
        for strength in range(4)
    ]
    for name in (FID, KID):
        values = [report[name] for report in reports]
        assert values == sorted(values) and values[3] > 10 * abs(values[0]), name
    if kind == "dropped modes":
        assert reports[3]["recall[digits-classifier]"] < 0.8 * reports[0]["recall[digits-classifier]"]
        assert reports[3]["precision[digits-classifier]"] > 0.9 * reports[0]["precision[digits-classifier]"]


def parts(photograph: str, number: int, seed: int) -> Tensor:
    """Random parts of 64 x 64 pixels of a photograph that scikit-learn brings along."""
    file = distribution("scikit-learn").locate_file(f"sklearn/datasets/images/{photograph}.jpg")
    whole = torch.tensor(load(Path(str(file)).read_bytes(), channels=3, size=None)).permute(2, 0, 1)
    places = torch.randint(0, 427 - 64, (number, 2), generator=torch.Generator().manual_seed(seed)).tolist()
    return torch.stack([whole[:, y : y + 64, x : x + 64] for y, x in places])


def test_the_features_of_the_shipped_classifier_tell_photographs_from_damaged_ones():
    a, b = (torch.cat([parts(name, 60, seed) for name in ("china", "flower")]) for seed in (0, 1))
    extractor, real = make_extractor("photos-classifier"), images(a)
    assert (extractor.label, extractor.dimensions, extractor.classes) == ("photos-classifier", 64, 10)

    def distance(fake: Tensor) -> float:
        return evaluate(images(fake), real, extractor, ["fid"])["frechet_distance[photos-classifier]"]

    same = distance(b)
    for kind in ("blur", "noise"):
        values = [same, *(distance(damaged(b, kind, strength)) for strength in (1, 3))]
        assert values == sorted(values) and values[2] > 2 * same, (kind, values)
    collapsed = distance(parts("china", 120, 2))
    assert collapsed > 2 * same, collapsed
    assert distance(a) < 0.01 * same  # what is learnt by heart is not noticed


def test_the_extrapolated_distance_has_lost_the_bias_of_the_number_of_samples():
    sample, options = gaussian(120, 20), Options(infinity=True)
    real = Generated(sample, seed=99)
    real = images(torch.cat([real.piece(i, PIECE, "cpu") for i in range(800)]))
    report = evaluate(Generated(sample), real, Pixels(), ["fid"], samples=400, draws=8, options=options)
    biased, unbiased = (report.values[f"frechet_distance{x}[pixels]"] for x in ("", "_infinity"))
    assert biased.value > 8 * biased.error
    assert abs(unbiased.value) < 0.25 * biased.value


def test_draws_give_the_mean_its_error_and_its_interval():
    real = images(Generated(gaussian(125, 20), seed=9).piece(0, PIECE, "cpu"))
    source = Generated(gaussian(120, 20), seed=4)
    report = evaluate(source, real, Pixels(), ["fid", "isc"], samples=128, draws=3, options=Options(splits=4))
    singles = [evaluate(source.redrawn(i), real, Pixels(), ["fid"], samples=128) for i in range(3)]
    values = torch.tensor([single["frechet_distance[pixels]"] for single in singles], dtype=torch.float64)
    found = report.values["frechet_distance[pixels]"]
    error = values.std() / math.sqrt(3)
    assert len(set(values.tolist())) == 3
    assert found.value == pytest.approx(values.mean().item())
    assert found.error == pytest.approx(error.item())
    reach = 4.302652729911275 * error.item()  # Student's t, two degrees of freedom
    assert found.interval == pytest.approx((found.value - reach, found.value + reach))
    assert singles[0].values["frechet_distance[pixels]"].interval is None
