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

from gantrain.data.pixels import encode
from gantrain.data.readers.images import load
from gantrain.errors import UserError
from gantrain.metrics import (
    DensityCoverage,
    Generated,
    Images,
    Options,
    authenticity,
    density_coverage,
    evaluate,
    make_extractor,
    neighbours,
    open_images,
)
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
    whole = torch.tensor(load(Path(str(file)).read_bytes(), channels=3)).permute(2, 0, 1)
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


# On a line: the radii for k = 1 are 1, 1, 2 and 7, for k = 2 they are 3, 2, 3 and 9.
REAL = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
# The distances of the fakes from the reals are (½ ½ 2½ 9½), (3 2 0 7) and (20 19 17 10).
FAKE = torch.tensor([[0.5], [3.0], [20.0]])


def test_density_coverage_and_authenticity_by_hand():
    # Balls of k = 1: 0.5 lies in those of 0 and 1, 3 in that of 3 and on the surface of that of 10, 20 in none.
    assert density_coverage(REAL, FAKE, k=1) == (3 / 3, 3 / 4)
    # Balls of k = 2: 0.5 lies in those of 0, 1 and 3, 3 in those of 3 and 10, and on the surfaces of the others.
    density, coverage = density_coverage(REAL, FAKE, k=2)
    assert (density, coverage) == (5 / (2 * 3), 1.0)
    # 0.5 is nearer to 0 than its neighbour 1 is, 3 is a copy, and 20 is farther from 10 than 3 is.
    assert authenticity(REAL, FAKE) == 1 / 3
    # As far as the neighbour is not farther.
    assert authenticity(REAL, torch.tensor([[-1.0]])) == 0.0 and authenticity(REAL, torch.tensor([[-1.5]])) == 1.0


def by_definition(real, fake, k):
    """Density, coverage and authenticity by loops over their equations."""
    distance = lambda x, y: (x.double() - y.double()).square().sum().sqrt().item()  # noqa: E731
    others = [sorted(distance(x, z) for j, z in enumerate(real) if j != i) for i, x in enumerate(real)]
    matrix = [[distance(x, y) for y in fake] for x in real]
    density = sum(d < own[k - 1] for row, own in zip(matrix, others, strict=True) for d in row) / (k * len(fake))
    coverage = sum(min(row) < own[k - 1] for row, own in zip(matrix, others, strict=True)) / len(real)
    authentic = 0
    for column in zip(*matrix, strict=True):
        nearest = min(range(len(real)), key=column.__getitem__)
        authentic += column[nearest] > others[nearest][0]
    return density, coverage, authentic / len(fake)


@pytest.mark.parametrize("kind", ["normal", "ties", "copies", "far away"])
@pytest.mark.parametrize("memory", ["whole", "blocks"])
def test_density_coverage_and_authenticity_by_their_definitions(monkeypatch, kind, memory):
    if memory == "blocks":
        monkeypatch.setattr("gantrain.metrics.distances._ENTRIES", 100)
        monkeypatch.setattr("gantrain.metrics.distances._COLUMNS", 7)
    random = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(n, 3, generator=random) for n in (40, 30))
    if kind == "ties":  # tenths, which binary numbers cannot hold
        real, fake = (x.round().clamp(-1, 1) / 10 for x in (real, fake))
    elif kind == "copies":
        fake[:20], real[5:9] = real[:20], real[:4]
    elif kind == "far away":  # where |x|² - 2xy + |y|² in single precision would be noise
        real, fake = real + 1e4, fake + 1e4
    for k in (1, 5):
        density, coverage, authentic = by_definition(real, fake, k)
        found = density_coverage(real, fake, k)
        assert (found.density, found.coverage) == (pytest.approx(density), pytest.approx(coverage))
        assert authenticity(real, fake) == pytest.approx(authentic)
    if kind == "copies":
        assert authenticity(real, fake) < 0.5


