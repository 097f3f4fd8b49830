"""Real processes share the images and agree on the numbers."""

from __future__ import annotations

import pytest
import torch
from forked import together
from image_sets import DIGITS, Pixels, game, gaussian, images, written

from gantrain.distributed.rendezvous import process_group
from gantrain.errors import UserError
from gantrain.metrics import Folder, Generated, Images, Metric, Options, evaluate

OPTIONS = Options(subset_size=100, subsets=5, splits=4, infinity=True)


class Numbered(Metric):
    """A metric of a user's own, which depends on the order of the images and of their features."""

    better = {"images": "lower", "features": "lower"}
    needs = ("images", "features")

    def measure(self, fake, real):
        sums = {}
        for name in self.better:
            one, other = (getattr(each, name).flatten(1).double().sum(1) for each in (fake, real))
            sums[name] = (one * torch.arange(len(one))).mean() - (other * torch.arange(len(other))).mean()
        return sums


METRICS = ["fid", "isc", "kid", "prc", "prdc", "authenticity", Numbered()]


class Normalised(Pixels):
    """So that kernels and distances are of order one."""

    def __call__(self, images):
        output = super().__call__(images)
        return type(output)(output.features / 255, output.logits / 255)


def measured(folder=None, cache=None, path=None):
    made = game(conditional=True)
    extractor = Normalised((1, 8, 8))
    real = Images(DIGITS) if folder is None else Folder(folder, 1)
    source = Generated.of(made, seed=3, labels=DIGITS.labels)
    report = evaluate(
        source, real, extractor, METRICS, samples=333, real_samples=300, cache=cache, options=OPTIONS, draws=2
    )
    return report.scalars, extractor.seen


def in_a_process(folder, cache):
    """What is measured of data in memory, then of a folder without a cache, and with one."""
    with process_group(cpu=True):
        return [measured(), measured(folder, cache), measured(folder, cache)]


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def shared(request, tmp_path_factory):
    """The number of processes, the folder, and what each of them measured."""
    there = tmp_path_factory.mktemp("shared")
    folder = written(there / "images", DIGITS.samples[:310])
    answers = together(in_a_process, folder, there / "cache", world=request.param)
    return request.param, folder, list(zip(*answers, strict=True))


def test_the_numbers_are_those_of_one_process(shared):
    world, _, (answers, *_) = shared
    alone, seen = measured()
    for scalars, _ in answers:
        assert scalars == answers[0][0]
        assert scalars == pytest.approx(alone, rel=1e-6)
    shares = [count for _, count in answers]
    assert sum(shares) == seen and max(shares) <= seen / world + 3 * 64


def test_they_share_a_folder_and_a_cache(shared):
    _, folder, (_, *rounds) = shared
    alone, seen = measured(folder)
    for expected, answers in zip((seen, seen - 300), rounds, strict=True):
        assert sum(count for _, count in answers) == expected
        for scalars, _ in answers:
            assert scalars == pytest.approx(alone, rel=1e-6)


def wrong(kind, folder):
    with process_group(cpu=True) as processes:
        rank = processes.process_index

        def sample(n, seed):
            out = gaussian(120, 20, (1, 8, 8))(n, seed)
            return out * torch.nan if rank == 1 and kind == "nan" else out

        real = Folder(folder, 1) if kind == "file" else images(DIGITS.samples[:200])
        cache = None if kind == "nan" else folder.parent / "cache"
        try:
            evaluate(Generated(sample), real, Pixels((1, 8, 8)), ["fid"], samples=200, cache=cache)
        except UserError as error:
            return str(error)


@pytest.mark.parametrize(
    ("kind", "message"), [("nan", "generator: sample 64 holds NaN"), ("file", "00070.png: cannot be")]
)
def test_what_is_wrong_in_one_process_is_said_by_all(tmp_path, kind, message):
    folder = written(tmp_path / "images", DIGITS.samples[:100])
    (folder / "00070.png").write_text("no image")
    first, second = together(wrong, kind, folder)
    assert message in first and first == second
