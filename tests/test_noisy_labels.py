"""Loss correction and confident learning against cases worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dlbench.noisy_labels import confident_joint, forward_correction, suspects

# Thresholds: the mean of column 0 over labels 0 is (0.9 + 0.7 + 0.2) / 3 = 0.6, of column 1 over labels 1 it is
# (0.8 + 0.6 + 0.1) / 3 = 0.5. So the examples are confidently 0, 0, 1, 1, 1, 0, and none.
PROBABILITIES = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6], [0.9, 0.1]]
LABELS = [0, 0, 0, 1, 1, 1]


def test_without_noise_it_is_cross_entropy():
    logits, labels = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), torch.arange(7) % 4
    for reduction in ("mean", "sum", "none"):
        ours = forward_correction(logits, labels, torch.eye(4), reduction=reduction)
        assert torch.allclose(ours, F.cross_entropy(logits, labels, reduction=reduction), atol=1e-6)


def test_a_correction_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0]])  # 3/4, 1/4
    noisy = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    chance = 3 / 4 * 0.8 + 1 / 4 * 0.4  # to be labelled 0
    assert forward_correction(logits, torch.tensor([0]), noisy).item() == pytest.approx(-math.log(chance))
    assert forward_correction(logits, torch.tensor([1]), noisy).item() == pytest.approx(-math.log(1 - chance))


def test_each_example_may_have_its_own_transition():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, 2], [3, 0, 1]])
    transitions = torch.stack([torch.eye(4), torch.full((4, 4), 0.25)])[:, None]
    ours = forward_correction(logits, labels, transitions, reduction="none").view(2, 3)
    assert torch.allclose(ours[0], F.cross_entropy(logits[0], labels[0], reduction="none"), atol=1e-6)
    assert torch.allclose(ours[1], torch.full((3,), math.log(4.0)))


def test_the_best_answer_is_the_true_label():
    """Labels 0 in 6 of 10 cases, by a transition that explains exactly this from class 1 alone."""
    labels = torch.tensor([0] * 6 + [1] * 4)
    transition = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    logits = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        forward_correction(logits.expand(10, 2), labels, transition).backward()
        optimizer.step()
    assert logits.softmax(1)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("transition", "message"),
    [
        (torch.eye(3), r"shape \[3, 3\]; expected 4 × 4"),
        (2 * torch.eye(4), "rows that do not sum to 1"),
    ],
)
def test_what_is_no_transition_is_refused(transition, message):
    with pytest.raises(ValueError, match=message):
        forward_correction(torch.zeros(2, 4), torch.tensor([0, 1]), transition)


def test_the_confident_joint_by_hand():
    assert confident_joint(PROBABILITIES, LABELS).tolist() == [[2, 1], [1, 2]]
    assert suspects(PROBABILITIES, LABELS).tolist() == [False, False, True, False, False, True]


def test_an_example_without_a_confident_class_is_neither_counted_nor_suspected():
    probabilities = [*PROBABILITIES, [0.55, 0.45]]
    labels = [*LABELS, 1]  # thresholds 0.6 and 0.4875
    assert confident_joint(probabilities, labels).sum() == 6
    assert not suspects(probabilities, labels)[6]


def test_a_class_that_labels_nothing_is_never_confident():
    assert not suspects([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8]], [0, 0]).any()


def test_wrong_labels_are_found_where_the_model_is_right():
    rng = np.random.default_rng(0)
    true = rng.integers(5, size=1000)
    wrong = rng.random(1000) < 0.3
    labels = np.where(wrong, (true + rng.integers(1, 5, size=1000)) % 5, true)
    probabilities = np.full((1000, 5), 0.05)
    probabilities[np.arange(1000), true] = 0.8
    assert np.array_equal(suspects(probabilities, labels), wrong)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.5, 0.5]], [0, 1], r"labels have shape \[2\] .* expected 1 integers"),
        ([[0.5, 0.5]], [2], "labels go from 2 to 2; the predictions have classes 0 to 1"),
        ([[0.5, 0.5]], [0.0], "type float64; expected 1 integers"),
        ([[2.0, -3.0]], [0], "pass logits through a softmax first"),
        ([[0.5, 0.4985]], [0], "off by 0.0015"),
    ],
)
def test_bad_input_is_told(probabilities, labels, message):
    for function in (confident_joint, suspects):
        with pytest.raises(ValueError, match=message):
            function(probabilities, labels)
