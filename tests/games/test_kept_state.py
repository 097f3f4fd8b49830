"""What parts of a game keep from step to step: it moves once in a step, and is saved."""

import numpy as np
import pytest
import torch
from cases import few
from forked import gantrain
from tiny import DIGITS, back_to, config_of, rows, same, state, write

from gantrain.commands.train import train
from gantrain.data import Batch, StepMeans
from gantrain.games.penalties import LeCam, Scored

KEPT = (
    "game.penalties=[{name: lecam, start: 3, decay: 0.7, weight: 2.0}, auxiliary_classifier]",
    "game.conditional=generator",
    "game.augmentations=[{name: ada, every: 2, kimg: 0.5, target: 0.1}]",
    "game.discriminator.optimizer.lr=0.02",
    "log.every=1",
    "run.steps=8",
    "checkpoint={every: 4, keep: 9}",
)
RAPP = "outer={name: rapp, inner_steps: 3}"
SAMPA = "game.discriminator.sharpness={name: sampa, rho: 0.05}"


def value(penalty, real, fake, step):
    real, fake = (torch.tensor(each, requires_grad=True) for each in (real, fake))
    batch = Batch(torch.zeros(len(real), 1), None, index=step, step=step, seed=0)
    with torch.enable_grad():
        return penalty(None, Scored(real, None, real), Scored(fake, None, fake), batch)


def test_lecam_over_a_sequence_of_logits():
    penalty, generator = LeCam(weight=0.3, decay=0.9, start=2), np.random.default_rng(0)
    of_real = of_fake = 0.0
    for step in range(6):
        real, fake = (generator.normal(mean, 2, size=5).astype("float32") for mean in (1, -1))
        found = value(penalty, real, fake, step)
        again = value(penalty, -real, -fake, step) if step == 4 else None  # another evaluation of the step
        if step < 2:
            of_real, of_fake = real.mean(), fake.mean()
            assert found == 0
        else:
            of_real = 0.9 * of_real + 0.1 * real.mean()
            of_fake = 0.9 * of_fake + 0.1 * fake.mean()

            def term(real, fake, of_real=of_real, of_fake=of_fake):
                above, below = np.maximum(real - of_fake, 0), np.maximum(of_real - fake, 0)
                return 0.3 * ((above**2).mean() + (below**2).mean())

            assert found.item() == pytest.approx(term(real, fake), rel=1e-5)
            assert again is None or again.item() == pytest.approx(term(-real, -fake), rel=1e-5)
        scalars = penalty.scalars()
        assert (scalars["real"].item(), scalars["fake"].item()) == pytest.approx((of_real, of_fake), rel=1e-5)


def test_the_averages_are_constants():
    penalty = LeCam(decay=0.5, start=0)
    real = torch.tensor([1.0, 3.0], requires_grad=True)
    batch = Batch(torch.zeros(2, 1), None, index=0, step=0, seed=0)
    penalty(None, Scored(real, None, real), Scored(real, None, real - 2), batch).backward()
    # a_real = 2, a_fake = 0; 0.3 [relu(r)^2 + relu(2 - (r - 2))^2] / 2 with r = 1, 3.
    assert real.grad.tolist() == pytest.approx([0.3 * (1 - 3), 0.3 * (3 - 1)])


def test_a_batch_of_no_step_moves_nothing():
    penalty = LeCam(start=0)
    value(penalty, [1.0, 2.0], [0.0, 0.0], 0)
    before = penalty.state_dict()
    batch = Batch(torch.zeros(2, 1), None, index=0, step=None, seed=0)
    scored = Scored(torch.zeros(2), None, torch.tensor([9.0, 9.0], requires_grad=True))
    assert penalty(None, scored, scored, batch).item() == pytest.approx(0.3 * (9 - 0.0) ** 2)
    assert same(penalty.state_dict(), before)


def test_means_over_micro_batches_are_known_at_the_last():
    means, found = StepMeans(), []
    for part, numbers in ((0, [1.0, 2.0]), (0, [50.0]), (1, [3.0, 6.0]), (1, [70.0]), (2, [9.0, 9.0]), (2, [80.0])):
        batch = Batch(torch.zeros(2, 1), None, index=0, step=5, seed=0)
        batch.part = part, 3
        found.append(means(batch, torch.tensor(numbers)))
    assert [each is not None for each in found] == [False] * 4 + [True, False]
    assert found[4].item() == pytest.approx(5.0)


def test_all_micro_batches_of_an_evaluation_see_the_same_averages():
    penalty, found = LeCam(weight=1.0, decay=0.5, start=0), []
    for step in (0, 1):
        for part in (0, 1, 0, 1):  # two evaluations
            batch = Batch(torch.zeros(1, 1), None, index=step, step=step, seed=0)
            batch.part = part, 2
            real = torch.tensor([4.0 + 2 * part], requires_grad=True)
            found.append(penalty(None, Scored(real, None, real), Scored(real, None, real - 4), batch).item())
    # The averages of real and fake logits are 5 and 1 from the end of the first evaluation on.
    assert found == [0.0, 0.0, *[9.0 + 25, 25.0 + 9] * 3]


@pytest.mark.parametrize("overrides", few([(RAPP, SAMPA), ("outer=lookahead", "data.accumulation=2")], (RAPP, SAMPA)))
def test_a_resumed_run_goes_on_with_it(tmp_path, overrides):
    config = config_of(DIGITS, tmp_path, *KEPT, *overrides)
    train(config)
    folder = tmp_path / "digits"
    whole, log = state(folder), rows(folder)
    back_to(folder, 4)
    train(config, resume=True)
    assert same(state(folder), whole) and rows(folder) == log
    kept = whole["field"]["game"]
    assert kept["augmentations.0"]["p"] > 0 and kept["penalties.0"]["moved"]
    # p moves at every second step, by 2 * 32 / 500.
    moves = np.diff([0.0] + [row["ada/p"] for row in log]) * 500 / 64
    assert [abs(round(move, 3)) in (0, 1) for move in moves] == [True] * 8 and not moves[::2].any()
    assert whole["discriminator"]["auxiliary_classifier.weight"].shape[0] == 10
    assert all(row["score/lecam"] == 0 for row in log[:3]) and log[5]["score/lecam"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", [RAPP, SAMPA])
def test_two_processes_keep_what_one_keeps(tmp_path, method):
    """With SAMPa each of them evaluates at another point, and the first one's counts."""
    file = write(tmp_path, DIGITS, *KEPT, method, "run.steps=6")
    gantrain(tmp_path, "train", file, "run.name=one")
    gantrain(tmp_path, "train", file, "run.name=two", "--processes", "2")
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == 6
    for ours, theirs in zip(one, two, strict=True):
        for name in ("lecam/real", "lecam/fake", "score/lecam", "ada/p", "ada/r", "score/auxiliary_classifier"):
            assert ours[name] == pytest.approx(theirs[name], rel=2e-3, abs=1e-4)
