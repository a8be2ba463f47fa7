"""Intervals and tests against closed forms, hand-computed cases and simulation."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from dlbench import stats

finite = st.floats(-1e6, 1e6, allow_nan=False)


def test_t_interval_by_hand():
    # mean 3, sd sqrt(2.5), sem sqrt(0.5), t(0.975, 4) = 2.7764
    estimate, low, high, n = stats.t_interval([1, 2, 3, 4, 5])
    assert (estimate, n) == (3.0, 5)
    assert high - 3.0 == pytest.approx(2.776445 * math.sqrt(0.5), rel=1e-6)
    assert 3.0 - low == pytest.approx(high - 3.0)


@given(st.lists(finite, min_size=2, max_size=20))
def test_t_interval_is_scipys(values):
    x = np.asarray(values)
    assume(x.std() > 1e-6 * (1 + np.abs(x).max()))  # scipy warns of cancellation below
    low, high = scipy_stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    got = stats.t_interval(values)
    assert got.low == pytest.approx(low, rel=1e-6, abs=1e-6 * (1 + np.abs(x).max()))
    assert got.high == pytest.approx(high, rel=1e-6, abs=1e-6 * (1 + np.abs(x).max()))


def test_t_interval_leaves_out_nan_and_counts_it():
    assert stats.t_interval([1.0, math.nan, 3.0]).n == 2
    assert stats.t_interval([1.0]) == (1.0, -math.inf, math.inf, 1)
    assert math.isnan(stats.t_interval([]).estimate)


def test_log_t_interval_is_the_geometric_mean():
    got = stats.log_t_interval([0.5, 2.0, 1.0])
    assert got.estimate == pytest.approx(1.0)
    assert got.low * got.high == pytest.approx(1.0)
    with pytest.raises(ValueError, match="positive"):
        stats.log_t_interval([1.0, 0.0])


@pytest.mark.parametrize("n", [2, 3, 5, 6, 10])
def test_sign_flip_reaches_its_smallest_p_when_all_signs_agree(n):
    assert stats.sign_flip_p(np.arange(1, n + 1)) == pytest.approx(2 / 2**n)


def test_sign_flip_by_enumeration():
    x = np.array([0.3, -0.1, 0.8, 0.5, 0.2, 0.4])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    means = np.abs((signs * x).mean(1))
    assert stats.sign_flip_p(x) == pytest.approx((means >= abs(x.mean()) - 1e-12).mean())


@pytest.mark.parametrize("n", [2, 6, 11, 40])
def test_sign_flip_is_scipys_permutation_test(n):
    x = np.random.default_rng(n).normal(0.3, 1.0, n)
    theirs = scipy_stats.permutation_test(
        (x,), np.mean, permutation_type="samples", n_resamples=np.inf if n <= 16 else 20_000, rng=1
    )
    assert stats.sign_flip_p(x) == pytest.approx(theirs.pvalue, abs=1e-12 if n <= 16 else 0.02)


def test_sign_flip_degenerate():
    assert stats.sign_flip_p([0.0, 0.0]) == 1.0
    assert stats.sign_flip_p([5.0]) == 1.0
    assert math.isnan(stats.sign_flip_p([math.nan]))


def test_tost_is_the_larger_of_two_one_sided_t_tests():
    x = np.array([0.1, -0.2, 0.05, 0.0, 0.12, -0.07])
    upper = scipy_stats.ttest_1samp(x, 0.3, alternative="less").pvalue
    lower = scipy_stats.ttest_1samp(x, -0.3, alternative="greater").pvalue
    assert stats.tost(x, 0.3) == pytest.approx(max(upper, lower))
    assert stats.tost([0.1, 0.1], 0.2) == 0.0
    assert stats.tost([0.3, 0.3], 0.2) == 1.0
    with pytest.raises(ValueError, match="margin"):
        stats.tost(x, 0.0)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, made monotone
    assert stats.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    adjusted = stats.holm([0.01, math.nan, 0.5])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_p_and_keeps_its_order(p):
    adjusted = stats.holm(p)
    assert all(a >= b - 1e-15 for a, b in zip(adjusted, p, strict=True))
    assert all(adjusted[i] <= adjusted[j] + 1e-15 for i in range(len(p)) for j in range(len(p)) if p[i] < p[j])


def test_median_interval_by_hand():
    # n = 6: P(all on one side) = 1/64 a side, so the extremes cover 96.9 %; n = 5 cannot reach 95 %
    assert stats.median_interval([3, 1, 2, 6, 5, 4]) == (3.5, 1.0, 6.0, 6)
    assert stats.median_interval([1, 2, 3, 4, 5]).high == math.inf


def test_slope_by_hand():
    assert stats.slope([1, 2, 3], [2, 4, 6]) == pytest.approx(2.0)
    assert math.isnan(stats.slope([1, 1], [2, 3]))


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 10, 20])
def test_coverage_of_the_intervals(n):
    """4,000 simulated experiments: t covers 95 %, the median's interval at least that, a 5-seed bootstrap does not."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, n))
    t = [stats.t_interval(x) for x in draws]
    covered = np.mean([i.low <= 0 <= i.high for i in t])
    assert abs(covered - 0.95) < 0.012  # 3.5 standard errors of a simulated coverage
    median = [stats.median_interval(x) for x in draws[:1000]]
    assert np.mean([i.low <= 0 <= i.high for i in median]) > 0.93
    few = rng.normal(size=(1000, 5))
    means = few[np.arange(1000)[:, None, None], rng.integers(0, 5, (1000, 400, 5))].mean(2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.90


@pytest.mark.slow
def test_false_positives_of_sign_flip_and_tost():
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(1000, 8))
    assert np.mean([stats.sign_flip_p(x) < 0.05 for x in draws]) < 0.07
    at_the_margin = draws + 1.0
    assert np.mean([stats.tost(x, 1.0) < 0.05 for x in at_the_margin]) < 0.07


def test_an_interval_of_shares_has_a_width_where_all_are_right():
    found = stats.share_interval([1.0] * 6, [5] * 6)
    wilson = scipy_stats.binomtest(30, 30).proportion_ci(method="wilson")
    assert (found.estimate, found.n) == (1.0, 6) and found.low == pytest.approx(wilson.low) and found.high == 1.0
    shares, counts = [0.2, 0.6, 0.4, math.nan], [10, 10, 10, 0]
    spread = stats.share_interval(shares, counts)
    student = stats.t_interval(shares)
    pooled = scipy_stats.binomtest(12, 30).proportion_ci(method="wilson")
    assert spread.low == min(student.low, pooled.low) and spread.high == max(student.high, pooled.high)


def test_intervals_of_shares_cover():
    rng = np.random.default_rng(0)
    for p in (0.995, 0.8):
        shares = rng.binomial(50, p, size=(2000, 6)) / 50
        found = [stats.share_interval(one, [50] * 6) for one in shares]
        assert np.mean([one.low <= p <= one.high for one in found]) > 0.94
