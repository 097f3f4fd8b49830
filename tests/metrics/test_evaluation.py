"""One evaluation: what it leaves alone, what it says beside its numbers, and what it refuses."""

from __future__ import annotations

import json
import math
import random
import sys
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pytest
import torch
from forked import together
from image_sets import DIGITS, Pixels, game, gaussian, generated, images

from gantrain.errors import Notice, UserError
from gantrain.metrics import DensityCoverage, Generated, Images, Metric, Options, PrecisionRecall, evaluate
from gantrain.metrics.frechet_distance import FrechetDistance

SMALL = Options(subset_size=40, subsets=5, splits=5)


def test_nothing_is_left_changed(classifier):
    made = game()
    made.generator.train()
    before = {name: tensor.clone() for name, tensor in made.generator.state_dict().items()}
    states = torch.get_rng_state(), str(np.random.get_state()), random.getstate()
    evaluate(
        Generated.of(made), Images(DIGITS), classifier, ["fid", "isc", "kid", "prc", "ppl"], samples=70, options=SMALL
    )
    assert made.generator.training and torch.is_grad_enabled()
    assert all(torch.equal(before[name], tensor) for name, tensor in made.generator.state_dict().items())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (str(np.random.get_state()), random.getstate())


def test_a_generator_that_moves_the_global_random_state_is_undone():
    def sample(n, seed):
        torch.manual_seed(seed)
        return torch.rand(n, 1, 4, 4)

    before = torch.get_rng_state()
    evaluate(Generated(sample), None, Pixels(), ["isc"], samples=70)
    assert torch.equal(before, torch.get_rng_state())


def test_numbers_are_a_function_of_the_seeds_and_not_of_the_batch_size(classifier):
    def found(batch_size=64, seed=0):
        return evaluate(
            generated(seed=seed), Images(DIGITS), classifier, samples=100, batch_size=batch_size, options=SMALL
        ).scalars  # fmt: skip

    first = found()
    assert found() == first != found(seed=1)
    for batch_size in (1, 7, 1000):
        assert found(batch_size) == pytest.approx(first, rel=1e-4)


def test_a_conditional_generator_is_evaluated(classifier):
    report = evaluate(
        Generated.of(game(conditional=True), labels=DIGITS.labels), Images(DIGITS), classifier,
        ["fid", "isc", "ppl"], samples=100, options=SMALL,
    )  # fmt: skip
    assert all(np.isfinite(value) for value in report.scalars.values())


def test_the_report_can_be_quoted(classifier):
    real = Images(DIGITS, "digits")
    report = evaluate(
        generated(seed=7), real, classifier, ["fid", "isc", "kid", "prc", "ppl"], samples=80, real_samples=200, draws=2,
        options=Options(subset_size=40, subsets=5, splits=5, infinity=True),
    )  # fmt: skip
    plain = json.loads(json.dumps(report.as_dict()))
    names = (
        "frechet_distance",
        "frechet_distance_infinity",
        "inception_score",
        "kernel_distance",
        "precision",
        "recall",
    )
    assert list(plain["values"]) == [f"{name}[digits-classifier]" for name in (*names, "perceptual_path_length")]
    assert not any("fid" in name or "kid" in name for name in plain["values"])
    about = plain["about"]
    assert about["fake"] == {"name": "generator", "seed": 7, "samples": 80}
    assert about["real"] == {"name": "digits", "samples": 200} and about["draws"] == 2
    assert about["extractor"] == "digits-classifier" and len(about["weights_sha256"]) == 64
    assert about["torch_fidelity"] == version("torch-fidelity") and about["seed"] == 2020
    assert "rounded to the nearest" in about["preprocessing"] and "8 x 8" in about["preprocessing"]
    assert (about["subset_size"], about["subsets"], about["splits"], about["prc_k"]) == (40, 5, 5, 3)
    directions = {name.partition("[")[0]: value["lower_is_better"] for name, value in plain["values"].items()}
    assert [name for name, lower in directions.items() if not lower] == ["inception_score", "precision", "recall"]
    assert all(value["error"] >= 0 and value["interval"][0] <= value["value"] for value in plain["values"].values())


