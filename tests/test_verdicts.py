"""The vocabulary of rules: what holds, what does not, and what must be refused."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench import (
    above,
    all_of,
    below,
    contains,
    equivalent,
    every,
    paired,
    per_seed,
    rank_correlation,
    slope,
    where,
    within,
)
from dlbench.verdicts import Verdict, judged


def series(*values):
    return pd.Series(values, index=range(len(values)), dtype=float)


def frame(**columns):
    rows = pd.DataFrame(columns)
    rows.index = rows["seed"].to_numpy()
    return rows


TIGHT = series(1.0, 1.1, 0.9, 1.05, 0.95, 1.0)


def test_above_and_below():
    assert above(TIGHT, 0.5).outcome == "holds"
    assert above(TIGHT, 1.5).outcome == "does not hold"
    assert above(TIGHT, 1.0).outcome == "inconclusive"
    assert below(TIGHT, 1.5).outcome == "holds"
    assert below(TIGHT, 0.5).outcome == "does not hold"
    assert above(TIGHT, 0.5).p == pytest.approx(2 / 64)
    assert above(TIGHT, 0.5).criterion == "> 0.5"


@given(st.lists(st.floats(-10, 10), min_size=6, max_size=12), st.floats(-10, 10))
def test_above_and_below_are_mirror_images(values, threshold):
    x = series(*values)
    one, other = above(x, threshold), below(-x, -threshold)
    assert one.outcome == other.outcome
    assert one.estimate == pytest.approx(-other.estimate)
    assert one.p == pytest.approx(other.p)


def test_no_verdict_below_six_seeds():
    verdict = above(TIGHT[:5], 0.0)
    assert verdict.outcome == "inconclusive"
    assert "at least 6" in verdict.reason


def test_equal_values_are_evidence_not_an_error():
    assert above(series(*[1.0] * 6), 0.99).outcome == "holds"
    assert above(series(*[0.5] * 6), 0.99).outcome == "does not hold"


def test_nan_is_unscored():
    assert above(series(math.nan, math.nan, 1, 1, 1, 1), 0.5).n == 4
    assert above(series(*[math.nan] * 6), 0.5).outcome == "inconclusive"


def test_two_rows_for_a_seed_are_refused():
    doubled = pd.Series([1.0, 2.0], index=[0, 0])
    with pytest.raises(ValueError, match="2 rows for seed 0"):
        above(doubled, 0.5)


def test_within_equivalent_contains():
    assert within(TIGHT, 0.5, 1.5).outcome == "holds"
    assert within(TIGHT, 1.5, 2.0).outcome == "does not hold"
    assert equivalent(TIGHT - 1, 0.2).outcome == "holds"
    assert equivalent(TIGHT - 1, 0.01).outcome == "inconclusive"
    assert equivalent(TIGHT, 0.2).outcome == "does not hold"
    verdict = contains(TIGHT, 1.0, margin=0.2)
    assert verdict.outcome == "holds"
    assert verdict.low < 1.0 < verdict.high
    with pytest.raises(ValueError, match="low must be smaller"):
        within(TIGHT, 1.0, 1.0)


def test_intersection_union():
    holds, fails, open_ = above(TIGHT, 0.5), above(TIGHT, 1.5), above(TIGHT, 1.0)
    assert all_of(holds, holds).outcome == "holds"
    assert all_of(holds, open_).outcome == "inconclusive"
    assert all_of(open_, fails, holds).outcome == "does not hold"
    assert all_of(holds, open_).p == open_.p
    assert all_of(holds, replace(holds, p=0.04)).p == 0.04
    assert all_of(open_, fails).p == fails.p
    assert all_of().outcome == "inconclusive"


def test_paired_uses_only_seeds_that_have_both():
    seeds = [0, 1, 2, 0, 1]
    rows = frame(seed=seeds, subject=["a", "a", "a", "b", "b"], accuracy=[0.9, 0.8, 0.7, 0.5, 0.6])
    assert paired(rows, "accuracy", "a", "b").to_dict() == pytest.approx({0: 0.4, 1: 0.2})
    with pytest.raises(ValueError, match="accuracy of subject=a has 2 rows for seed 0"):
        paired(pd.concat([rows, rows]), "accuracy", "a", "b")


def test_every_names_the_value_that_decides():
    rows = frame(seed=[*range(6), *range(6)], target=["sine"] * 6 + ["cubic"] * 6, ratio=[5.0] * 6 + [2.0] * 6)
    verdict = every(rows, "target", lambda r: above(r.ratio, 3.0))
    assert verdict.outcome == "does not hold"
    assert verdict.criterion == "> 3 at target=cubic"
    assert every(rows[rows.target == "sine"], "target", lambda r: above(r.ratio, 3.0)).outcome == "holds"
    rows["net"] = "mlp"
    both = every(rows, ("net", "target"), lambda r: above(r.ratio, 3.0))
    assert (both.outcome, both.criterion) == ("does not hold", "> 3 at net=mlp, target=cubic")
    assert every(rows[:0], "target", lambda r: above(r.ratio, 3.0)).outcome == "inconclusive"


def test_per_seed_and_slope():
    rows = frame(seed=[0, 0, 1, 1], x=[1.0, 2.0, 1.0, 2.0], y=[1.0, 3.0, 5.0, 4.0])
    assert slope(rows, "x", "y").to_dict() == pytest.approx({0: 2.0, 1: -1.0})
    assert per_seed(rows, lambda r: r.y.max()).to_dict() == {0: 3.0, 1: 5.0}


def test_where_filters_by_every_setting():
    rows = frame(seed=[0, 1, 2], subject=["a", "a", "b"], eps=[0.1, 0.2, 0.1])
    assert where(rows, subject="a", eps=0.1).index.tolist() == [0]
    assert len(where(rows)) == 3


def test_a_rule_must_return_a_verdict():
    with pytest.raises(TypeError, match="returned bool"):
        judged(np.bool_(True), "it is so")
    assert judged(Verdict("holds"), "it is so").outcome == "holds"


def test_rank_correlation_is_one_where_y_rises_all_the_way():
    rows = frame(seed=[0, 0, 0, 1, 1, 1, 2, 2, 2], x=[1, 2, 3] * 3, y=[1.0, 8.0, 9.0, 3.0, 2.0, 1.0, 5.0, 5.0, 5.0])
    got = rank_correlation(rows, "x", "y")
    assert got[0] == pytest.approx(1.0)
    assert got[1] == pytest.approx(-1.0)
    assert math.isnan(got[2])