def test_features_that_cannot_be_compared_are_one_line():
    for arguments, message in (
        ((REAL, FAKE, 4), "k: expected a whole number from 1 to 3, one less than there are real samples, got 4"),
        ((REAL, FAKE, 2.5), "k: expected a whole number from 1 to 3, .* got 2.5"),
        ((REAL, FAKE[:, 0]), r"fake: expected real features \(samples, dimensions\), got the shape \(3,\)"),
        ((REAL, FAKE.repeat(1, 2)), "fake: has 2 features, and real has 1"),
        ((REAL * torch.nan, FAKE), "real: the features hold NaN or infinity"),
        ((REAL, "features"), "fake: expected features"),
    ):
        with pytest.raises(UserError, match=message):
            density_coverage(*arguments)
    with pytest.raises(UserError, match="real: expected at least 2 samples, got 1"):
        authenticity(REAL[:1], FAKE)


def test_the_distance_within_each_class_is_the_mean_of_those_of_the_classes(classifier, tmp_path):
    order = torch.randperm(len(DIGITS.samples), generator=torch.Generator().manual_seed(0))
    halves = [order[:900], order[900:]]

    class Part:
        def __init__(self, rows, names=None):
            self.samples, self.labels, self.class_names = DIGITS.samples[rows], DIGITS.labels[rows], names

    fake, real = (Images(Part(half)) for half in halves)
    found = evaluate(fake, real, classifier, ["intra_class_fid", "fid"])
    assert list(found.values) == [FID, "intra_class_frechet_distance[digits-classifier]"]
    value = found.values["intra_class_frechet_distance[digits-classifier]"]
    each = [
        evaluate(*(images(DIGITS.samples[h][DIGITS.labels[h] == c]) for h in halves), classifier, ["fid"])[FID]
        for c in range(10)
    ]
    assert value.value == pytest.approx(sum(each) / 10) and value.lower_is_better
    assert value.spread == pytest.approx(torch.tensor(each).std(correction=0).item(), rel=1e-5)
    for wrong, message in (
        (images(DIGITS.samples), "data: intra_class_fid compares class by class, and these images have no classes"),
        (
            Images(Part(halves[0][DIGITS.labels[halves[0]] > 0])),
            "data: .*, and there is no image of class 0; take more",
        ),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(wrong, real, classifier, ["intra_class_fid"])
    # Folders name the classes, whatever their numbers are.
    for name, c in (("one", 1), ("nine", 9)):
        written(tmp_path / name, DIGITS.samples[DIGITS.labels == c][:3])
    rows = torch.cat([(DIGITS.labels == c).nonzero()[:3, 0] for c in (1, 9)])
    named = Part(rows, ["", "nine", *"2345678", "one"])
    named.labels = 10 - named.labels
    with pytest.warns(match="3 images of class .* for 64 features"):
        report = evaluate(open_images(tmp_path, 1), Images(named), classifier, ["intra_class_fid"])
    assert abs(report["intra_class_frechet_distance[digits-classifier]"]) < 1e-3
    named.labels, named.class_names = 10 - named.labels, ["", "one", *"2345678", "nine"]
    with pytest.raises(UserError, match="the classes of data are in another order: one, nine"):
        evaluate(open_images(tmp_path, 1), Images(named), classifier, ["intra_class_fid"])


def test_copies_are_memorised_and_far_images_lie_in_no_ball(classifier):
    real = images(DIGITS.samples[:300])
    metrics = ["authenticity", DensityCoverage(k=3)]
    copies = evaluate(images(DIGITS.samples[:100]), real, classifier, metrics)
    names = [f"{name}[digits-classifier]" for name in ("density", "coverage", "authenticity", "memorised")]
    assert list(copies.values) == names and copies.about["prdc_k"] == 3
    assert copies["authenticity[digits-classifier]"] == 0 and copies["memorised[digits-classifier]"] == 1
    assert copies["coverage[digits-classifier]"] >= 1 / 3
    assert [value.lower_is_better for value in copies.values.values()] == [False, False, False, True]
    far = evaluate(images(255 - DIGITS.samples[:100]), real, classifier, metrics)
    assert far["density[digits-classifier]"] < 0.1 and far["authenticity[digits-classifier]"] > 0.8