def test_options_are_what_they_say():
    fake, real = images(DIGITS.samples[:90]), images(DIGITS.samples[90:200])
    extractor = Pixels((1, 8, 8))

    def found(metric, **options):
        options = {"subset_size": 40, "subsets": 5, "splits": 5} | options
        return evaluate(fake, real, extractor, [metric], options=Options(**options)).scalars

    for metric, change in (
        ("kid", {"subset_size": 80}), ("kid", {"subsets": 9}), ("kid", {"seed": 1}),
        ("isc", {"splits": 3}), ("isc", {"seed": 1}),
    ):  # fmt: skip
        assert found(metric) != found(metric, **change), change
    for metric in (PrecisionRecall, DensityCoverage):
        assert found(metric(k=3)) != found(metric(k=9)), metric


def imported() -> bool:
    evaluate(Generated(gaussian(100, 9)), None, Pixels(), ["isc"], samples=64)
    return "torch_fidelity" in sys.modules


def test_torch_fidelity_is_imported_when_it_is_used():
    assert together(imported, world=1) == [False]


def nan_generator():
    return Generated(lambda n, seed: torch.full((n, 1, 4, 4), torch.nan))


REAL = images(Generated(gaussian(100, 9)).piece(0, 60, "cpu"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"metrics": ["fdi"]},
            "metrics: unknown 'fdi'; expected one of fid, isc, kid, prc, prdc, .*, ppl; did you mean 'fid'",
        ),
        ({"metrics": []}, "metrics: none were given"),
        ({"real": None}, "real: fid compares with real images, and none were given"),
        ({"real": nan_generator()}, "generator: a generator cannot stand for the real images"),
        (
            {"samples": 39, "metrics": ["kid"]},
            "generator: kid compares subsets of 40 images and there are 39; take more",
        ),
        (
            {"real": images(REAL.samples[:9]), "metrics": ["kid"]},
            "data: kid compares subsets of 40 images and there are 9",
        ),
        ({"samples": 3, "metrics": ["prc"]}, "generator: prc looks for 3 neighbours of each image, and there are 3"),
        ({"samples": 4, "metrics": ["isc"]}, "generator: isc has 5 splits, and there are 4 images"),
        ({"samples": 1, "metrics": ["fid"]}, "generator: fid needs at least 2 images, got 1"),
        ({"samples": 0}, "samples: expected at least 1, got 0"),
        ({"draws": 0}, "draws: expected at least 1, got 0"),
        ({"samples": None}, "generator: how many samples"),
        ({"fake": nan_generator(), "metrics": ["isc"]}, "generator: sample 0 holds NaN"),
        ({"fake": REAL, "samples": None, "draws": 2, "metrics": ["isc"]}, "data: is one draw; only a generator"),
        ({"fake": REAL, "samples": None, "metrics": ["ppl"]}, "data: ppl is of a generator, and these are images"),
        ({"metrics": ["ppl"]}, "generator: ppl needs the generator's latents"),
    ],
)
def test_what_cannot_be_answered_is_one_line_before_anything_is_computed(options, message):
    given = {
        "fake": Generated(gaussian(100, 9)),
        "real": REAL,
        "metrics": ["fid", "isc"],
        "samples": 60,
        "options": SMALL,
    }
    given |= options
    extractor = Pixels()
    with pytest.raises(UserError, match=message) as caught:
        evaluate(given.pop("fake"), given.pop("real"), extractor, given.pop("metrics"), **given)
    assert "\n" not in str(caught.value) and extractor.seen == 0


@pytest.mark.parametrize("wrong", [{"splits": 0}, {"subsets": 0}, {"subset_size": 1}, {"seed": -1}, {"epsilon": 0.0}])
def test_options_out_of_range_are_one_line(wrong):
    with pytest.raises(UserError, match=f"{next(iter(wrong))}: expected"):
        Options(**wrong)


def test_misspelt_options_are_errors():
    with pytest.raises(TypeError, match="kid_subest_size"):
        Options(kid_subest_size=1)
    with pytest.raises(TypeError, match="smaples"):
        evaluate(generated(), REAL, Pixels(), smaples=3)


def test_fewer_images_than_features_are_a_notice_that_says_why():
    with pytest.warns(Notice) as caught:
        evaluate(Generated(gaussian(100, 9)), REAL, Pixels(), ["fid"], samples=16)
    (message,) = [str(w.message) for w in caught]
    assert (
        message.startswith("generator: 16 images for 16 features: their covariance is singular") and "\n" not in message
    )


def test_an_extractor_that_breaks_is_told_from_the_images():
    class Broken(Pixels):
        def __call__(self, images):
            output = super().__call__(images)
            return output._replace(features=output.features * torch.inf)

    with pytest.raises(UserError, match="data: the extractor pixels returned NaN or infinity"):
        evaluate(REAL, None, Broken(), ["isc"])


