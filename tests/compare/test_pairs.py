"""Verdicts on pairs whose answer is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from dlbench.compare import PAIRS, compare, nothing_decidable, series, threshold

RNG = np.random.default_rng(0)
NOISE = RNG.normal(0, 0.001, size=12)


def table(values, *, metric="accuracy", direction="higher", seeds=None, **columns):
    seeds = range(len(values)) if seeds is None else seeds
    return pd.DataFrame(
        {"experiment": "demo", "subject": "net", "metric": metric, "seed": list(seeds), "value": list(values)}
        | {"direction": direction, "unit": "1", "version": 1}
        | columns
    )


def one(a, b, **options):
    pairs = compare(series(a), series(b), **options)
    assert list(pairs.columns) == list(PAIRS)
    assert len(pairs) == 1
    return pairs.iloc[0]


def limits(**texts):
    return {name: threshold(text) for name, text in texts.items()}


@pytest.mark.parametrize(
    ("direction", "shift", "verdict"),
    [
        ("higher", -0.05, "worse"),
        ("higher", 0.05, "better"),
        ("lower", -0.05, "better"),
        ("lower", 0.05, "worse"),
        ("", 0.05, "undecided"),
    ],
)
def test_a_difference_that_is_there(direction, shift, verdict):
    base = 0.8 + RNG.normal(0, 0.1, size=12)  # seeds differ by more than the shift: only pairing can find it
    pair = one(table(base, direction=direction), table(base + shift + NOISE, direction=direction))
    assert pair.verdict == verdict
    assert pair.difference == pytest.approx(shift, abs=0.002)
    assert pair.low < shift + 0.002
    assert pair.low < pair.difference < pair.high
    assert pair.p == pytest.approx(ttest_rel(base + shift + NOISE, base).pvalue)
    assert pair.p_sign_flip == pytest.approx(2 / 2**12)
    assert (pair.n, pair.test, pair.decidable) == (12, "paired t", True)
    assert ("neither way" in pair.reason) == (direction == "")


def test_a_difference_below_the_threshold_is_no_regression():
    base = np.full(12, 0.8)
    a, b = table(base), table(base - 0.005 + NOISE / 10)
    assert one(a, b).verdict == "worse"  # any size counts where nobody said how much matters
    assert one(a, b, thresholds=limits(accuracy="0.01")).verdict == "equivalent"
    assert one(a, b, thresholds=limits(accuracy="0.004")).verdict == "worse"
    assert one(a, b, thresholds={"demo.accuracy": threshold("0.01")}).verdict == "equivalent"
    relative = one(a, b, thresholds=limits(accuracy="1%"))
    assert (relative.verdict, relative.threshold) == ("equivalent", pytest.approx(0.008))
    between = one(a, table(base - 0.01 + 3 * NOISE), thresholds=limits(accuracy="0.0105"))
    assert between.verdict == "undecided"
    assert "not shown to be above or below" in between.reason


def test_noise_is_undecided_and_equality_is_equivalent():
    base = 0.8 + NOISE
    noise = one(table(base), table(base + RNG.normal(0, 0.01, size=12)))
    assert noise.verdict == "undecided"
    assert "cannot be told from chance" in noise.reason
    equal = one(table(base), table(base))
    assert (equal.verdict, equal.reason, equal.difference) == ("equivalent", "equal on all seeds", 0.0)
    assert math.isnan(equal.p)


def test_holm_counts_every_pair_that_was_tested_and_none_that_is_equal():
    base = np.full(6, 0.5)
    fall = base - 0.02 + np.array([0.02, -0.01, 0.01, -0.004, 0.006, -0.02])  # p = 0.03 by itself
    alone = one(table(base), table(fall))
    assert alone.p_holm == alone.p < 0.05
    assert alone.verdict == "worse"

    def many(first, others):
        tables = [table(first)] + [table(others, subject=f"other {i}") for i in range(9)]
        return series(pd.concat(tables))

    still = compare(many(base, base), many(fall, base)).set_index("subject")
    assert still.loc["net"].verdict == "worse"
    noisy = base + np.array([0.01, -0.01, 0.02, -0.02, 0.01, -0.005])
    lost = compare(many(base, base), many(fall, noisy)).set_index("subject")
    assert lost.loc["net"].p_holm == pytest.approx(10 * alone.p)
    assert lost.loc["net"].verdict == "undecided"
    assert "Holm over 10 pairs" in lost.loc["net"].reason


def test_seeds_are_paired_by_number_and_missing_ones_are_told():
    base = 0.8 + NOISE
    shuffled = table(base).sample(frac=1, random_state=0)
    assert one(shuffled, table(base)).verdict == "equivalent"
    part = one(table(base), table(base[2:], seeds=range(2, 12)))
    assert (part.verdict, part.n, part.n_a, part.n_b) == ("equivalent", 10, 12, 10)
    assert "2 seeds only in A" in part.reason
    few = one(table(base[:3]), table(base[:3] - 0.1))
    assert (few.verdict, few.decidable, few.difference) == ("undecided", False, pytest.approx(-0.1))
    assert few.reason == "3 shared seeds; a verdict needs at least 6"
    assert math.isnan(few.p_holm)
    assert math.isnan(few.p_sign_flip)
    none = one(table(base[:6]), table(base[:6], seeds=range(6, 12)))
    assert (none.verdict, none.decidable) == ("not comparable", False)
    assert none.reason == "no seeds scored on both sides; 6 seeds only in A, 6 seeds only in B"


def test_what_is_unscored_or_infinite_is_no_difference():
    base = 0.8 + NOISE
    holed = base.copy()
    holed[:2] = np.nan
    pair = one(table(base), table(holed))
    assert (pair.verdict, pair.n) == ("equivalent", 10)
    assert "2 unscored" in pair.reason
    exploded = base.copy()
    exploded[0] = np.inf
    assert one(table(base), table(exploded)).reason == "values that are not finite"
    assert one(table(exploded), table(exploded)).verdict == "equivalent"


@pytest.mark.parametrize(
    ("columns", "aspect", "reason"),
    [
        ({"version": 2}, "version", "other version: 1 in A, 2 in B"),
        ({"parameters": '{"width": 128}'}, "parameters", "other parameters: width is 64 in A, 128 in B"),
        ({"device": "cuda"}, "device", "other device: cpu in A, cuda in B"),
        ({"unit": "%"}, None, "other unit: 1 in A, % in B"),
    ],
)
def test_what_differs_in_more_than_its_values_is_not_compared(columns, aspect, reason):
    base = 0.8 + NOISE
    about = {"parameters": '{"width": 64}', "device": "cpu"}
    a, b = table(base, **about), table(base, **(about | columns))
    pair = one(a, b)
    assert (pair.verdict, pair.reason) == ("not comparable", reason)
    if aspect:
        assert one(a, b, despite=[aspect]).verdict == "equivalent"


def test_what_only_one_side_has():
    pairs = compare(series(table(NOISE)), series(table(NOISE, metric="loss")))
    assert sorted(zip(pairs.metric, pairs.verdict, pairs.reason, strict=True)) == [
        ("accuracy", "not comparable", "only in A"),
        ("loss", "not comparable", "only in B"),
    ]
    assert nothing_decidable(pairs)
    assert nothing_decidable(compare(series(table([])), series(table([]))))


# ------------------------------------------------------------------------------------------------------------- timings


def timed(values, **columns):
    about = {"metric": "seconds", "direction": "lower", "unit": "s", "timed": True, "machine": "a CPU"}
    return table(values, **(about | columns))


FAST = 1.0 + RNG.gamma(2.0, 0.01, size=20)


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.3, "worse"), (0.7, "better"), (1.03, "undecided"), (1.0, "equivalent")]
)
def test_timings_need_the_test_and_the_effect(factor, verdict):
    pair = one(timed(FAST), timed(FAST[::-1] * factor))
    assert pair.verdict == verdict
    assert pair.test == "Mann-Whitney"
    assert pair.relative == pytest.approx(factor - 1, abs=1e-9)
    assert pair.threshold == pytest.approx(0.05 * np.median(FAST))
    if factor == 1.03:
        assert pair.p_holm < 0.05, "the test alone would have called it"


def test_an_effect_without_the_test_is_undecided():
    wide = np.array([1.0, 2.0, 4.0, 8.0, 1.5, 3.0])
    pair = one(timed(wide), timed(wide[::-1] * 1.4))
    assert pair.relative == pytest.approx(0.4)
    assert pair.verdict == "undecided"
    assert "cannot be told from chance" in pair.reason


def test_the_threshold_of_timings_can_be_set_and_their_direction_counts():
    a, b = timed(FAST), timed(FAST * 1.2)
    assert one(a, b, thresholds=limits(seconds="30%")).verdict != "worse"
    assert one(a, b, thresholds=limits(seconds="0.1")).verdict == "worse"
    rate = {"metric": "rate", "direction": "higher"}
    assert one(timed(FAST, **rate), timed(FAST * 1.2, **rate)).verdict == "better"


def test_timings_of_other_machines_and_of_too_few_rounds():
    other = one(timed(FAST), timed(FAST, machine="another CPU"))
    assert (other.verdict, other.reason) == ("not comparable", "other machine: a CPU in A, another CPU in B")
    assert one(timed(FAST), timed(FAST, machine="another CPU"), despite=["device"]).verdict == "equivalent"
    few = one(timed([1.0, 1.1, 1.2]), timed([2.0, 2.1, 2.2]))
    assert (few.verdict, few.decidable) == ("undecided", False)
    assert "3 and 3 values" in few.reason
    four = one(timed([1.0, 1.1, 1.2, 1.3]), timed([2.0, 2.1, 2.2, 2.3]))
    assert (four.verdict, four.p) == ("worse", pytest.approx(2 / 70))


def test_the_interval_of_a_difference_of_medians_covers():
    random, hits, trials = np.random.default_rng(1), 0, 100
    for _ in range(trials):
        pair = one(timed(random.exponential(1, 15) + 1), timed(random.exponential(1, 15) + 1.5))
        hits += pair.low <= 0.5 <= pair.high
    assert hits / trials >= 0.95


def test_no_regression_is_found_where_there_is_none():
    """Of 100 comparisons of 5 metrics and 3 timings with themselves, Holm leaves about one in twenty a regression."""
    random, alarms = np.random.default_rng(2), 0
    for _ in range(100):
        a, b = (
            pd.concat(
                [table(random.normal(size=8), subject=f"net {i}") for i in range(5)]
                + [timed(random.exponential(1, 9), subject=f"step {i}") for i in range(3)]
            )
            for _ in "ab"
        )
        alarms += "worse" in compare(series(a), series(b)).verdict.tolist()
    assert alarms / 100 < 0.1
