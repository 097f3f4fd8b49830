"""The numbers are right: closed forms, monotone under damage, equal to torch-fidelity's on the same PNG files."""

from __future__ import annotations

import math

import pytest
import torch
from image_sets import DIGITS, Pixels, gaussian, generated, images, written
from later import Later
from torch.nn.functional import avg_pool2d, pad

from gantrain.data.pixels import encode
from gantrain.errors import UserError
from gantrain.metrics import Generated, Images, Options, evaluate, neighbours, open_images
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


def test_neighbours_are_those_of_all_distances(classifier):
    torch.manual_seed(0)
    data = DIGITS
    fakes = torch.rand(7, 1, 8, 8) * 2 - 1
    fakes[3] = data.decode(data.samples[100:101])[0]
    rounded, real = data.decode((fakes + 1).mul(127.5).round().byte()), data.decode(data.samples)
    spaces = {None: (rounded, real), classifier: tuple(classifier(encode(x)).features for x in (rounded, real))}
    for extractor, (left, right) in spaces.items():
        found = neighbours(fakes, data, 4, extractor)
        distances = (left.flatten(1).double()[:, None] - right.flatten(1).double()).square().sum(2).sqrt()
        expected, rows = distances.sort(dim=1, stable=True)
        # Features are rounded otherwise in batches of other sizes.
        torch.testing.assert_close(found.distances, expected[:, :4], rtol=1e-5, atol=1e-5)
        assert found.rows[3, 0] == 100
        assert extractor is not None or torch.equal(found.rows, rows[:, :4]) and found.distances[3, 0] == 0
    for wrong, message in (((fakes[:, :, :4], data), "have the shape"), ((fakes, data, 0), "expected from 1 to 1")):
        with pytest.raises(UserError, match=f"^neighbours: .*{message}"):
            neighbours(*wrong)


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


def damaged(kind: str, strength: int):
    samples = DIGITS.samples[::2]
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
        evaluate(images(damaged(kind, strength)), real, classifier, ["fid", "kid", "prc"], options=options)
        for strength in range(4)
    ]
    for name in (FID, KID):
        values = [report[name] for report in reports]
        assert values == sorted(values) and values[3] > 10 * abs(values[0]), name
    if kind == "dropped modes":
        assert reports[3]["recall[digits-classifier]"] < 0.8 * reports[0]["recall[digits-classifier]"]
        assert reports[3]["precision[digits-classifier]"] > 0.9 * reports[0]["precision[digits-classifier]"]


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