class MeanFeature(Metric):
    """The distance of the mean features of fake and real images."""

    better = {"mean_feature": "higher"}
    least = 2

    def measure(self, fake, real):
        return (fake.features.mean(0) - real.features.mean(0)).norm()


def test_a_users_metric_is_computed_beside_ours():
    fake, extractor = Generated(gaussian(100, 9)), Pixels()
    report = evaluate(fake, REAL, extractor, [MeanFeature(), "kid"], samples=60, options=SMALL)
    assert list(report.values) == ["kernel_distance[pixels]", "mean_feature[pixels]"]
    features = [extractor(source.piece(0, 60, "cpu")).features for source in (fake, REAL)]
    assert report["mean_feature[pixels]"] == pytest.approx(float((features[0].mean(0) - features[1].mean(0)).norm()))
    assert not report.values["mean_feature[pixels]"].lower_is_better
    with pytest.raises(UserError, match="generator: MeanFeature needs at least 2 images, got 1"):
        evaluate(fake, REAL, extractor, [MeanFeature()], samples=1)
    with pytest.raises(UserError, match="real: MeanFeature compares with real images, and none were given"):
        evaluate(fake, None, extractor, [MeanFeature()], samples=60)


class Undefined(Metric):
    """A value that is no finite number."""

    better = {"undefined": "lower"}
    needs = ("images",)
    compares = False

    def __init__(self, value):
        self.value = value

    def measure(self, fake, real):
        return self.value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_has_no_error_over_the_draws(value):
    report = evaluate(Generated(gaussian(100, 9)), None, metrics=[Undefined(value)], samples=20, draws=3)
    found = report.values["undefined"]
    assert str(found.value) == str(value) and math.isnan(found.error) and all(map(math.isnan, found.interval))


@dataclass
class Spread(Metric):
    """A metric as a dataclass, which cannot be hashed."""

    power: int = 1
    better = {"deviation": "higher"}
    needs = ("images",)
    compares = False

    def measure(self, fake, real):
        return fake.images.float().std() ** self.power


def test_a_metric_need_not_be_hashable():
    metric = Spread(2)
    fake = Generated(gaussian(100, 9))
    once, twice = (evaluate(fake, None, metrics=given, samples=20).scalars for given in ([metric], [metric, metric]))
    assert once == twice == {"deviation": pytest.approx(float(fake.piece(0, 20, "cpu").float().std() ** 2))}


class Doubled(Pixels):
    """Other features of the same images."""

    name, label, identity = "doubled", "doubled", "doubled"

    def __call__(self, images):
        output = super().__call__(images)
        return output._replace(features=2 * output.features)


def test_metrics_with_features_of_their_own_share_the_images_and_each_network_sees_them_once(tmp_path):
    made = []

    def sample(n, seed):
        made.append(n)
        return gaussian(100, 9)(n, seed)

    pixels, doubled = Pixels(), Doubled()
    own, mine = FrechetDistance(), MeanFeature()
    own.extractor = mine.extractor = doubled
    metrics = ["fid", own, "kid", mine, DensityCoverage()]
    report = evaluate(Generated(sample), REAL, pixels, metrics, samples=60, options=SMALL, cache=tmp_path)
    assert list(report.values) == [
        *("frechet_distance[pixels]", "frechet_distance[doubled]", "kernel_distance[pixels]"),
        *("density[pixels]", "coverage[pixels]", "mean_feature[doubled]"),
    ]
    assert sum(made) == 60 and pixels.seen == doubled.seen == 120
    assert report["frechet_distance[doubled]"] == pytest.approx(4 * report["frechet_distance[pixels]"])
    assert report.about["extractor"] == {"pixels": "pixels", "doubled": "doubled"}
    alone = [evaluate(Generated(sample), REAL, e, ["fid"], samples=60).scalars for e in (pixels, Doubled())]
    assert all(report[name] == value for scalars in alone for name, value in scalars.items())
    # The cached statistics of the real images are those of each network.
    seen = pixels.seen, doubled.seen
    again = evaluate(Generated(sample), REAL, pixels, metrics, samples=60, options=SMALL, cache=tmp_path)
    assert again.scalars == report.scalars and (pixels.seen - seen[0], doubled.seen - seen[1]) == (60, 60)
    with pytest.raises(UserError, match=r"metrics: frechet_distance\[doubled\] is reported twice"):
        evaluate(Generated(sample), REAL, doubled, ["fid", own], samples=60)
