"""Metrics by group against what a hand counts, and what is no such input."""

import math

import numpy as np
import pytest
import torch

from dlbench import groups
from dlbench.groups import by_group

# Ten people, two groups. Group a: labels 1 1 0 0, decided 1 0 1 0. Group b: labels 1 1 1 0 0 0, decided 1 1 0 1 0 0.
GROUP = np.array(list("aaaabbbbbb"))
LABEL = np.array([1, 1, 0, 0, 1, 1, 1, 0, 0, 0])
DECIDED = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 0])


@pytest.mark.parametrize(
    ("rate", "a", "b"),
    [
        (groups.accuracy, 1 / 2, 4 / 6),
        (groups.true_positive_rate, 1 / 2, 2 / 3),
        (groups.false_positive_rate, 1 / 2, 1 / 3),
        (groups.false_negative_rate, 1 / 2, 1 / 3),
    ],
)
def test_rates_by_hand(rate, a, b):
    rates = by_group(rate, GROUP, LABEL, DECIDED)
    assert rates.names.tolist() == ["a", "b"]
    assert rates.counts.tolist() == [4, 6]
    assert rates.values == pytest.approx([a, b])
    assert rates["b"] == pytest.approx(b)
    assert rates.gap == pytest.approx(abs(a - b))


def test_differences_by_hand():
    assert by_group(groups.selection_rate, GROUP, DECIDED).values == pytest.approx([1 / 2, 1 / 2])
    assert groups.demographic_parity_difference(DECIDED, GROUP) == 0
    assert groups.equal_opportunity_difference(LABEL, DECIDED, GROUP) == pytest.approx(1 / 6)
    assert groups.equalized_odds_difference(LABEL, DECIDED, GROUP) == pytest.approx(1 / 6)
    decided = np.where(LABEL == 0, GROUP == "a", DECIDED)  # false positives 1 and 0: the greater of both differences
    assert groups.equalized_odds_difference(LABEL, decided, GROUP) == pytest.approx(1)


def test_rates_are_those_of_a_confusion_matrix():
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    y, d = rng.integers(2, size=(2, 500))
    (tn, fp), (fn, tp) = confusion_matrix(y, d)
    assert groups.true_positive_rate(y, d) == pytest.approx(tp / (tp + fn))
    assert groups.false_positive_rate(y, d) == pytest.approx(fp / (fp + tn))
    assert groups.false_negative_rate(y, d) == pytest.approx(fn / (tp + fn))
    assert groups.accuracy(y, d) == pytest.approx((tp + tn) / 500)


def test_three_groups_differ_by_their_extremes():
    group = np.repeat([7, 8, 9], 10)
    decided = np.concatenate([np.arange(10) < share for share in (2, 9, 5)])
    assert groups.demographic_parity_difference(decided, group) == pytest.approx(0.7)
    rates = by_group(groups.selection_rate, group, decided)
    assert rates.worst(better="higher") == (7, pytest.approx(0.2))
    assert rates.worst(better="lower") == (8, pytest.approx(0.9))


def test_any_metric_of_any_arrays():
    scores = np.arange(20.0).reshape(10, 2)
    sums = by_group(lambda s, y: float((s.sum(1) * y).sum()), GROUP, scores, LABEL)
    assert sums.values.tolist() == [1 + 5, 17 + 21 + 25]


def test_tensors_and_truth_values_will_do():
    rates = by_group(
        groups.accuracy, torch.tensor([0, 0, 1]), torch.tensor([1, 0, 1]), torch.tensor([True, True, True])
    )
    assert rates.values.tolist() == [0.5, 1.0]


def test_a_rate_that_a_group_lacks_is_unknown_and_not_equal():
    label = np.where(GROUP == "a", 0, LABEL)  # nobody of class 1 in group a
    rates = by_group(groups.true_positive_rate, GROUP, label, DECIDED)
    assert math.isnan(rates["a"])
    assert math.isnan(rates.gap)
    assert rates.worst(better="higher") == ("b", pytest.approx(2 / 3))
    assert math.isnan(groups.equalized_odds_difference(label, DECIDED, GROUP))
    assert math.isnan(by_group(groups.true_positive_rate, GROUP, 0 * label, DECIDED).worst(better="higher")[1])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: by_group(groups.accuracy, GROUP, LABEL[:9], DECIDED), r"array 0 has shape \[9\]; expected 10 rows"),
        (lambda: by_group(groups.accuracy, [], []), r"groups has shape \[0\]"),
        (lambda: by_group(groups.accuracy, np.zeros((2, 2)), LABEL), r"groups has shape \[2, 2\]"),
        (lambda: groups.selection_rate([0.2, 0.8]), "decisions holds .*0.2.*; expected 0 and 1 only. Of scores"),
        (lambda: groups.selection_rate([[0, 1]]), r"decisions has shape \[1, 2\]; expected \[n\]"),
        (lambda: groups.true_positive_rate([0, 1], [0, 1, 1]), "expected as many of both"),
        (lambda: groups.true_positive_rate([0, 2], [0, 1]), "labels holds .*2"),
        (lambda: groups.accuracy([0, 1], [[0], [1]]), r"labels \[2\] and decisions \[2, 1\]"),
    ],
)
def test_what_is_no_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_an_unknown_group_is_named():
    with pytest.raises(KeyError, match="no group 'c'; there are a, b"):
        by_group(groups.accuracy, GROUP, LABEL, DECIDED)["c"]
