import pytest
import torch

from gantrain.data.datasets.label_noise import noisy_labels
from gantrain.errors import UserError

N, K = 20000, 5
LABELS = torch.arange(N) % K


@pytest.mark.parametrize("probability", [0.2, 0.8, 1.0])
def test_a_label_becomes_every_class_alike_also_its_own(probability):
    out = noisy_labels(LABELS, K, probability, seed=0)
    table = torch.zeros(K, K).index_put_((LABELS, out), torch.ones(N), accumulate=True) / (N / K)
    expected = (1 - probability) * torch.eye(K) + probability / K
    assert (table - expected).abs().max() < 0.04, "rows are true classes, columns what they became"
    wrong = (out != LABELS).float().mean().item()
    assert wrong == pytest.approx(probability * (K - 1) / K, abs=0.015)


def test_the_noise_is_a_function_of_the_seed_and_leaves_labels_and_generator_alone():
    before, state = LABELS.clone(), torch.get_rng_state()
    assert torch.equal(noisy_labels(LABELS, K, 0.4, 1), noisy_labels(LABELS, K, 0.4, 1))
    assert not torch.equal(noisy_labels(LABELS, K, 0.4, 1), noisy_labels(LABELS, K, 0.4, 2))
    assert torch.equal(LABELS, before) and torch.equal(torch.get_rng_state(), state)


def test_more_noise_changes_the_same_labels_in_the_same_way():
    little, much = noisy_labels(LABELS, K, 0.2, 0), noisy_labels(LABELS, K, 0.6, 0)
    changed = little != LABELS
    assert torch.equal(much[changed], little[changed])
    assert (much != LABELS).sum() > 2 * changed.sum()


def test_no_noise_changes_nothing_and_noise_needs_labels():
    assert torch.equal(noisy_labels(LABELS, K, 0.0, 0), LABELS)
    assert noisy_labels(None, 0, 0.0, 0) is None
    with pytest.raises(UserError, match=r"data.label_noise: the data have no labels; expected 0, got 0.3"):
        noisy_labels(None, 0, 0.3, 0)
