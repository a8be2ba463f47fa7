"""Metrics of uncertainty against cases done by hand, closed forms and scikit-learn."""

import math

import numpy as np
import pytest
import torch

from dlbench import uncertainty as u

# Confidences 0.9, 0.8, 0.6, 0.6; the first and the third are right.
P = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
Y = np.array([0, 0, 0, 0])


def calibrated(n, classes=5, seed=0):
    """Probabilities of all kinds, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.5), n)
    return p, (rng.random((n, 1)) > p.cumsum(1)[:, :-1]).sum(1)


def test_calibration_errors_by_hand():
    # ten bins: (0.8, 0.9] 1 of 1 right at 0.9; (0.7, 0.8] 0 of 1 at 0.8; (0.5, 0.6] 1 of 2 at 0.6
    assert u.expected_calibration_error(P, Y, bins=10) == pytest.approx(0.25 * 0.1 + 0.25 * 0.8 + 0.5 * 0.1)
    # two bins of two: 0.6, 0.6 with 1 right; 0.8, 0.9 with 1 right
    assert u.adaptive_calibration_error(P, Y, bins=2) == pytest.approx(0.5 * 0.1 + 0.5 * 0.35)
    assert u.expected_calibration_error(P, Y, bins=1) == pytest.approx(abs(0.725 - 0.5))
    assert u.overconfidence(P, Y) == pytest.approx(0.225)
    assert u.accuracy(P, Y) == 0.5


def test_scores_by_hand():
    assert u.negative_log_likelihood(P, Y) == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.4]).mean())
    assert u.brier_score(P, Y) == pytest.approx(np.mean([2 * 0.01, 2 * 0.64, 2 * 0.16, 2 * 0.36]))
    # by confidence: right, wrong, and two tied of which one is right: risks 0, 1/2, 1.5/3, 2/4
    assert u.area_under_risk_coverage(P, Y) == pytest.approx((0 + 0.5 + 0.5 + 0.5) / 4)


def test_what_was_called_impossible_has_a_finite_likelihood():
    assert u.negative_log_likelihood([[1.0, 0.0]], [1]) == pytest.approx(708.4, abs=0.1)


def test_the_order_of_ties_does_not_matter():
    p = np.tile([0.7, 0.3], (6, 1))
    assert u.area_under_risk_coverage(p, [1, 1, 1, 0, 0, 0]) == pytest.approx(0.5)
    assert u.area_under_risk_coverage(p, [0, 0, 0, 1, 1, 1]) == pytest.approx(0.5)


def test_reliability_bins_are_closed_above():
    bins = u.reliability([[0.5, 0.5], [0.6, 0.4], [1.0, 0.0]], [0, 1, 0], bins=2)
    assert bins.share.tolist() == pytest.approx([1 / 3, 2 / 3])  # one half belongs to the lower
    assert bins.confidence.tolist() == pytest.approx([0.5, 0.8])
    assert bins.accuracy.tolist() == pytest.approx([1.0, 0.5])


def test_as_scikit_learn():
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss, log_loss

    p, y = calibrated(500)
    assert u.negative_log_likelihood(p, y) == pytest.approx(log_loss(y, p))
    one_hot = np.eye(5)[y]
    binary = [brier_score_loss(one_hot[:, c], p[:, c]) for c in range(5)]
    assert u.brier_score(p, y) == pytest.approx(sum(binary))
    share_right, confidence = calibration_curve(p.argmax(1) == y, p.max(1), n_bins=15)
    bins = u.reliability(p, y)
    assert bins.accuracy == pytest.approx(share_right)
    assert bins.confidence == pytest.approx(confidence)


def test_entropies():
    assert u.predictive_entropy([[0.5, 0.5], [1.0, 0.0]]).tolist() == pytest.approx([math.log(2), 0.0])
    split = [[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]]  # two members: they disagree on the first example
    assert u.mutual_information(split).tolist() == pytest.approx([math.log(2), 0.0])
    p, _ = calibrated(200)
    assert (u.mutual_information(p.reshape(4, 50, 5)) >= 0).all()
    assert np.array_equal(u.mutual_information(p[None]), np.zeros(200))


def test_a_calibrated_model_is_within_its_own_null_and_an_overconfident_one_is_not():
    p, y = calibrated(1000)
    null = u.resampled(u.expected_calibration_error, p, 200, np.random.default_rng(1))
    assert null.shape == (200,)
    assert null.min() <= u.expected_calibration_error(p, y) <= null.max()
    assert null.mean() == pytest.approx(
        np.mean([u.expected_calibration_error(*calibrated(1000, seed=s)) for s in range(50)]), abs=0.004
    )
    sharper = p**3 / (p**3).sum(1, keepdims=True)
    assert (
        u.expected_calibration_error(sharper, y)
        > u.resampled(u.expected_calibration_error, sharper, 50, np.random.default_rng(1)).max()
    )


def test_labels_are_drawn_from_the_probabilities():
    p = np.tile([0.2, 0.5, 0.3], (20_000, 1))
    shares = u.resampled(lambda _, y: (np.asarray(y) == 2).mean(), p, 3, np.random.default_rng(0))
    assert shares == pytest.approx(0.3, abs=0.015)


def test_tensors_are_taken():
    p = torch.tensor(P, dtype=torch.float32, requires_grad=True)
    assert u.expected_calibration_error(p, torch.tensor(Y), bins=3) == pytest.approx(0.225)
    assert u.expected_calibration_error(torch.tensor(P).half(), torch.tensor(Y), bins=1) == pytest.approx(
        0.225, abs=1e-3
    )


SCORES = [
    u.accuracy,
    u.adaptive_calibration_error,
    u.area_under_risk_coverage,
    u.brier_score,
    u.expected_calibration_error,
    u.negative_log_likelihood,
    u.overconfidence,
    u.reliability,
]


@pytest.mark.parametrize("metric", SCORES)
@pytest.mark.parametrize(
    ("p", "y", "says"),
    [
        (P * 4 - 1, Y, "pass logits through a softmax first"),
        (P * 1.01, Y, "off by 0.01"),
        (P[:, 0], Y, r"shape \[4\]; expected \[examples, classes\]"),
        (P[:0], Y[:0], r"shape \[0, 2\]"),
        (np.where(P > 0.8, np.nan, P), Y, "1 of 8 values are not finite"),
        (P, Y[:3], r"labels have shape \[3\] .* expected 4 integers"),
        (P, Y.astype(float), "expected 4 integers"),
        (P, Y + 2, "labels go from 2 to 2; the predictions have classes 0 to 1"),
        (P, Y - 1, "labels go from -1 to -1"),
    ],
)
def test_bad_input_is_named(metric, p, y, says):
    with pytest.raises(ValueError, match=says):
        metric(p, y)


def test_bad_numbers_are_named():
    for metric in (u.expected_calibration_error, u.adaptive_calibration_error):
        with pytest.raises(ValueError, match="bins is 0"):
            metric(P, Y, bins=0)
    with pytest.raises(ValueError, match="draws is 0"):
        u.resampled(u.brier_score, P, 0, np.random.default_rng())
    with pytest.raises(ValueError, match=r"shape \[4, 2\]; expected probabilities \[members, examples, classes\]"):
        u.mutual_information(P)
    with pytest.raises(ValueError, match="softmax"):
        u.mutual_information(P[None] * 3)
